"""Weights files: whole, self-contained, and harmless whoever wrote them."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dat_cli.catalog import Preprocessing
from dat_cli.errors import DatError, WeightsError
from dat_cli.weights import WeightsConfig, load_tensors, open_checkpoint, read_config, read_tensors, write_weights

CONFIG = WeightsConfig(
    architecture="dat_tiny",
    classes=("Katze", "犬", 'it\'s a "bird"'),
    preprocessing=Preprocessing(input_size=(3, 64, 96), crop_mode="center"),
    model_args={"img_size": 64},
    metrics={"val_acc1": 0.75},
    trained_on="digits",
    license="MIT",
)
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3).t(), "a.bias": torch.tensor(3.0)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    write_weights(path, TENSORS, CONFIG)
    return path


def test_what_is_written_is_read(saved: Path) -> None:
    assert read_config(saved) == CONFIG
    assert {name: tensor.tolist() for name, tensor in read_tensors(saved).items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }


def test_a_checkpoint_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    state = {**{f"network.{name}": tensor for name, tensor in TENSORS.items()}, "metric.count": torch.ones(1)}
    torch.save({"state_dict": state, "dat": CONFIG.to_dict()}, path)
    assert read_config(path) == CONFIG
    assert set(read_tensors(path)) == set(TENSORS)


def test_a_written_file_has_the_permissions_of_any_other_and_nothing_lies_beside_it(saved: Path) -> None:
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode
    assert sorted(path.name for path in saved.parent.iterdir()) == ["best.safetensors", "other"]


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_weights(saved, {"a": torch.zeros(9)}, CONFIG)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_writing_into_a_missing_folder_fails_in_one_line(tmp_path: Path) -> None:
    with pytest.raises((OSError, DatError)):
        write_weights(tmp_path / "nowhere" / "x.safetensors", TENSORS, CONFIG)


def test_reading_the_configuration_does_not_import_torch(saved: Path) -> None:
    code = (
        "import sys; from dat_cli.weights import read_config; read_config(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[:-3],
    "cut within its header": lambda whole: whole[:40],
    "too short for a header": lambda whole: whole[:4],
    "empty": lambda _: b"",
    "a web page": lambda _: b"<!DOCTYPE html><title>404</title>",
    "a text": lambda _: b"version https://git-lfs.github.com/spec/v1\n",
    "endless header": lambda whole: (1 << 40).to_bytes(8, "little") + whole[8:],
}


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line_that_names_it(saved: Path, damage: str, suffix: str) -> None:
    path = saved.with_name(f"damaged.{suffix}")
    path.write_bytes(DAMAGES[damage](saved.read_bytes()))
    for read in (read_config, read_tensors):
        with pytest.raises(WeightsError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_pickle_named_safetensors_is_called_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torch.save({"dat": CONFIG.to_dict()}, path)
    with pytest.raises(WeightsError, match="is a pickle"):
        read_config(path)


def test_a_truncated_checkpoint_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"dat": CONFIG.to_dict(), "state_dict": {"network.a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(WeightsError, match="damaged"):
        read_config(path)


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def test_code_in_a_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "extra": _Hostile()}, "evil.ckpt")
    with pytest.raises(WeightsError, match="could run code"):
        open_checkpoint("evil.ckpt")
    assert not Path("pwned").exists()


def test_a_shape_that_no_machine_can_hold_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[9223372036854775808,0],"data_offsets":[0,0]}}'.ljust(96)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=r"x\.safetensors is damaged"):
        read_tensors(path)


def test_missing_files_and_folders_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file"):
        read_config(tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="is a folder"):
        read_config(tmp_path)


def test_a_foreign_safetensors_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="not written by dat"):
        read_config(tmp_path / "x.safetensors")


@pytest.mark.parametrize("metadata", ["{", "[]", "null", '"x"', "[" * 100_000, '{"architecture": NaN}', ""])
def test_metadata_that_is_no_configuration_is_one_line(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2)}, path, {"dat": metadata})
    with pytest.raises(WeightsError, match=r"x\.safetensors") as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_a_configuration_survives_json() -> None:
    assert WeightsConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_a_temperature_is_said_only_where_there_is_one() -> None:
    warm = replace(CONFIG, temperature=1.25)
    assert WeightsConfig.from_dict(json.loads(json.dumps(warm.to_dict()))) == warm
    assert "temperature" not in CONFIG.to_dict()  # so that the bytes of weights without one stay the same


ABSENT = object()
WRONG: dict[str, tuple[str, object, str]] = {
    "no architecture": ("architecture", ABSENT, "lacks 'architecture'"),
    "no classes": ("classes", ABSENT, "lacks 'classes'"),
    "no input size": ("preprocessing.input_size", ABSENT, "lacks 'input_size'"),
    "unknown architecture": ("architecture", "dat_tny", "did you mean 'dat_tiny'"),
    "architecture of a wrong type": ("architecture", ["dat_tiny"], "not a name"),
    "architecture with an escape": ("architecture", "\x1b[2J", "unknown architecture"),
    "zero classes": ("classes", [], "0 classes"),
    "too many classes": ("classes", ["a"] * 100_001, "100001 classes"),
    "classes as text": ("classes", "abc", "not a list"),
    "class that is a number": ("classes", ["a", 1], "class 1 is 1, not a string"),
    "class with a line break": ("classes", ["a\nb"], "control character"),
    "class with an escape": ("classes", ["\x1b[31mred"], "control character"),
    "class that turns the line round": ("classes", ["\u202eabc"], "control character"),
    "class without a name": ("classes", ["a", " "], "class 1 has"),
    "class with a very long name": ("classes", ["a" * 501], "501 characters"),
    "the same class twice": ("classes", ["a", "b", "a"], "classes 0 and 2"),
    "enormous images": ("preprocessing.input_size", [3, 64, 10**9], "outside of"),
    "tiny images": ("preprocessing.input_size", [3, 8, 64], "outside of"),
    "size with a fraction": ("preprocessing.input_size", [3, 64.5, 64], "not a whole number"),
    "size that is true": ("preprocessing.input_size", [3, True, 64], "not a whole number"),
    "size of two": ("preprocessing.input_size", [64, 64], "channels, height and width"),
    "mean of another length": ("preprocessing.mean", [0.5], "mean has 1 values for 3"),
    "mean that is no number": ("preprocessing.mean", [0.5, "x", 0.5], "not a number"),
    "division by zero": ("preprocessing.std", [0.0, 1.0, 1.0], "outside of"),
    "infinite std": ("preprocessing.std", [math.inf, 1.0, 1.0], "outside of"),
    "no crop": ("preprocessing.crop_pct", 0, "outside of"),
    "crop that is NaN": ("preprocessing.crop_pct", math.nan, "outside of"),
    "unknown filter": ("preprocessing.interpolation", "lanczos", "not one of"),
    "filter of a wrong type": ("preprocessing.interpolation", {}, "not one of"),
    "unknown crop": ("preprocessing.crop_mode", None, "not one of"),
    "unknown preprocessing": ("preprocessing.crop_pt", 1.0, "did you mean 'crop_pct'"),
    "preprocessing as a list": ("preprocessing", [], "not a dictionary"),
    "unknown entry": ("clases", [], "did you mean 'classes'"),
    "unknown model argument": ("model_args", {"img_size": 64, "hook": "x"}, "unknown model argument 'hook'"),
    "enormous network": ("model_args", {"img_size": 10**6}, "outside of"),
    "model argument of a wrong type": ("model_args", {"img_size": "64"}, "not a whole number"),
    "other channels": ("model_args", {"in_chans": 1}, "takes 1 channels"),
    "enormous resize": ("preprocessing", {"input_size": [3, 4096, 4096], "crop_pct": 0.1}, "too large"),
    "nothing but dropout": ("model_args", {"drop_rate": 1.0}, "outside of"),
    "metric that is text": ("metrics", {"val_acc1": "high"}, "not a number"),
    "metric beyond all bounds": ("metrics", {"val_acc1": 10**400}, "outside of"),
    "metric that is NaN": ("metrics", {"val_acc1": math.nan}, "outside of"),
    "licence with a line break": ("license", "MIT\nevil", "control character"),
    "licence that is a number": ("license", 3, "not a string"),
    "temperature of zero": ("temperature", 0.0, "temperature is 0.0, outside of 0.05 to 20"),
    "temperature that is text": ("temperature", "1.5", "not a number"),
    "temperature that is true": ("temperature", True, "not a number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_strangers_configuration_is_refused_in_one_line(case: str) -> None:
    name, value, said = WRONG[case]
    plain = copy.deepcopy(CONFIG.to_dict())
    *sections, leaf = name.split(".")
    section = plain[sections[0]] if sections else plain
    if value is ABSENT:
        del section[leaf]
    else:
        section[leaf] = value
    with pytest.raises(WeightsError) as caught:
        WeightsConfig.from_dict(plain, source="stranger.safetensors")
    message = str(caught.value)
    assert message.startswith("stranger.safetensors: ")
    assert said in message
    assert message.isprintable()
    assert len(message) < 300


def test_values_that_would_take_for_ever_to_show_are_refused_at_once() -> None:
    doubled: list[Any] = ["a"]
    for _ in range(60):
        doubled = [doubled, doubled]
    for value in (doubled, 10**5000, {"a": doubled}):
        with pytest.raises(WeightsError, match="architecture is a"):
            WeightsConfig.from_dict({**CONFIG.to_dict(), "architecture": value}, source="x")


def test_a_bad_configuration_cannot_be_written_either() -> None:
    with pytest.raises(WeightsError, match="control character"):
        WeightsConfig("dat_tiny", ("a\tb",), Preprocessing())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": None}, r"x does not fit the network: 1 tensor missing \(weight\)"),
        ({"more": torch.zeros(1)}, r"1 tensor unexpected \(more\)"),
        ({"weight": torch.zeros(3, 2)}, r"1 tensor of another shape \(weight \(3, 2\) for \(2, 3\)\)"),
        ({"bias": torch.tensor([0.0, math.nan])}, r"1 tensor not finite \(bias\)"),
        ({"bias": torch.tensor([0.0, 1e300], dtype=torch.float64)}, r"1 tensor not finite \(bias\)"),
        ({"bias": torch.zeros(2).to(torch.float8_e5m2)}, r"1 tensor of another type \(bias float8_e5m2\)"),
        ({"bias": torch.tensor([0, 1])}, r"1 tensor of another type \(bias int64\)"),
        ({"weight": None, "m": torch.zeros(1)}, r"network: 1 tensor missing \(weight\), 1 unexpected \(m\)$"),
        ({f"m{n}": torch.zeros(1) for n in range(10)}, r"10 tensors unexpected \(m0, .*, m9\)$"),
        ({f"m{n}": torch.zeros(1) for n in range(12)}, r"12 tensors unexpected \(m0, .*, m9, and 2 more\)$"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, Tensor | None], said: str) -> None:
    network = nn.Linear(3, 2)
    tensors = {**network.state_dict(), **change}
    with pytest.raises(WeightsError, match=said):
        load_tensors(network, {name: tensor for name, tensor in tensors.items() if tensor is not None}, source="x")
