"""Weights come from the Hub whole and right, or not at all."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save

from dat_cli.catalog import VARIANTS
from dat_cli.errors import HubError, WeightsError
from dat_cli.hub.names import RepoName
from dat_cli.hub.pull import Pulled, pull, pull_cached
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.hub_config import config_json

if TYPE_CHECKING:
    from tests.conftest import Hub

CATS = RepoName("tester", "cats")
CONFIG = json.dumps(
    config_json(WeightsConfig("dat_tiny", ("cat", "dog"), VARIANTS["dat_tiny"].preprocessing)), indent=2
).encode()
WEIGHTS = save({"stem": np.arange(4000, dtype=np.float32)})
FILES = {"config.json": CONFIG, "README.md": b"# Cats\n", "model.safetensors": WEIGHTS}
SHARDS = {f"model-0000{n}-of-00002.safetensors": save({f"part{n}": np.arange(n * 999.0)}) for n in (1, 2)}
INDEX = json.dumps({"metadata": {}, "weight_map": {f"part{n}": name for n, name in enumerate(SHARDS, 1)}}).encode()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def cats(hub: Hub) -> str:
    """A repository with weights; its commit."""
    return plant(hub, FILES)


def plant(hub: Hub, files: dict[str, bytes], repo: str = "tester/cats") -> str:
    for name, data in files.items():
        commit = hub.plant(repo, name, data, lfs=name.endswith(".safetensors"))
    return commit


def downloads(hub: Hub) -> list[str]:
    """Names of the files that were asked for, once each."""
    paths = [str(each["path"]) for each in hub.log() if "/resolve/" in str(each["path"])]
    return list(dict.fromkeys(path.rpartition("/")[2] for path in paths))


def contents(pulled: Pulled) -> dict[str, bytes]:
    return {file.name: (pulled.folder / file.name).read_bytes() for file in pulled.files}


def test_a_pull_brings_the_files_of_one_commit(hub: Hub, cats: str) -> None:
    pulled = pull(CATS)
    assert (pulled.repo, pulled.commit, pulled.offline) == (CATS, cats, False)
    assert contents(pulled) == FILES
    assert {file.name: (file.size, file.sha256) for file in pulled.files} == {
        name: (len(data), sha256(data).hexdigest()) for name, data in FILES.items()
    }
    assert len([each for each in hub.log() if str(each["path"]).startswith("/api/models/")]) == 1


def test_only_what_is_needed_is_asked_for(hub: Hub, cats: str) -> None:
    del cats
    strange = ("pytorch_model.bin", "../outside.safetensors", "sub/model.safetensors", "..\\model.safetensors", "a.png")
    plant(hub, {**dict.fromkeys((*strange, "/etc/model.safetensors", "model.safetensors/../x"), b"x"), **SHARDS})
    plant(hub, {"model.safetensors.index.json": INDEX})
    pulled = pull(CATS)
    assert downloads(hub) == ["config.json", "README.md", "model.safetensors"]
    assert sorted(path.name for path in pulled.folder.iterdir()) == sorted(FILES)


def test_a_second_pull_downloads_nothing(hub: Hub, cats: str) -> None:
    pull(CATS)
    hub.clear()
    assert pull(CATS).commit == cats
    assert len(hub.log()) == 1


def test_a_new_commit_is_noticed(hub: Hub, cats: str) -> None:
    pull(CATS)
    newer = plant(hub, {"README.md": b"# More cats\n"})
    assert newer != cats
    assert contents(pull(CATS))["README.md"] == b"# More cats\n"
    assert contents(pull(RepoName("tester", "cats", cats))) == FILES
    assert contents(pull(RepoName("tester", "cats", cats[:8])))["README.md"] == b"# Cats\n"


def test_a_bad_config_is_met_before_anything_large(hub: Hub, cats: str) -> None:
    del cats
    plant(hub, {"config.json": b'{"architecture": "dat_huge"}'})
    with pytest.raises(WeightsError, match=r"tester/cats/config\.json.*dat_huge"):
        pull(CATS)
    assert downloads(hub) == ["config.json"]


@pytest.mark.parametrize("name", ["config.json", "README.md", "model.safetensors"])
def test_a_byte_that_flips_on_the_way_is_met_and_the_file_fetched_again(hub: Hub, cats: str, name: str) -> None:
    del cats
    hub.fault(f"GET .*({name}|_cdn)$", "corrupt")
    assert contents(pull(CATS)) == FILES


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_damaged_twice_is_refused_and_not_kept(hub: Hub, cats: str, name: str) -> None:
    del cats
    hub.fault(f"GET .*({'resolve-cache.*config.json' if name == 'config.json' else '_cdn'})", "corrupt", times=2)
    with pytest.raises(HubError, match=f"{name} of tester/cats arrived damaged twice"):
        pull(CATS)
    assert pull_cached(CATS) is None
    assert contents(pull(CATS)) == FILES


@pytest.mark.parametrize("name", ["config.json", "README.md", "model.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_a_damaged_cache_is_repaired(hub: Hub, cats: str, name: str, damage: str) -> None:
    del cats
    blob = (pull(CATS).folder / name).resolve()
    data = FILES[name]
    if damage == "gone":
        blob.unlink()
    else:
        flipped = bytes([data[0] ^ 1]) + data[1:]
        blob.write_bytes({"flipped": flipped, "cut": data[:-1], "empty": b""}[damage])
    hub.clear()
    assert contents(pull(CATS)) == FILES
    assert downloads(hub) == [name]


@pytest.mark.parametrize("how", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_what_was_pulled_serves_without_the_hub(
    hub: Hub, cats: str, how: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    pull(CATS)
    hub.clear()
    hub.use(**how)
    caplog.set_level(logging.INFO, "dat.pull")
    pulled = pull(CATS)
    assert (pulled.commit, pulled.offline, contents(pulled)) == (cats, True, FILES)
    assert [message for message in caplog.messages if cats in message and "cache" in message] == caplog.messages
    assert hub.log() == []


def test_a_hub_that_is_down_is_as_good_as_out_of_reach(hub: Hub, cats: str) -> None:
    pull(CATS)
    hub.fault("", "status", times=99, status=503)
    assert (pull(CATS).commit, pull(CATS).offline) == (cats, True)


def test_revisions_are_known_offline_when_they_were_pulled(hub: Hub, cats: str) -> None:
    plant(hub, {"README.md": b"# More cats\n"})
    pull(RepoName("tester", "cats", cats))
    hub.use(HF_HUB_OFFLINE="1")
    assert pull(RepoName("tester", "cats", cats)).commit == cats
    assert pull(RepoName("tester", "cats", cats[:10])).commit == cats
    with pytest.raises(HubError, match="not whole in the cache"):
        pull(CATS)


def test_a_damaged_cache_does_not_serve_offline(hub: Hub, cats: str) -> None:
    del cats
    blob = (pull(CATS).folder / "model.safetensors").resolve()
    blob.write_bytes(WEIGHTS[:-1] + b"\x01")
    hub.use(HF_HUB_OFFLINE="1")
    with pytest.raises(HubError, match="not whole in the cache"):
        pull(CATS)


def test_a_pull_that_broke_off_does_not_serve_offline(hub: Hub, cats: str) -> None:
    hub.fault("_cdn", "status", times=99, status=503)
    with pytest.raises(HubError, match="503"):
        pull(CATS)
    assert pull_cached(CATS) is None
    assert pull_cached(RepoName("tester", "cats", cats)) is None


def test_a_refusal_is_an_error_although_the_cache_has_it(hub: Hub, cats: str) -> None:
    del cats
    pull(CATS)
    hub.access("tester/cats", private=True)
    hub.use(HF_TOKEN="hf_other")
    with pytest.raises(HubError, match="there is no repository"):
        pull(CATS)
    hub.use(HF_TOKEN=None)
    with pytest.raises(HubError, match="not logged in"):
        pull(CATS)
    hub.use(HF_TOKEN="hf_mistyped")
    with pytest.raises(HubError, match="does not accept your token"):
        pull(CATS)


def test_a_connection_that_is_cut_goes_on_where_it_was(hub: Hub) -> None:
    large = save({"stem": np.arange(6_000_000, dtype=np.float32)})
    plant(hub, {**FILES, "model.safetensors": large})
    hub.fault("_cdn", "truncate", after=11 << 20)
    assert contents(pull(CATS))["model.safetensors"] == large
    assert [each["range"] for each in hub.log() if "_cdn" in str(each["path"]) and each["method"] == "GET"] == [
        None,
        f"bytes={10 << 20}-",
    ]


def test_a_pull_that_was_killed_goes_on_where_it_was(hub: Hub) -> None:
    large = save({"stem": np.arange(6_000_000, dtype=np.float32)})
    plant(hub, {**FILES, "model.safetensors": large})
    hub.fault("_cdn", "throttle", rate=20_000_000)
    blobs = Path(os.environ["HF_HOME"]) / "hub/models--tester--cats/blobs"
    with subprocess.Popen([sys.executable, "-m", "dat_cli", "pull", str(CATS)], env=hub.environment) as process:
        deadline = time.monotonic() + 30
        while not any(part.stat().st_size for part in blobs.glob("*.dat.incomplete")):
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.kill()
    hub.clear()
    assert contents(pull(CATS))["model.safetensors"] == large
    ranges = [each["range"] for each in hub.log() if "_cdn" in str(each["path"]) and each["method"] == "GET"]
    assert len(ranges) <= 2
    (asked,) = filter(None, ranges)  # what the killed process asked for whole may be in the log only now
    assert int(str(asked).removeprefix("bytes=").removesuffix("-")) > 1_000_000
    assert not any(Path(os.environ["HF_HOME"]).rglob("*.incomplete"))


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "short"}, {"kind": "drop"}])
@pytest.mark.parametrize("match", ["GET /api/models", "HEAD .*resolve", "GET .*_cdn"])
def test_what_passes_is_waited_for(hub: Hub, cats: str, fault: dict[str, object], match: str) -> None:
    del cats
    hub.fault(match, **fault)  # type: ignore[arg-type] # mypy takes every option for the same type
    assert contents(pull(CATS)) == FILES


def test_the_token_goes_to_the_hub_and_not_to_where_it_stores_files(hub: Hub, cats: str) -> None:
    del cats
    hub.access("tester/cats", private=True)
    pull(CATS)
    assert {str(each["path"]).startswith("/_cdn/"): each["auth"] for each in hub.log()} == {True: False, False: True}


def test_weights_in_several_files(hub: Hub) -> None:
    left_over = {"model-00001-of-00003.safetensors": b"old"}
    files = {"config.json": CONFIG, "model.safetensors.index.json": INDEX, **SHARDS}
    plant(hub, {**files, **left_over})
    assert contents(pull(CATS)) == files
    hub.use(HF_HUB_OFFLINE="1")
    assert contents(pull(CATS)) == files


@pytest.mark.parametrize("name", ["../../../outside.safetensors", "/etc/passwd", "model-00001-of-00009.safetensors", 3])
def test_an_index_names_nothing_but_files_of_the_weights(hub: Hub, name: object) -> None:
    index = json.dumps({"weight_map": {"a": name}}).encode()
    plant(hub, {"config.json": CONFIG, "model.safetensors.index.json": index, "../../../outside.safetensors": b"x"})
    with pytest.raises(WeightsError, match=r"index\.json of tester/cats"):
        pull(CATS)
    assert downloads(hub) == ["config.json", "model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": CONFIG, "pytorch_model.bin": b"x"}, r"only pickles \(pytorch_model\.bin\).*dat convert"),
        ({"config.json": CONFIG, "other.txt": b"x"}, r"has no model\.safetensors"),
        ({"model.safetensors": WEIGHTS}, r"has no config\.json"),
        ({"config.json": b"{}" * 11_000_000, "model.safetensors": WEIGHTS}, "should be a short text"),
        ({"config.json": b"\x00\xff", "model.safetensors": WEIGHTS}, "not JSON"),
        ({"config.json": b'{"architecture": "resnet50"}', "model.safetensors": WEIGHTS}, "resnet50"),
    ],
)
def test_what_is_no_repository_of_weights_is_told_in_one_line(hub: Hub, files: dict[str, bytes], words: str) -> None:
    plant(hub, files)
    with pytest.raises(WeightsError, match=words) as caught:
        pull(CATS)
    assert "tester/cats" in str(caught.value)
    assert str(Path("snapshots")) not in str(caught.value)


def test_an_answer_without_a_commit_is_refused(hub: Hub) -> None:
    hub.serve("/api/models/tester/cats", b'{"id": "tester/cats", "sha": "../../x", "siblings": []}')
    with pytest.raises(HubError, match="does not say which commit"):
        pull(CATS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x04}\x94.", "is a pickle"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"", "is empty"),
        (WEIGHTS[:-1], "is damaged"),
    ],
)
def test_what_is_only_named_like_weights_is_refused(hub: Hub, cats: str, data: bytes, said: str) -> None:
    del cats
    plant(hub, {"model.safetensors": data})
    with pytest.raises(WeightsError, match=rf"^tester/cats/model\.safetensors .*{said}.*owner of tester/cats$"):
        pull(CATS)


def test_an_index_that_names_nothing_is_refused(hub: Hub) -> None:
    plant(hub, {"config.json": CONFIG, "model.safetensors.index.json": b'{"weight_map": {}}', **SHARDS})
    with pytest.raises(WeightsError, match=r"index\.json of tester/cats does not say which file"):
        pull(CATS)


def test_an_entry_of_the_hub_without_a_name_is_left_out(hub: Hub, cats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    ask = HfApi.model_info

    def nameless(*args: Any, **options: Any) -> Any:
        info: Any = ask(*args, **options)
        info.siblings[1].rfilename = None  # as a Hub that is broken would say it
        return info

    monkeypatch.setattr(HfApi, "model_info", nameless)
    assert pull(CATS).commit == cats
    assert hub.log()


def partial_of(data: bytes) -> Path:
    blobs = Path(os.environ["HF_HOME"]) / "hub/models--tester--cats/blobs"
    blobs.mkdir(parents=True)
    return blobs / f"{sha256(data).hexdigest()}.dat.incomplete"


@pytest.mark.parametrize("left", [b"x" * (len(WEIGHTS) + 5), b"x" * 100, WEIGHTS[:100]])
def test_whatever_was_left_half_downloaded_ends_as_the_right_file(hub: Hub, cats: str, left: bytes) -> None:
    partial_of(WEIGHTS).write_bytes(left)
    assert contents(pull(CATS)) == FILES
    assert hub.log()
    assert cats


def test_a_link_in_the_place_of_a_half_download_is_not_followed(hub: Hub, cats: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    partial_of(WEIGHTS).symlink_to(tmp_path / "precious")
    assert contents(pull(CATS)) == FILES
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert hub.log()
    assert cats
