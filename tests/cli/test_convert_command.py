"""``dat convert`` as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dat_cli.catalog import VARIANTS
from dat_cli.cli.main import main
from dat_cli.models import create_model
from dat_cli.models.convert import to_authors
from dat_cli.weights import read_config


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAT-P-Tiny of two classes at 32 pixels in the authors' form, and names of its classes beside it."""
    folder = tmp_path_factory.mktemp("theirs")
    network = create_model("dat_p_tiny", num_classes=2, img_size=32).half()
    torch.save({"model": to_authors(network.state_dict(), VARIANTS["dat_p_tiny"])}, folder / "x.pth")
    (folder / "names.txt").write_text("cat\ndog\n")
    return folder


def test_it_prints_the_place_and_says_what_was_recognised(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours.safetensors"
    assert main(["convert", str(theirs / "x.pth"), str(out), "--labels", str(theirs / "names.txt")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert said.err.count("\n") == 1
    assert "x.pth is recognised as dat_p_tiny for 32 x 32 pixels and 2 classes; wrote 481 tensors" in said.err
    assert read_config(out).classes == ("cat", "dog")


def test_all_options_arrive(theirs: Path, tmp_path: Path) -> None:
    command = ["convert", str(theirs / "x.pth"), str(tmp_path / "ours"), "--labels", str(theirs / "names.txt")]
    assert main([*command, "--arch", "dat_p_tiny", "--img_size", "64", "--window", "5"]) == 0
    assert read_config(tmp_path / "ours").model_args == {"img_size": 64, "window": 5}
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back.pth"), "--to", "authors"]) == 0
    assert (tmp_path / "back.pth").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: IN, OUT"),
        (["x.pth"], "the following arguments are required: OUT"),
        (["", "out.safetensors"], "the name of a file is empty"),
        (["x.pth", "out.safetensors"], "there are no weights 'x.pth'"),
        (["x.pth", "out.safetensors", "--arch", "dat_tny"], "did you mean 'dat_tiny'"),
        (["x.pth", "out.safetensors", "--img_siz", "3"], "did you mean --img_size"),
        (["x.pth", "out.safetensors", "--img_size", "big"], "--img_size: invalid int value: 'big'"),
        (["x.pth", "out.safetensors", "--to", "timm"], "--to: invalid choice: 'timm'"),
        (["x.pth", "out.safetensors", "--labels", "nowhere"], "--labels: there is no file nowhere"),
        (["text.txt", "out.safetensors"], "text.txt does not end as weights do"),
        (["text.pth", "out.safetensors"], "text.pth is damaged or not a checkpoint"),
        (["THEIRS", "out.safetensors"], "has 2 outputs, and does not say what they mean; give --labels FILE with 2"),
        (["THEIRS", "out.pth"], "would be a pickle"),
        (["THEIRS", "out", "--img_size", "31", "--labels", "NAMES"], "--img_size is 31, not 32 to 4096 pixels"),
        (["THEIRS", "out", "--window", "8", "--labels", "NAMES"], "window is 8; a neighbourhood has a centre"),
        (["THEIRS", "out", "--window", "65", "--labels", "NAMES"], "windows of 65 positions"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    theirs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("text.txt", "text.pth"):
        Path(name).write_text("hello")
    real = {"THEIRS": str(theirs / "x.pth"), "NAMES": str(theirs / "names.txt")}
    assert main(["convert", *(real.get(each, each) for each in arguments)]) == 2
    error = capsys.readouterr()
    assert error.out == ""
    assert error.err.startswith("dat: error: ")
    assert error.err.count("\n") == 1
    assert said in error.err
    assert sorted(os.listdir()) == ["text.pth", "text.txt"]  # noqa: PTH208 - as short as can be


class Hostile:
    """Makes a file when it is unpickled by what follows instructions blindly."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("open('pwned', 'w')",)


def test_a_process_that_meets_code_names_it_and_runs_nothing(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "config": Hostile()}, tmp_path / "evil.pth")
    done = subprocess.run(
        [sys.executable, "-m", "dat_cli", "convert", "evil.pth", "out.safetensors"],
        cwd=tmp_path,
        env={**os.environ, "DAT_DEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "builtins.eval" in done.stderr
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["evil.pth"]


def test_help_comes_without_torch() -> None:
    code = "import sys; from dat_cli.cli.main import main; main(['convert', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "--img_size" in done.stdout
