"""Opening what strangers pickled: the authors' files are read, code is named and never run."""

from __future__ import annotations

import collections
import json
import pickle
import struct
import sys
import time
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dat_cli.errors import WeightsError
from dat_cli.weights import open_checkpoint
from dat_cli.weights.calls import check_calls

TENSORS = {"cls_head.weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2, dtype=torch.float16)}
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def yacs(monkeypatch: pytest.MonkeyPatch) -> type:
    """A CfgNode as yacs defines it, in a module that only the writer of a file has."""
    module = types.ModuleType("yacs.config")

    class CfgNode(dict[str, Any]):
        def __init__(self, *entries: Any) -> None:
            super().__init__(*entries)
            self.__dict__["__immutable__"] = True
            self.__dict__["__deprecated_keys__"] = set()
            self.__dict__["__renamed_keys__"] = {}

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module.CfgNode = CfgNode  # type: ignore[attr-defined]  # that is what a module made by hand is for
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    return CfgNode


@FORMATS
def test_the_authors_files_are_read_without_yacs(
    yacs: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    path = tmp_path / "dat_tiny.pth"
    config = yacs({"DATA": yacs({"IMG_SIZE": 224, "MEAN": (0.5, 0.5)}), "TAG": "default"})
    saved = {"model": collections.OrderedDict(TENSORS), "max_accuracy": np.float64(82.04), "epoch": 299}
    torch.save({**saved, "config": config}, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "yacs.config")
    opened = open_checkpoint(path)
    assert opened["config"]["DATA"]["IMG_SIZE"] == 224
    assert opened["max_accuracy"] == 82.04
    assert opened["epoch"] == 299
    assert all(torch.equal(opened["model"][name], tensor) for name, tensor in TENSORS.items())
    assert "yacs.config" not in sys.modules


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("value", [np.float32(1.5), np.float64(-3), np.int64(7), np.uint8(200), np.bool_(True)])
def test_numpy_scalars_of_old_and_new_numpy_are_numbers(tmp_path: Path, module: str, value: Any) -> None:
    path = tmp_path / "x.pth"
    written = pickle.dumps({"a": value}, 2).replace(b"numpy._core.multiarray", module.encode())
    write_zip(path, written)
    opened = open_checkpoint(path)["a"]
    assert opened == value
    assert isinstance(opened, int | float)


class Hostile:
    """Calls ``function`` when it is unpickled by what follows instructions blindly."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


def write_zip(path: Path, instructions: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"data.pkl": instructions, "version": b"3\n", "byteorder": b"little"}.items():
            archive.writestr(f"archive/{name}", data)


def write_torch_zip(path: Path, value: object, protocol: int) -> None:
    torch.save(value, path, pickle_protocol=protocol)


def write_torch_legacy(path: Path, value: object, protocol: int) -> None:
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


def write_bare(path: Path, value: object, protocol: int) -> None:
    path.write_bytes(pickle.dumps(value, protocol))


HOSTILE = {
    "eval": (Hostile(eval, "open('pwned', 'w')"), "builtins.eval"),
    "touch": (Hostile(Path.touch, Path("pwned")), "touch"),
    "getattr": (Hostile(getattr, Path("pwned"), "touch"), "builtins.getattr"),
    "a function of torch": (Hostile(torch.hub.download_url_to_file, "http://127.0.0.1:9/", "pwned"), "torch.hub"),
    "an array": (np.zeros(2), "numpy"),
    "a network": (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    # These torch allows; the first would fill the memory.
    "a lot of memory": (Hostile(bytearray, 1 << 46), "builtins.bytearray"),
    "a storage without tensor": (Hostile(torch.UntypedStorage, 1 << 46), "torch.storage.UntypedStorage"),
    "a counter": (collections.Counter("aab"), "collections.Counter"),
    "a device": (torch.device("cuda"), "torch.device"),
    "a sparse tensor": (torch.eye(2).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("write", [write_torch_zip, write_torch_legacy, write_bare])
@pytest.mark.parametrize("case", HOSTILE)
def test_anything_else_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, write: Callable[..., None], protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    value, named = HOSTILE[case]
    write(tmp_path / "evil.pth", {"epoch": 3, "x": value}, protocol)
    with pytest.raises(WeightsError, match=r"evil\.pth asks for .*could run code") as caught:
        open_checkpoint(tmp_path / "evil.pth")
    if case != "touch":  # its Path is refused first, under a name that differs between versions of Python
        assert named in str(caught.value)
    assert str(caught.value).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ["evil.pth"]


@pytest.mark.parametrize(
    "instructions",
    [
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        b"(S'touch pwned'\nios\nsystem\n.",
        b"\x80\x02cos\nsystem\nX\x05\0\0\0touch\x85R.",
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_shell_command_by_any_instruction_is_named(tmp_path: Path, instructions: bytes, zipped: bool) -> None:
    path = tmp_path / "evil.pth"
    write_zip(path, instructions) if zipped else path.write_bytes(instructions)
    with pytest.raises(WeightsError, match=r"asks for (os|posix)\.system"):
        open_checkpoint(path)


SCALAR = np.float64(0).__reduce__()[0]


def scalar(kind: object, data: object) -> dict[str, object]:
    """What a stranger could write who knows that NumPy scalars are read."""
    return {"a": Hostile(SCALAR, Hostile(np.dtype, kind, False, True), data)}


@pytest.mark.parametrize("kind", ["q", "\x1b[2J", ["f8"], {"names": ["a"], "formats": ["O"]}])
def test_only_types_of_one_number_are_read(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "x.pth"
    torch.save(scalar("f8", struct.pack("<d", 1.5)), path)
    assert open_checkpoint(path) == {"a": 1.5}
    torch.save(scalar(kind, b"x" * 8), path)
    with pytest.raises(WeightsError, match=r"damaged|NumPy value of type unknown") as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()


OTHERS = {
    "object": Hostile(SCALAR, np.dtype("O"), [1]),
    "str_": np.str_("abc"),
    "bytes_": np.bytes_(b"abc"),
    "void": np.zeros(1, "f8,f8")[0],
    "complex": np.complex128(1j),
    "longdouble": np.longdouble(1),
    "datetime64": np.datetime64("2023-01-01"),
    "timedelta64": np.timedelta64(1, "s"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_numpy_value_that_is_no_number_is_named(tmp_path: Path, kind: str) -> None:
    torch.save({"a": OTHERS[kind]}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=rf"x\.pth holds a NumPy value of type {kind} \(\w+\), which is no plain"):
        open_checkpoint(tmp_path / "x.pth")


def test_a_number_of_a_machine_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    torch.save({"a": Hostile(SCALAR, np.dtype(">f8"), struct.pack(">d", 1.5))}, tmp_path / "x.pth")
    assert open_checkpoint(tmp_path / "x.pth") == {"a": 1.5}


@pytest.mark.parametrize("data", [b"x" * 7, b"x" * 9, 3, None])
def test_a_number_has_the_bytes_of_its_type(tmp_path: Path, data: object) -> None:
    torch.save(scalar("f8", data), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="damaged"):
        open_checkpoint(tmp_path / "x.pth")


def test_endless_instructions_are_not_followed(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.pth", b"\x80\x02" + b"N0" * 4_000_000 + b"}.")
    began = time.monotonic()
    with pytest.raises(WeightsError, match="damaged"):
        open_checkpoint(tmp_path / "x.pth")
    assert time.monotonic() - began < 10


KEY, LIST = b"X\x01\0\0\0a", b"]q\x01(K\x01K\x02e"
TENSOR = b"ctorch._utils\n_rebuild_tensor\n)R"
GROWING = {
    "another encoding, which doubles what it is given": b"c_codecs\nencode\nX\x02\0\0\0zzX\x03\0\0\0hex\x86R",
    "a text encoded that is no number": b"c_codecs\nencode\nX\xff\0\0\0" + b"z" * 255 + b"X\x06\0\0\0latin1\x86R",
    "one list copied twice": b"(cbuiltins\nset\n" + LIST + b"\x85Rcbuiltins\nset\nh\x01\x85Rt",
    "one list of arguments used twice": b"(cbuiltins\nset\n" + LIST + b"\x85q\x02Rcbuiltins\nset\nh\x02Rt",
    "a set of the values of a tensor": b"cbuiltins\nset\n" + TENSOR + b"\x85R",
    "attributes copied from one place": b"}q\x01ccollections\nOrderedDict\n)Rh\x01b",
    "tuples in tuples": b")" + b"\x85" * 100_000,
    "a tuple that is followed for ever": b")q\x01" + b"h\x01\x86q\x01" * 60,
    "a call of no global": b"})R",
}


@pytest.mark.parametrize("case", GROWING)
def test_no_call_can_make_more_than_the_file_has(tmp_path: Path, case: str) -> None:
    write_zip(tmp_path / "x.pth", b"\x80\x02}" + KEY + GROWING[case] + b"s.")
    with (
        (tmp_path / "x.pth").open("rb") as opened,
        pytest.raises(ValueError, match=r"copy|copied|encoded|nested|no global"),
    ):
        check_calls(opened)
    with pytest.raises(WeightsError, match="damaged"):
        open_checkpoint(tmp_path / "x.pth")


def test_sets_and_dictionaries_of_their_own_entries_are_read(tmp_path: Path) -> None:
    pairs = b"ccollections\nOrderedDict\n]](K\x01K\x02ea\x85R"  # as Python 2 wrote it
    write_zip(tmp_path / "x.pth", b"\x80\x02}" + KEY + b"(c__builtin__\nset\n" + LIST + b"\x85R" + pairs + b"ts.")
    assert open_checkpoint(tmp_path / "x.pth") == {"a": ({1, 2}, {1: 2})}


def test_texts_beyond_all_checkpoints_are_not_read(tmp_path: Path) -> None:
    for size, said in ((1_000_000, None), (11_000_000, "damaged")):
        write_zip(tmp_path / "x.pth", b"\x80\x02}" + KEY + b"X" + struct.pack("<I", size) + b"z" * size + b"s.")
        if said is None:
            assert len(open_checkpoint(tmp_path / "x.pth")["a"]) == size
        else:
            with pytest.raises(WeightsError, match=said):
                open_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("hidden", ["data.pkl", "other.pkl", "DATA.PKL"])
def test_every_pickle_of_an_archive_is_looked_at(tmp_path: Path, hidden: str) -> None:
    path = tmp_path / "x.pth"
    write_zip(path, b"\x80\x02}.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"another/{hidden}", b"\x80\x02cbuiltins\nbytearray\n.")
    with pytest.raises(WeightsError, match=r"builtins\.bytearray"):
        open_checkpoint(path)


class Disguised:
    """An OrderedDict whose methods are shadowed by what the file says."""

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = {"get": "x", "items": "x", "values": "x", "keys": "x", "_metadata": {}}
        return collections.OrderedDict, (), attributes, None, iter(TENSORS.items())


@pytest.mark.parametrize("nested", [False, True])
def test_a_dictionary_has_no_methods_of_a_stranger(tmp_path: Path, nested: bool) -> None:
    torch.save({"model": [(Disguised(),)]} if nested else Disguised(), tmp_path / "x.pth")
    opened = open_checkpoint(tmp_path / "x.pth")
    inner = opened["model"][0][0] if nested else opened
    assert not vars(inner)
    assert [name for name, _ in inner.items()] == list(TENSORS)


def test_a_list_that_holds_itself_is_read(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    torch.save({"a": endless}, tmp_path / "x.pth")
    assert open_checkpoint(tmp_path / "x.pth")["a"][0][0]


def test_names_of_a_stranger_cannot_move_the_cursor(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.pth", b"\x80\x02c\x1b[2Jm\nevil\x1b]0;" + b"x" * 500 + b"\n.")
    with pytest.raises(WeightsError, match=r"x1b\[2Jm") as caught:
        open_checkpoint(tmp_path / "x.pth")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def truncated(path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-700])


def truncated_legacy(path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1000)}}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-700])


def enormous(path: Path) -> None:
    write_zip(path, b"\x80\x02X" + struct.pack("<I", (1 << 32) - 1) + b"a.")


def absurd(path: Path) -> None:
    write_zip(path, b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".")


def script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"constants.pkl": b"\x80\x02).", "data.pkl": b"\x80\x02).", "version": b"3\n"}.items():
            archive.writestr(f"archive/{name}", data)


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncated, "is damaged"),
    "truncated, legacy": (truncated_legacy, "is damaged"),
    "empty": (Path.touch, "is empty"),
    "a web page": (lambda path: path.write_bytes(b"\xef\xbb\xbf\n<!DOCTYPE html>"), "is a web page"),
    "a pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "safetensors": (lambda path: save_file(TENSORS, path), r"is safetensors, not a pickle; name it x\.safetensors"),
    "text": (lambda path: path.write_text("hello"), "is damaged or not a checkpoint"),
    "JSON": (lambda path: path.write_text(json.dumps({"a": 1})), "is damaged or not a checkpoint"),
    "a list": (lambda path: torch.save([1, 2], path), "holds no dictionary"),
    "numbers for names": (lambda path: torch.save({1: 2}, path), "holds no dictionary"),
    "more than there is memory": (enormous, "is damaged"),
    "an absurd length": (absurd, "is damaged"),
    "a program": (script, "TorchScript"),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("suffix", ["pth", "bin"])
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, case: str, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    make, said = DAMAGED[case]
    make(path)
    with pytest.raises(WeightsError, match=said) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_environment_cannot_lift_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Hostile(eval, "open('pwned', 'w')")}, "evil.pth")
    with pytest.raises(WeightsError, match=r"builtins\.eval"):
        open_checkpoint("evil.pth")
    assert not Path("pwned").exists()
