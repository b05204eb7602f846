"""Converting weights: any form in, ours or the authors' out, and nothing written that is not whole."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from dat_cli.catalog import VARIANTS, Preprocessing
from dat_cli.data.imagenet import imagenet_classes
from dat_cli.errors import DatError, ModelError, UsageError, WeightsError
from dat_cli.models import create_model
from dat_cli.models.convert import to_authors
from dat_cli.models.recognise import Recognised
from dat_cli.run.convert import Wish, convert
from dat_cli.run.foreign import read_foreign
from dat_cli.run.load import load_model
from dat_cli.run.resolve import find_weights
from dat_cli.run.source import Source, resized
from dat_cli.weights import WeightsConfig, read_config, read_tensors, write_weights
from dat_cli.weights.layout import write_layout

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def parameters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the computed buffers."""
    return {name: each for name, each in tensors.items() if not name.endswith(("relative_position_index", "attn_mask"))}


def assert_same_bits(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(ours[name], tensor), name


def test_the_authors_file_becomes_ours_that_says_what_it_is(authors_file: Path, out: Path) -> None:
    said = convert(Wish(str(authors_file), out))
    assert "recognised as dat_tiny for 224 x 224 pixels and 1000 classes" in said
    assert read_config(out) == WeightsConfig(
        architecture="dat_tiny",
        classes=imagenet_classes(),
        preprocessing=VARIANTS["dat_tiny"].preprocessing,
        metrics={"val_acc1": 82.04 / 100},
        origin="dat_tiny_in1k_224.pth",
        origin_sha256=hashlib.sha256(authors_file.read_bytes()).hexdigest(),
    )


def test_converted_weights_give_the_authors_logits_at_another_size_too(
    authors_file: Path, out: Path, fill: Any
) -> None:
    said = convert(Wish(str(authors_file), out, img_size=384))
    assert "resized for 384 x 384 pixels, windows of 12" in said
    network, config = load_model(out)
    assert config.model_args == {"img_size": 384, "window": 12}
    assert config.preprocessing.input_size == (3, 384, 384)
    assert config.metrics == {}  # they were measured at 224 pixels
    golden = np.load(GOLDEN / "dat_tiny_224_to_384.npz")
    image = torch.from_numpy(fill.image(tuple(json.loads(str(golden["meta"]))["input"]))).float()
    with torch.no_grad():
        logits = network(image).double().numpy()
    assert np.abs(logits - golden["logits"]).max() < 1e-4 * np.abs(golden["logits"]).max()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_there_and_back_changes_no_bit(
    authors_file: Path, authors_tensors: dict[str, Tensor], out: Path, suffix: str
) -> None:
    back = out.with_name(f"back.{suffix}")
    convert(Wish(str(authors_file), out))
    convert(Wish(str(out), back, to="authors"))
    read = load_file(back) if suffix == "safetensors" else torch.load(back, weights_only=True)["model"]  # noqa: TID251 - our own file, as others open it
    assert_same_bits(read, parameters(authors_tensors))


def test_half_precision_and_kernels_of_neighbourhoods_stay_as_they_are(tmp_path: Path, out: Path) -> None:
    theirs = small_pp()
    torch.save({"model": theirs}, tmp_path / "half.pth")
    convert(Wish(str(tmp_path / "half.pth"), out, img_size=64, labels=labels(tmp_path, 3)))
    config, tensors = read_config(out), read_tensors(out)
    assert (config.architecture, config.model_args) == ("dat_p_tiny", {"img_size": 64})
    assert all(tensor.dtype == torch.bfloat16 for tensor in tensors.values())
    table = "stages.0.blocks.1.attention.rpe_table"
    assert tensors[table].shape == (2, 31, 31)
    exact = interpolate(theirs["stages.0.attns.1.rpe_table"][None].float(), size=(31, 31), mode="bicubic")
    assert torch.equal(tensors[table], exact[0].to(torch.bfloat16))  # rounded once, at the end
    load_model(out)


def test_every_form_gives_the_same_weights(run_folder: Path, tmp_path: Path) -> None:
    ours = read_tensors(run_folder / "best.safetensors")
    config = read_config(run_folder / "best.safetensors")
    state = {f"network.{name}": tensor for name, tensor in ours.items()}
    torch.save({"state_dict": state, "dat": config.to_dict()}, tmp_path / "last.ckpt")
    (tmp_path / "layout").mkdir()
    write_layout(tmp_path / "layout", ours, config)
    theirs = to_authors(ours, VARIANTS["dat_tiny"])
    torch.save(theirs, tmp_path / "bare.bin")
    wrapped = {f"module.{name}": tensor for name, tensor in theirs.items()}
    torch.save({"state_dict": wrapped, "arch": "dat"}, tmp_path / "inner.pt")
    save_file(theirs, tmp_path / "theirs.safetensors")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(config.classes))
    for source in (run_folder, run_folder / "best.safetensors", tmp_path / "last.ckpt", tmp_path / "layout"):
        convert(Wish(str(source), tmp_path / "out.safetensors"))
        assert read_config(tmp_path / "out.safetensors") == config
        assert_same_bits(read_tensors(tmp_path / "out.safetensors"), ours)
    for name in ("bare.bin", "inner.pt", "theirs.safetensors"):
        convert(Wish(str(tmp_path / name), tmp_path / "out.safetensors", labels=names))
        assert read_config(tmp_path / "out.safetensors").classes == config.classes
        assert read_config(tmp_path / "out.safetensors").origin == name
        assert_same_bits(read_tensors(tmp_path / "out.safetensors"), ours)


