"""Shards as a source: what names them, what they hold, and what can be wrong with them."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import Mock

import pytest
from PIL import Image

from dat_cli.data import remote_file, shard_list
from dat_cli.data.samples import Samples, Source
from dat_cli.data.shard_addresses import expand
from dat_cli.data.shard_writer import ShardSize, write_shards
from dat_cli.data.sources import open_source
from dat_cli.data.stream import Record, Stream, StreamOptions
from dat_cli.errors import DataError, DatError, HubError, UsageError


class MakeShards(Protocol):
    def __call__(self, root: Path, counts: Sequence[int]) -> list[Path]: ...


class Hub(Protocol):
    url: str

    def serve(self, path: str, data: bytes) -> str: ...
    def plant(self, repo: str, path: str, data: bytes, lfs: bool = False) -> str: ...
    def fault(self, match: str, kind: str, times: int = 1, **options: Any) -> None: ...
    def log(self) -> list[dict[str, Any]]: ...


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """What ``dat shard`` writes: 10 pictures of cat and dog to train on, 4 to validate on."""
    root = tmp_path / "indexed"
    for part, count in (("train", 10), ("val", 4)):
        pictures = [tmp_path / f"{part}{number}.png" for number in range(count)]
        for number, path in enumerate(pictures):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        (root / part).mkdir(parents=True)
        samples = Samples(tuple(pictures), tuple(number % 2 for number in range(count)))
        write_shards(samples, ["cat", "dog"], root / part, size=ShardSize(samples=3), seed=0)
    return root


def png(number: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def opened(source: str, *, classes: Sequence[str] | None = None, **options: Any) -> Source:
    return open_source(source, classes=classes, options=StreamOptions(**options))


def records(part: Any) -> list[Record]:
    """All of a stream, in its order."""
    assert isinstance(part, Stream)
    return [record for shard, count in enumerate(part.counts) for _, record in part.read(shard, iter(range(count)))]


def alone(path: str, **options: Any) -> Source:
    """A source of one shard, for training and for validation."""
    return opened(path, val_source=path, **options)


# What names shards


def test_a_folder_with_an_index_says_everything_about_itself(indexed: Path) -> None:
    source = opened(str(indexed))
    assert source.classes == ("cat", "dog")
    assert (len(source.train), len(source.val), source.test) == (10, 4, None)
    assert isinstance(source.train, Stream)
    assert source.train.counts == (3, 3, 3, 1)
    assert source.train.class_counts == (5, 5)
    red = [Image.open(io.BytesIO(record.image)).getpixel((0, 0)) for record in records(source.train)]
    labels = [record.label for record in records(source.train)]
    assert sorted(red) == [(number, 0, 0) for number in range(10)]  # type: ignore[type-var]
    assert [pixel[0] % 2 for pixel in red] == labels  # type: ignore[index]


def test_patterns_and_lists_of_shards_without_an_index_are_counted(make_shards: MakeShards, tmp_path: Path) -> None:
    make_shards(tmp_path, [2, 3, 4, 5])
    source = opened(f"{tmp_path}/{{000..001}}.tar, {tmp_path}/003.tar", val_source=f"{tmp_path}/00{{2,3}}.tar")
    assert (len(source.train), len(source.val)) == (10, 9)
    assert source.classes == ("0", "1", "2")
    assert isinstance(source.train, Stream)
    assert source.train.counts == (2, 3, 5)
    assert [record.label for record in records(source.train)] == [n % 3 for n in (0, 1, 2, 3, 4, 9, 10, 11, 12, 13)]


def test_braces_can_stand_in_braces_and_between_commas() -> None:
    assert expand("x-{a,{b,c}}.tar, y{0..1}.tar") == ["x-a.tar", "x-b.tar", "x-c.tar", "y0.tar", "y1.tar"]
    assert len(expand("{{0..999},{1000..1999}}.tar")) == 2000


def test_a_pattern_takes_numbers_and_classes_from_the_index_beside_it(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.data.shard_list.read_samples", None)  # nothing is counted
    source = opened(f"{indexed}/train/train-{{000000..000001}}.tar", val_source=str(indexed / "val"))
    assert source.classes == ("cat", "dog")
    assert (len(source.train), len(source.val)) == (6, 4)


def test_shards_of_many_folders_need_one_order_of_classes(indexed: Path) -> None:
    index = json.loads((indexed / "val" / "index.json").read_text())
    (indexed / "val" / "index.json").write_text(json.dumps({**index, "classes": index["classes"][::-1]}))
    both = f"{indexed}/train/train-000000.tar,{indexed}/val/val-000000.tar"
    for classes in (None, ["cat", "dog"]):
        with pytest.raises(DataError, match=r"train/index.json and \S+/val/index.json name other classes, or"):
            opened(both, val_source=str(indexed / "val"), classes=classes)


def test_each_index_beside_shards_is_taken_up_once(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = Mock(wraps=shard_list._by_name)
    monkeypatch.setattr(shard_list, "_by_name", by_name)
    shard_list.by_pattern(f"{indexed}/train/train-{{000000..000003}}.tar")
    assert by_name.call_count == 1


def test_measuring_asks_nothing_about_shards_to_train_on(hub: Hub, make_shards: MakeShards, tmp_path: Path) -> None:
    (path,) = make_shards(tmp_path, [5])
    address = hub.serve("/000.tar", path.read_bytes())
    source = opened(f"{hub.url}/missing.tar", val_source=address, classes=["0", "1", "2"])
    assert len(source.val) == 5
    with pytest.raises(UsageError, match=r"as --data\.samples"):
        len(source.train)


def test_a_number_of_pictures_is_refused_where_an_index_says_it(indexed: Path) -> None:
    with pytest.raises(UsageError, match=r"has an index.json that says how many images there are; leave out"):
        opened(str(indexed), samples=5)


def test_only_the_wanted_pictures_of_a_shard_are_read(indexed: Path) -> None:
    train = opened(str(indexed)).train
    assert isinstance(train, Stream)
    everything = list(train.read(0, iter(range(3))))
    assert list(train.read(0, iter([2]))) == everything[2:]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.tar", "cannot read missing.tar: no such file"),
        ("{000..002}.tar", "cannot read 002.tar: no such file"),
        ("{000..999999999999}.tar", "names more than 1000000 shards"),
        (f"{{{'0' * 22}..99999999999}}.tar", "names more than 1000000 shards"),
        (f"{'{,}' * 24}.tar", "names more than 1000000 shards"),
        ("{000..001.tar", "{000..001.tar has a brace that is not closed"),
        ("000.tar,000.tar", "000.tar is named twice"),
        ("pipe:cat 000.tar", "neither a file nor an address of http or https"),
        ("s3://bucket/{0..9}.tar", "neither a file nor an address of http or https"),
        ("file:///etc/passwd.tar", "neither a file nor an address of http or https"),
        ("http://user:secret@host/0.tar", "holds the name or the password of a user"),
        ("http:///0.tar", "no address of a web server"),
        ("000.tar,001.zip", "001.zip is no .tar"),
    ],
)
def test_what_names_no_shards_is_one_line(
    source: str, message: str, make_shards: MakeShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path, [2, 2])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as raised:
        opened(source, val_source="000.tar")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_training_needs_a_validation_part(make_shards: MakeShards, tmp_path: Path) -> None:
    (path,) = make_shards(tmp_path, [2])
    with pytest.raises(DataError, match=r"no shards to validate on; pass --data.val_source"):
        opened(str(path))


def test_an_index_of_something_else_makes_no_shards_of_a_folder(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_bytes(png(number))
    (tmp_path / "index.json").write_text("{}")
    assert isinstance(opened(str(tmp_path)).train, Samples)


def test_options_of_streams_mean_nothing_elsewhere(indexed: Path) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [("digits", {"samples": 1}), (str(indexed), {"image_column": "x"})]
    for source, options in wrong:
        with pytest.raises(UsageError, match=f"data.{next(iter(options))} means nothing for"):
            opened(source, **options)


# Labels


@pytest.mark.parametrize(
    "labels",
    [
        {"cls": b"1\n"},
        {"txt": b"dog\n"},
        {"json": b'{"label": "dog", "width": 8}'},
        {"json": b'{"cls": 1}'},
        {"txt": b"a photo of a cat", "cls": b"01"},
    ],
)
def test_labels_are_numbers_or_names(labels: dict[str, bytes], tmp_path: Path) -> None:
    files = {"a/0.jpg.png": png(), **{f"a/0.{ending}": content for ending, content in labels.items()}}
    assert records(alone(write_tar(tmp_path / "0.tar", files), classes=["cat", "dog"]).val)[0].label == 1


def test_names_as_labels_are_the_classes_in_their_order(tmp_path: Path) -> None:
    files = {"0.png": png(), "0.txt": b"dog", "1.png": png(), "1.txt": b"cat"}
    source = alone(write_tar(tmp_path / "0.tar", files))
    assert source.classes == ("cat", "dog")
    assert [record.label for record in records(source.train)] == [1, 0]


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        (("1", "2"), None, [0, 1]),
        (("1", "2"), ["1", "2", "3"], [0, 1]),
        (("001", "002"), None, [0, 1]),
        (("7" * 5000, "1"), None, [1, 0]),
    ],
)
def test_names_can_be_digits(
    names: tuple[str, str], classes: list[str] | None, labels: list[int], tmp_path: Path
) -> None:
    for ending in ("txt", "json"):
        first, second = (name.encode() if ending == "txt" else json.dumps(name).encode() for name in names)
        files = {"0.png": png(), f"0.{ending}": first, "1.png": png(), f"1.{ending}": second}
        source = alone(write_tar(tmp_path / "0.tar", files), classes=classes)
        assert source.classes == (tuple(classes) if classes else tuple(sorted(names)))
        assert [record.label for record in records(source.train)] == labels


def test_names_and_numbers_together_need_to_be_told_the_names(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"0.png": png(), "0.txt": b"dog", "1.png": png(), "1.cls": b"0"})
    with pytest.raises(DataError, match="names of classes, as 'dog', and numbers, as 0; pass the names"):
        alone(path)
    assert [record.label for record in records(alone(path, classes=["cat", "dog"]).train)] == [1, 0]


def test_classes_of_weights_are_found_by_name(indexed: Path) -> None:
    source = opened(str(indexed), classes=["dog", "emu", "cat"])
    plain = opened(str(indexed))
    assert [record.label for record in records(source.val)] == [2 - 2 * each.label for each in records(plain.val)]
    with pytest.raises(DataError, match=r"\(val\) has a class that the others lack: dog|\(train\) has"):
        opened(str(indexed), classes=["cat", "emu"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "0.tar/0.png has no label; each image needs a file of its name"),
        ({"0.cls": b"7"}, r"the label of \S+0.tar/0.png is '7', which is none of 2 classes"),
        ({"0.cls": b"9" * 5000}, r"the label of \S+0.tar/0.png is '9+', which is none of 2 classes"),
        ({"0.json": b"9" * 5000}, r"the label of \S+0.tar/0.png cannot be read"),
        ({"0.json": b"true"}, "0.tar/0.png has no label"),
        ({"0.json": b"[[["}, r"the label of \S+0.tar/0.png cannot be read"),
        ({"0.txt": b"\xff\xfe"}, r"the label of \S+0.tar/0.png cannot be read"),
    ],
)
def test_a_picture_without_a_label_that_is_known_is_named(
    labels: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "0.tar", {"0.png": png(), **labels})
    with pytest.raises(DataError, match=message):
        records(alone(path, classes=["cat", "dog"]).val)


# What can be wrong with a shard


def test_a_shard_that_is_not_what_its_index_says_is_named(indexed: Path) -> None:
    shard = indexed / "train" / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DataError, match=r"train-000001.tar has \d+ bytes, its index.json says \d+; it was changed"):
        opened(str(indexed))


def test_a_shard_with_fewer_pictures_than_its_index_says_is_named(indexed: Path) -> None:
    index = json.loads((indexed / "train" / "index.json").read_text())
    index["shards"][0]["samples"] = 5
    (indexed / "train" / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"train-000000.tar has 3 images, 5 were expected; it was changed"):
        records(opened(str(indexed)).train)


def test_a_shard_that_ends_in_the_middle_is_named(make_shards: MakeShards, tmp_path: Path) -> None:
    (path,) = make_shards(tmp_path, [9])
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"cannot read \S+/000.tar\S*: .*; the archive is damaged"):
        records(alone(str(path)).val)


def _garbled(data: bytearray, header: int) -> None:
    data[header] ^= 1


def _cut_before_a_member(data: bytearray, header: int) -> None:
    del data[header:]


def _cut_in_a_header(data: bytearray, header: int) -> None:
    del data[header + 100 :]


def _hole(data: bytearray, header: int) -> None:
    data[header : header + 1536] = bytes(1536)


@pytest.mark.parametrize("damage", [_garbled, _cut_before_a_member, _cut_in_a_header, _hole])
def test_no_pictures_are_lost_behind_a_header_that_is_damaged(
    damage: Callable[[bytearray, int], None], tmp_path: Path, hub: Hub
) -> None:
    files = {f"{number:06d}.{ending}": data for number in range(30) for ending, data in (("png", png()), ("cls", b"0"))}
    path = Path(write_tar(tmp_path / "000.tar", files))
    data = bytearray(path.read_bytes())
    damage(data, data.index(b"000010.cls"))
    path.write_bytes(data)
    for place in (str(path), hub.serve("/000.tar", bytes(data))):
        with pytest.raises(DataError, match=r"cannot read \S+/000.tar: (it|a header in it) .*; the archive is damaged"):
            len(opened(place, val_source=place, samples=30, classes=["0", "1", "2"]).val)


@pytest.mark.parametrize("is_overridden", [False, True])
def test_a_member_of_negative_size_is_not_read_for_ever(is_overridden: bool, tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "0.tar", {"0.png": png(), "0.cls": b"0", "1.png": png(), "1.cls": b"1"}))
    data = bytearray(path.read_bytes())
    header = tarfile.TarInfo("2.png")
    if is_overridden:
        header.pax_headers = {"size": "-1024"}
        evil = header.tobuf(tarfile.PAX_FORMAT)
    else:
        header.size = -1024
        evil = header.tobuf(tarfile.GNU_FORMAT)
    end = data.rindex(b"1.cls") + 1024
    path.write_bytes(data[:end] + evil + bytes(10240))
    with pytest.raises(DataError, match=r"a file in it has -1024 bytes"):
        alone(str(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(2000), b"<html>" * 500])
def test_what_is_no_tar_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"0\.tar"):
        alone(str(path))


def test_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(png(99))
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name in ("../evil.png", "/etc/evil.png", "a\n\x1b[31mb.png", "._0.png", "__MACOSX/._1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png(1))
            tar.addfile(member, io.BytesIO(png(1)))
            label = tarfile.TarInfo(f"{name.rpartition('.')[0]}.cls")
            label.size = 1
            tar.addfile(label, io.BytesIO(b"0"))
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            link = tarfile.TarInfo(f"link{number}.png")
            link.type, link.linkname = kind, str(outside)
            tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    found = records(alone(str(folder / "0.tar"), classes=["cat", "dog"]).val)
    assert [record.image for record in found] == [png(1)] * 3
    assert all(record.name.isprintable() for record in found)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_that_claims_a_terabyte_fills_no_memory(tmp_path: Path) -> None:
    member = tarfile.TarInfo("0.png")
    member.size = 1 << 40
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        member.type = kind
        (tmp_path / "0.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        with pytest.raises(DataError, match=r"0\.tar"):
            records(alone(str(tmp_path / "0.tar"), classes=["cat", "dog"]).val)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "cat"},
        {"classes": ["cat", "cat"]},
        {"class_counts": [1]},
        {"shards": []},
        {"shards": [{"name": "0.tar"}]},
        {"shards": [{"name": "../0.tar", "samples": 1, "bytes": 1}]},
        {"shards": [{"name": "http://host/0.tar", "samples": 1, "bytes": 1}]},
        {"shards": [{"name": "0.tar", "samples": -1, "bytes": 1}]},
        {"shards": [{"name": "0.tar", "samples": 1e9, "bytes": 1}]},
    ],
)
def test_an_index_that_is_not_as_it_should_be_is_named(change: dict[str, object], indexed: Path) -> None:
    path = indexed / "train" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"train/index.json .*; let `dat shard` write it"):
        opened(str(indexed))


# Shards on a web server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "_PAUSE", 0.001)


def serve(hub: Hub, folder: Path) -> str:
    """Serve a folder beside the Hub, without ranges; its address."""
    for path in folder.rglob("*"):
        if path.is_file():
            hub.serve(f"/shards/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"{hub.url}/shards"


def test_shards_of_a_web_server_are_those_of_its_index(hub: Hub, indexed: Path) -> None:
    address = serve(hub, indexed)
    there, here = opened(address), opened(str(indexed))
    assert there.classes == here.classes
    assert [record[1:] for record in records(there.train)] == [record[1:] for record in records(here.train)]
    by_pattern = opened(f"{address}/train/train-{{000000..000003}}.tar", val_source=f"{address}/val")
    assert len(by_pattern.train) == 10
    assert not any(request["auth"] for request in hub.log())


@pytest.mark.parametrize("has_ranges", [False, True])
def test_a_shard_is_read_on_where_the_connection_broke(
    has_ranges: bool, hub: Hub, make_shards: MakeShards, tmp_path: Path
) -> None:
    (path,) = make_shards(tmp_path, [20])
    if has_ranges:
        hub.plant("tester/shards", "0.tar", path.read_bytes(), lfs=True)
        address, match = f"{hub.url}/tester/shards/resolve/main/0.tar", "GET /_cdn"
    else:
        address, match = hub.serve("/0.tar", path.read_bytes()), r"GET /0\.tar"
    part = opened(address, classes=["0", "1", "2"], samples=20).train
    hub.fault(match, "truncate", times=2, after=7000)
    hub.fault(match, "status", status=503)
    assert [record.image for record in records(part)] == [record.image for record in records(alone(str(path)).train)]
    assert any(request["range"] == "bytes=7000-" for request in hub.log())


def test_storage_that_tells_nobody_what_it_lacks_has_no_index(
    hub: Hub, make_shards: MakeShards, tmp_path: Path
) -> None:
    (path,) = make_shards(tmp_path, [5])
    address = hub.serve("/000.tar", path.read_bytes())
    hub.fault("index.json", "status", times=9, status=403)
    assert len(opened(address, val_source=address, classes=["0", "1", "2"], samples=5).val) == 5


def test_a_shard_without_pictures_is_made_up_for_by_the_next(hub: Hub, tmp_path: Path) -> None:
    full = Path(write_tar(tmp_path / "1.tar", {"0.png": png(), "0.cls": b"1"})).read_bytes()
    for name, data in (("0", bytes(10240)), ("1", full)):
        hub.serve(f"/{name}.tar", data)
    part = opened(f"{hub.url}/{{0..1}}.tar", samples=4, classes=["a", "b"]).train
    assert [record.label for record in records(part)] == [1] * 4
    with pytest.raises(DataError, match=r"0\.tar has 0 images, 4 were expected"):
        records(opened(f"{hub.url}/0.tar", samples=4, classes=["a", "b"]).train)


def test_what_a_web_server_refuses_is_one_line(hub: Hub) -> None:
    with pytest.raises(HubError, match=r"cannot read \S+/0.tar: the server answered 404 .*; check the address"):
        records(opened(f"{hub.url}/0.tar?signature=secret", classes=["a", "b"], samples=9).train)
    hub.fault("GET", "status", times=99, status=503)
    with pytest.raises(HubError, match=r"the server answered 503 .*; check the connection, or try again later"):
        opened(f"{hub.url}/0.tar", samples=9)


def test_a_server_out_of_reach_is_one_line() -> None:
    with pytest.raises(HubError, match=r"cannot read http://127.0.0.1:9/train/index.json: connection refused"):
        opened("http://127.0.0.1:9/")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://host/0.tar", "data:,x"])
def test_a_redirection_leads_to_no_other_scheme(place: str, hub: Hub) -> None:
    hub.fault(r"GET /0\.tar", "status", times=99, status=302, headers={"Location": place})
    with pytest.raises(DatError, match=r"cannot read \S+/0.tar"):
        records(opened(f"{hub.url}/0.tar", classes=["a", "b"], samples=9).train)


Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def answers() -> Iterator[tuple[str, list[Answer]]]:
    """The address of a file, and what a server answers to one request after another before it hangs up."""
    waiting: list[Answer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = waiting.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/0.tar", waiting
        server.shutdown()
        thread.join()


def test_a_file_without_a_length_is_read_on_wherever_it_breaks(answers: tuple[str, list[Answer]]) -> None:
    url, waiting = answers
    data = bytes(range(100))
    waiting += [
        (200, {"Transfer-Encoding": "chunked"}, b"14\r\n" + data[:20] + b"\r\n"),
        (206, {"Content-Length": "80", "Content-Range": "bytes 20-99/*"}, data[20:50]),
        (206, {"Content-Length": "50", "Content-Range": "bytes 50-99/100"}, data[50:]),
    ]
    file = remote_file.RemoteFile(url)
    assert file.read(20) + file.read(200) == data
    assert waiting == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((204, {}, b""), "the server answered 204, without the file"),
        ((206, {"Content-Range": "bytes 7-9/10"}, b"789"), "sent another part of the file than it was asked for"),
        ((200, {"Content-Length": "abc"}, b""), "the server says that it has 'abc' bytes"),
        ((200, {"Content-Length": "9" * 5000}, b""), "the server says that it has '9{40}' bytes"),
        ((302, {"Location": "ftp://host/0.tar", "Content-Length": "0"}, b""), "the server"),
        ((302, {"Location": "http://[::1", "Content-Length": "0"}, b""), "the server leads elsewhere"),
    ],
)
def test_an_answer_that_is_no_file_is_one_line(answer: Answer, said: str, answers: tuple[str, list[Answer]]) -> None:
    url, waiting = answers
    waiting.append(answer)
    with pytest.raises(HubError, match=rf"cannot read \S+/0.tar: .*{said}") as raised:
        remote_file.RemoteFile(url).read(5)
    assert len(str(raised.value)) < 300


def test_a_file_that_changes_while_it_is_read_is_an_error(hub: Hub) -> None:
    hub.plant("tester/shards", "0.tar", bytes(50_000), lfs=True)
    file = remote_file.RemoteFile(f"{hub.url}/tester/shards/resolve/main/0.tar")
    hub.fault("GET /_cdn", "truncate", after=7000)
    assert len(file.read(5000)) == 5000
    hub.plant("tester/shards", "0.tar", bytes(50_001), lfs=True)
    with pytest.raises(DataError, match="was changed while it was read"):
        file.read(45_000)
    file.close()


def test_shards_of_a_web_server_without_an_index_need_a_number_of_pictures(
    hub: Hub, make_shards: MakeShards, tmp_path: Path
) -> None:
    make_shards(tmp_path, [9, 3])
    pattern = f"{serve(hub, tmp_path)}/{{000,001}}.tar"
    with pytest.raises(UsageError, match=r"pass the number of training images as --data.samples"):
        opened(pattern, val_source=pattern)
    sized = opened(pattern, val_source=pattern, samples=12, classes=["0", "1", "2"]).train
    assert isinstance(sized, Stream)
    assert sized.mean_bytes == (tmp_path / "000.tar").stat().st_size // 6  # or a pool of large ones fills the memory
    with pytest.raises(UsageError, match=r"pass the names as --data.classes"):
        opened(pattern, val_source=pattern, samples=12)
    source = opened(pattern, val_source=pattern, samples=12, classes=["0", "1", "2"])
    assert isinstance(source.train, Stream)
    assert isinstance(source.val, Stream)
    assert source.train.counts == (6, 6)
    assert source.val.counts == (9, 3)
    assert [record.label for record in records(source.train)][6:] == [0, 1, 2, 0, 1, 2]  # the short one twice
