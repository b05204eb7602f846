"""``dat fit``: starting, stopping, going on, and refusing."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from dat_cli.cli.main import main
from dat_cli.train.classification import Classification
from dat_cli.weights import read_config, read_tensors

SMALL = ["--config", "tiny", "--data.image_size", "32", "--data.batch_size", "8"]
ONE_BATCH = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1", "--trainer.max_epochs", "1"]


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """A folder of real images of two classes, ten of each."""
    digits = load_digits()
    for label, name in ((0, "zero"), (1, "one")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index, pixels in enumerate(digits.images[digits.target == label][:10]):
            Image.fromarray((pixels * 15).astype("uint8")).resize((40, 40)).save(folder / f"{index}.png")
    return tmp_path / "photos"


def _table(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_repeated_from_its_config_and_interrupted_goes_on_to_the_same_losses(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(module: Classification) -> None:
        if module.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Classification, "on_train_epoch_start", interrupt)
        command = ["fit", "--config", str(trained_run / "config.yaml"), "--output_dir", str(tmp_path)]
        assert main(command) == 130
    run = tmp_path / "small" / "version_0"
    assert _table(run) == _table(trained_run)[:1]
    capfd.readouterr()

    assert main(["fit", "--resume", str(run)]) == 0
    assert capfd.readouterr().out == f"{run}\n"
    assert _table(run) == _table(trained_run)
    ours, theirs = (read_tensors(folder / "last.ckpt") for folder in (run, trained_run))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert [entry.name for entry in (tmp_path / "small").iterdir()] == ["version_0"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model.optimizer.lr", "0.1"], "model.optimizer.lr"),
        (["--config", "tiny"], "trainer.max_epochs"),
        (["--name", "other"], "name"),
    ],
)
def test_a_resumed_run_refuses_other_options_by_name(
    trained_run: Path, options: list[str], named: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--resume", str(trained_run), *options]) == 2
    error = capfd.readouterr().err.strip()
    assert f"these differ: {named} " in error
    assert "\n" not in error


def test_a_resumed_run_may_use_the_machine_in_another_way(trained_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runtime = ["--trainer.devices", "1", "--trainer.accelerator", "cpu", "--data.num_workers", "1"]
    assert main(["fit", "--resume", str(trained_run / "last.ckpt"), *runtime]) == 2
    assert "finished after 2 epochs" in capfd.readouterr().err


@pytest.mark.parametrize("reference", ["nowhere", ".", "best"])
def test_nothing_to_resume_is_an_error(
    reference: str,
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = str(trained_run / "best.safetensors") if reference == "best" else reference
    assert main(["fit", "--config", "tiny", "--resume", given]) == 2
    assert "nothing to resume" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_weights_start_a_run_on_other_classes(
    trained_run: Path, two_classes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--weights", str(trained_run), "--data.source", str(two_classes), "--data.batch_size", "4"]
    assert main([*command, *ONE_BATCH, "--output_dir", str(tmp_path / "runs"), "--model.optimizer.lr", "1e-9"]) == 0
    output = capfd.readouterr()
    (said,) = [line for line in output.err.splitlines() if "kept the backbone" in line]
    assert "reset the head (2 tensors)" in said
    run = tmp_path / "runs" / "dat_tiny" / "version_0"
    assert output.out.strip() == str(run)
    config = read_config(run / "best.safetensors")
    assert config.classes == ("one", "zero")
    assert config.preprocessing == read_config(trained_run / "best.safetensors").preprocessing
    assert config.trained_on == "photos"
    before, after = (read_tensors(path / "best.safetensors") for path in (trained_run, run))
    assert after["head.weight"].shape == (2, before["head.weight"].shape[1])
    assert after["stem.conv.weight"].allclose(before["stem.conv.weight"], atol=1e-6)
    options = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert Path(options["data"]["source"]).is_absolute()


def test_weights_of_another_architecture_are_refused(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--config", "pp_tiny", "--weights", str(trained_run), "--output_dir", str(tmp_path)]
    assert main(command) == 2
    error = capfd.readouterr().err
    assert "model.arch is dat_pp_tiny" in error
    assert "dat_tiny" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.batch_size", "0"], "data.batch_size is 0"),
        (["--data.image_size", "16"], "data.image_size is 16"),
        (["--data.image_size", "100000"], "data.image_size is 100000"),
        (["--data.source", "nowhere"], "nowhere"),
        (["--data.source", ""], "data.source is empty"),
        (["--data.source", "~nobody-here/photos"], "data.source '~nobody-here/photos' is no path"),
        (["--output_dir", "~nobody-here"], "a path begins with ~"),
        (["--model.img_size", "0"], "img_size is 0"),
        (["--model.optimizer.lr", "-1"], "model.optimizer.lr is -1"),
        (["--model.label_smoothing", "2"], "model.label_smoothing is 2"),
        (["--model.arch", "dat_tinny"], "did you mean 'dat_tiny'?"),
        (["--trainer.max_epochs", "-5"], "max_epochs"),
        (["--trainer.max_epochs", "-1"], "--trainer.max_epochs"),
        (["--trainer.precision", "12"], "trainer.precision"),
        (["--trainer.precision", "16-mixed", "--trainer.accelerator", "cpu"], "16-mixed needs a GPU"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches is 0"),
        (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val is -1"),
        (["--trainer.val_check_interval", "999"], "`val_check_interval` (999)"),
        (["--seed_everything", "-1"], "seed_everything is -1"),
        (["--trainer.accelerator", "abacus"], "abacus"),
        (["--trainer.devices", "777"], "devices"),
        (["--trainer.max_epochs", "0"], "nothing was trained"),
        (["--name", "a/b"], "a/b"),
        (["--weights", "nowhere"], "nowhere"),
        (["--resume", ""], "--resume is empty"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_no_folder(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "tiny", *options]) == 2
    output = capfd.readouterr()
    assert words in output.err
    assert output.err.startswith("dat: error: ")
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {batch_size: }", "data.batch_size has no value; give a whole number"),
        ("resume: runs/tiny/version_0", "dat fit --resume runs/tiny/version_0"),
    ],
)
def test_a_config_that_would_quietly_mean_something_else_is_refused(
    text: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(text, encoding="utf-8")
    assert main(["fit", "--config", str(config), "--output_dir", str(tmp_path / "runs")]) == 2
    assert words in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [config]


def test_a_folder_named_digits_is_not_taken_for_the_built_in_images(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    two_classes.rename(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, *ONE_BATCH]) == 0
    assert read_config(Path(capfd.readouterr().out.strip()) / "best.safetensors").trained_on == "digits"
    assert len(read_config(tmp_path / "runs/tiny/version_0/best.safetensors").classes) == 10


def test_a_class_whose_name_no_weights_file_holds_stops_a_fit_before_there_is_a_folder(
    two_classes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (two_classes / "one").rename(two_classes / "o\nne")
    command = ["fit", *SMALL, *ONE_BATCH, "--data.source", str(two_classes), "--output_dir", str(tmp_path / "runs")]
    assert main(command) == 2
    assert "'o\\nne', with a control character" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_damaged_image_stops_a_fit_before_there_is_a_folder(
    two_classes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = two_classes / "one" / "3.png"
    image.write_bytes(image.read_bytes()[:80])
    command = ["fit", "--config", "tiny", "--data.source", str(two_classes), "--data.image_size", "32"]
    assert main([*command, "--output_dir", str(tmp_path / "runs")]) == 2
    assert "3.png" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_ends_with_130_and_leaves_a_run_to_look_at(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dat_cli", "fit", *SMALL, "--output_dir", str(tmp_path)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "writing to" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert "\x1b" not in rest