def test_our_own_weights_can_be_resized_and_renamed(run_folder: Path, tmp_path: Path, out: Path) -> None:
    wish = Wish(str(run_folder), out, img_size=64, labels=labels(tmp_path, 7))
    assert "windows of 7" in convert(wish)
    network, config = load_model(out)
    assert config.model_args == {"img_size": 64}
    assert config.preprocessing.input_size == (3, 64, 64)
    assert config.preprocessing.crop_mode == "center"
    assert config.classes == tuple(f"label {index}" for index in range(7))
    assert network.image_size == (64, 64)


@pytest.mark.parametrize(
    ("tables", "wish", "kept"),
    [
        (64, {}, True),
        (64, {"img_size": 64}, True),
        (64, {"img_size": 96}, False),
        (64, {"window": 5}, False),
        (32, {}, True),
        (32, {"img_size": 32}, False),  # the tables stay, the images do not
        (32, {"img_size": 64}, False),  # the other way round
    ],
)
def test_metrics_are_those_of_the_size_that_they_were_measured_at(
    tables: int, wish: dict[str, int], kept: bool
) -> None:
    network = create_model("dat_tiny", num_classes=2, img_size=tables)
    arguments: dict[str, int | float | str | bool] = {"img_size": tables}
    said: dict[str, Any] = {"metrics": {"val_acc1": 0.5}, "temperature": 1.5}
    config = WeightsConfig("dat_tiny", ("a", "b"), Preprocessing((3, 64, 64)), arguments, **said)
    source = Source("x", network.state_dict(), Recognised(VARIANTS["dat_tiny"], tables, 7, 2, 3), config)
    changed = resized(source, **wish).config
    assert changed is not None
    assert changed.metrics == ({"val_acc1": 0.5} if kept else {})
    assert changed.temperature == (1.5 if kept else None)
    assert changed.preprocessing.input_size[1:] == (wish.get("img_size", 64),) * 2


def test_a_window_can_be_asked_for(run_folder: Path, out: Path) -> None:
    convert(Wish(str(run_folder), out, window=5))
    assert read_config(out).model_args["window"] == 5
    load_model(out)


def test_a_window_that_never_grew_with_the_image_is_kept(run_folder: Path, tmp_path: Path, out: Path) -> None:
    convert(Wish(str(run_folder), tmp_path / "five.safetensors", window=5))
    convert(Wish(str(tmp_path / "five.safetensors"), out, img_size=384))
    assert read_config(out).model_args == {"img_size": 384, "window": 5}


def test_a_folder_has_the_layout_of_the_hub_and_keeps_its_card(run_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "model"
    for _ in range(2):
        convert(Wish(str(run_folder), place))
        (place / "README.md").write_text("by hand")
    convert(Wish(str(run_folder), place))
    assert sorted(file.name for file in place.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (place / "README.md").read_text() == "by hand"
    assert find_weights(str(place)).config == read_config(run_folder / "best.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def small_pp() -> dict[str, Tensor]:
    """A DAT-P-Tiny of three classes at 32 pixels by the authors' names, in half precision."""
    torch.manual_seed(0)
    network = create_model("dat_p_tiny", num_classes=3, img_size=32).to(torch.bfloat16)
    return to_authors(network.state_dict(), VARIANTS["dat_p_tiny"])


def labels(folder: Path, number: int) -> Path:
    path = folder / "labels.txt"
    path.write_text("".join(f"label {index}\n" for index in range(number)))
    return path


NAN = torch.tensor(float("nan"))
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"cls_norm.norm.bias": None}, r"1 missing \(cls_norm\.norm\.bias\)"),
    "unexpected": ({"extra": torch.zeros(2)}, r"1 unexpected \(extra\)"),
    "misshapen": (
        {"cls_norm.norm.bias": torch.zeros(3)},
        r"1 of another shape \(cls_norm\.norm\.bias \(3,\) for \(512,\)\)",
    ),
    "transposed": ({"stages.0.mlps.0.chunk.linear1.weight": torch.zeros(64, 256)}, r"\(64, 256\) for \(256, 64\)"),
    "flat where a convolution was": ({"stages.3.attns.0.proj_q.weight": torch.zeros(512, 512)}, "of another shape"),
    "not finite": ({"cls_norm.norm.bias": NAN.expand(512)}, r"1 tensor not finite \(norm\.bias\)"),
    "whole numbers": (
        {"cls_norm.norm.bias": torch.zeros(512, dtype=torch.int64)},
        r"1 tensor of another type \(norm\.bias int64\)",
    ),
    "no tensor": ({"cls_norm.norm.bias": [0.0] * 512}, "cls_norm.norm.bias is not an ordinary tensor"),
    "sparse": ({"cls_norm.norm.bias": torch.zeros(512).to_sparse()}, r"asks for torch\._utils\._rebuild_sparse_tensor"),
    "enormous": ({"cls_norm.norm.bias": torch.zeros(1).expand(1 << 50)}, "of another shape"),
}


