"""Output: plain data on stdout, talk on stderr, files that are complete or absent."""

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from dat_cli.cli.files import result_file
from dat_cli.cli.logs import quiet_libraries, set_up_logging
from dat_cli.cli.output import Column, print_csv, print_json, print_table, talk, to_json
from dat_cli.errors import UsageError


def test_a_table_aligns_wide_signs_and_hides_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["label", Column("p", ".2f"), "found"], [["犬", 0.5, True], ["cat\x1b[2J", None, False]], title="Top:")
    assert capsys.readouterr().out.splitlines() == [
        "Top:",
        "label          p  found",
        "犬          0.50  yes",
        r"cat\x1b[2J     -  no",
    ]


def test_a_table_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["path"], [["x" * 500]])
    assert "x" * 500 + "\n" in capsys.readouterr().out


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": float("nan"), "rows": [float("inf"), 1.5, "é"], "shape": (1, 2)})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "rows": [None, 1.5, "é"], "shape": [1, 2]}


def test_json_suits_the_encoding_of_its_stream() -> None:
    ascii_stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert to_json({"a": "é"}, ascii_stream) == r'{"a": "\u00e9"}'


def test_csv_quotes_what_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"path": 'a,"b".jpg', "found": True, "top1": None}])
    assert capsys.readouterr().out == 'path,found,top1\n"a,""b"".jpg",true,\n'


def test_talk_is_plain_on_stderr_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    talk().print("[bold]working[/bold]")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "working\n")


def test_a_result_file_appears_when_complete(tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    with result_file(place) as stream:
        stream.write("caf\u00e9 \udcff\n")
        assert not place.exists()
    assert place.read_text(encoding="utf-8") == "café \\udcff\n"
    assert os.listdir(tmp_path) == ["out.csv"]  # noqa: PTH208 - names only
    umask = os.umask(0)
    os.umask(umask)
    assert place.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    place.write_text("old")
    place.chmod(0o640)

    def write_half() -> None:
        with result_file(place) as stream:
            stream.write("half")
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        write_half()
    assert place.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    with result_file(place) as stream:
        stream.write("new")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("new", 0o640)


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with result_file(tmp_path / "link") as stream:
        stream.write("text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"
    with result_file(Path("/dev/null")) as stream:
        stream.write("text")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("name", [".", "missing/out.csv", "file/out.csv", "a\0b", "x" * 5000])
def test_an_impossible_place_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="output"), result_file(tmp_path / name):
        pass


def test_log_lines_are_plain_and_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    set_up_logging()
    logging.getLogger("dat.train").info("epoch %d", 1)
    logging.getLogger("dat").warning("2 images skipped")
    logging.getLogger("dat").debug("details")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "dat: epoch 1\ndat: warning: 2 images skipped\n")


def test_a_warning_is_one_line_and_advertisement_none(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        quiet_libraries()
        warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck.", stacklevel=1)
        warnings.warn("the image is\n   very large", stacklevel=1)
    assert capsys.readouterr().err == "dat: warning: the image is very large\n"


FIT = """
import sys, torch
from dat_cli.cli.logs import quiet_libraries
quiet_libraries()
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader
quiet_libraries()
class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)
data = DataLoader(torch.randn(8, 4), batch_size=2)
options = dict(accelerator="cpu", max_epochs=1, enable_progress_bar=False, enable_model_summary=False)
Trainer(**options).fit(Module(), data)
Trainer(**options, fast_dev_run=True, precision="bf16-mixed").fit(Module(), data)
"""


def test_lightning_says_nothing_during_a_plain_fit(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", FIT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