@pytest.mark.parametrize(
    ("case", "to"), [*((case, "dat") for case in BROKEN), ("missing", "authors"), ("not finite", "authors")]
)
def test_tensors_that_do_not_fit_are_listed_and_nothing_is_written(tmp_path: Path, case: str, to: Any) -> None:
    change, said = BROKEN[case]
    tensors = {name: value for name, value in {**small_pp(), **change}.items() if value is not None}
    torch.save({"model": tensors}, tmp_path / "x.pth")
    names = labels(tmp_path, 3) if to == "dat" else None
    with pytest.raises(WeightsError, match=said) as caught:
        convert(Wish(str(tmp_path / "x.pth"), tmp_path / "out.safetensors", to=to, labels=names))
    assert "x.pth" in str(caught.value)
    assert not list(tmp_path.glob("*out*"))


def test_one_memory_under_two_names_is_written_twice(tmp_path: Path, out: Path) -> None:
    theirs = small_pp()
    theirs["stages.0.layer_norms.1.norm.bias"] = theirs["stages.0.layer_norms.0.norm.bias"]
    torch.save(theirs, tmp_path / "tied.pth")
    convert(Wish(str(tmp_path / "tied.pth"), out, labels=labels(tmp_path, 3)))
    load_model(out)


@pytest.mark.parametrize("best", [float("nan"), -3, 820.4, "82", [82.0]])
def test_an_accuracy_that_cannot_be_is_left_out(tmp_path: Path, best: object) -> None:
    torch.save({"model": small_pp(), "max_accuracy": best}, tmp_path / "x.pth")
    assert read_foreign(tmp_path / "x.pth").metrics == {}


@pytest.mark.parametrize(
    ("arch", "kind", "said"),
    [
        ("dat_small", WeightsError, "they are those of dat_tiny"),
        ("dat_tny", ModelError, "did you mean 'dat_tiny'"),
    ],
)
def test_another_variant_than_said_is_refused(
    authors_file: Path, out: Path, arch: str, kind: type[DatError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        convert(Wish(str(authors_file), out, arch=arch))
    assert not out.exists()


def test_our_file_knows_better_than_an_option(run_folder: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="says that it is dat_tiny; leave out --arch"):
        convert(Wish(str(run_folder), out, arch="dat_small"))


def test_without_names_there_is_no_conversion_but_to_the_authors_form(tmp_path: Path, out: Path) -> None:
    torch.save(small_pp(), tmp_path / "x.pth")
    with pytest.raises(UsageError, match=r"has 3 outputs.*--labels FILE with 3 names"):
        convert(Wish(str(tmp_path / "x.pth"), out))
    with pytest.raises(UsageError, match=r"--labels has 4 names, .* has 3 outputs"):
        convert(Wish(str(tmp_path / "x.pth"), out, labels=labels(tmp_path, 4)))
    assert not out.exists()
    convert(Wish(str(tmp_path / "x.pth"), out, to="authors"))
    assert len(load_file(out)) == len(small_pp())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\n", ("a", "b")),
        ("\ufeffa\r\n\r\n b c \r\n", ("a", "b c")),
        ('["a", "b, c"]', ("a", "b, c")),
        ("Hund\nKätzchen", ("Hund", "Kätzchen")),
    ],
)
def test_labels_are_lines_or_a_list(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    from dat_cli.run.labels import read_labels

    (tmp_path / "labels").write_text(text, encoding="utf-8", newline="")
    assert read_labels(tmp_path / "labels") == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no names"),
        (b"\xff\xfe", "not a text in UTF-8"),
        (b'["a", 1]', "not a list of names"),
        (b'{"a": 1}', "not a list of names"),
        (b'["a"', "neither a list in JSON"),
        (b"[" * 100_000, "neither a list in JSON"),
        (None, "there is no file"),
    ],
)
def test_what_holds_no_labels_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        convert(Wish("x.pth", tmp_path / "out.safetensors", labels=path))


def test_nothing_is_written_over_what_is_read(run_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "version_0" / "best.safetensors"
    file.parent.mkdir()
    file.write_bytes((run_folder / "best.safetensors").read_bytes())
    (tmp_path / "link.safetensors").symlink_to(file)
    (tmp_path / "hard.safetensors").hardlink_to(file)
    (tmp_path / "layout").mkdir()
    write_layout(tmp_path / "layout", read_tensors(file), read_config(file))
    whole = tmp_path / "layout" / "model.safetensors"
    before = file.read_bytes()
    for source, place in (
        (file, file),
        (file, tmp_path / "link.safetensors"),
        (file, tmp_path / "hard.safetensors"),
        (tmp_path, file),
        (file.parent, file),
        (tmp_path / "layout", tmp_path / "layout"),
        (whole, tmp_path / "layout"),
    ):
        with pytest.raises(UsageError, match="would take the place of"):
            convert(Wish(str(source), place))
    assert file.read_bytes() == before
    assert whole.is_file()


def test_a_file_of_a_folder_of_weights_is_not_replaced_by_itself(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    convert(Wish(str(run_folder), folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for source in (folder, run_folder):
        for name in ("model.safetensors", "model-00001-of-00002.safetensors"):
            with pytest.raises(UsageError, match=r"would no longer be what the config\.json beside it says"):
                convert(Wish(str(source), folder / name, img_size=64))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    convert(
        Wish(str(run_folder), tmp_path / "model.safetensors")
    )  # a name like any other where there is no such folder


def test_a_folder_may_have_a_dot_in_its_name(run_folder: Path, tmp_path: Path) -> None:
    convert(Wish(str(run_folder), tmp_path / "cats-1.0"))
    assert sorted(file.name for file in (tmp_path / "cats-1.0").iterdir()) == ["config.json", "model.safetensors"]


def test_a_pipe_is_no_file(tmp_path: Path, out: Path) -> None:
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="neither a file nor a folder"):
        convert(Wish(str(tmp_path / "x.pth"), out))


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("out.pth", "dat", "would be a pickle"),
        ("out.ckpt", "dat", "would be a pickle"),
        ("out.onnx", "dat", r"does not write \.onnx files such as .*; give NAME\.safetensors for a file, or NAME for"),
        ("folder.safetensors", "dat", "is a folder"),
        ("out", "authors", r"neither \.pth nor \.safetensors"),
        ("out.ckpt", "authors", r"neither \.pth nor \.safetensors"),
        ("nowhere/out.safetensors", "dat", "there is no folder"),
        ("full", "dat", "is not empty"),
        ("file", "dat", "is a file"),
    ],
)
def test_a_place_that_cannot_be_is_refused(run_folder: Path, tmp_path: Path, name: str, to: Any, said: str) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=said):
        convert(Wish(str(run_folder), tmp_path / name, to=to))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_is_full_leaves_the_old_file(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name, to in (("out.safetensors", "dat"), ("out.pth", "authors"), ("folder", "dat")):
        if name != "folder":
            (tmp_path / name).write_text("old")
        with pytest.raises(OSError, match="No space"):
            convert(Wish(str(run_folder), tmp_path / name, to=to))  # type: ignore[arg-type]
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"out.safetensors": "old", "out.pth": "old"}


def test_other_channels_have_statistics_of_their_own(tmp_path: Path, out: Path) -> None:
    theirs = small_pp()
    theirs["patch_proj.0.weight"] = theirs["patch_proj.0.weight"][:, :1].clone()
    torch.save(theirs, tmp_path / "grey.pth")
    convert(Wish(str(tmp_path / "grey.pth"), out, labels=labels(tmp_path, 3)))
    config = read_config(out)
    assert config.preprocessing.input_size == (1, 32, 32)
    assert config.preprocessing.mean == pytest.approx((0.449,), abs=1e-3)
    assert load_model(out)[0].in_chans == 1


def test_a_file_of_ours_that_lies_about_its_network_is_refused(run_folder: Path, tmp_path: Path, out: Path) -> None:
    lie = WeightsConfig("dat_tiny", ("a", "b"), Preprocessing((3, 32, 32)), {"img_size": 32})
    write_weights(tmp_path / "lie.safetensors", read_tensors(run_folder / "best.safetensors"), lie)
    with pytest.raises(WeightsError, match=r"head.weight \(7, 768\) for \(2, 768\)"):
        convert(Wish(str(tmp_path / "lie.safetensors"), out))
    assert not out.exists()
