"""``dat calibrate`` as people type it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dat_cli.cli.main import main
from dat_cli.data.module import ImageDataModule
from dat_cli.run.load import load_model
from dat_cli.train.calibration import calibrate
from dat_cli.weights import read_config, read_tensors, write_weights
from dat_cli.weights.files import read_header

FEW = ["--trainer.limit_val_batches", "2", "--data.batch_size", "24", "--trainer.accelerator", "cpu"]


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, which may be changed."""
    for name in ("best.safetensors", "config.yaml"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(trained_run / name, tmp_path / "run" / name)
    return tmp_path / "run"


def test_the_temperature_is_written_into_the_weights_and_used_by_predict(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = read_config(run / "best.safetensors")
    tensors = read_tensors(run / "best.safetensors")
    write_weights(run / "best.safetensors", tensors, before, others={"note": "mine", "format": "pt"})
    (run / "best.safetensors").chmod(0o600)
    Image.fromarray((load_digits().images[0] * 15).astype("uint8")).save(tmp_path / "zero.png")
    predict = ["predict", str(tmp_path / "zero.png"), "--weights", str(run), "--format", "json"]
    assert main(predict) == 0
    plain = {guess["index"]: guess["probability"] for guess in json.loads(capfd.readouterr().out)[0]["predictions"]}
    assert main(["calibrate", "--weights", str(run), *FEW]) == 0
    output = capfd.readouterr()
    after = read_config(run / "best.safetensors")
    assert after.temperature is not None
    assert after.to_dict() == {**before.to_dict(), "temperature": after.temperature}
    metadata = read_header(run / "best.safetensors").metadata
    assert {**metadata, "dat": ""} == {"note": "mine", "format": "pt", "dat": ""}
    assert (run / "best.safetensors").stat().st_mode & 0o777 == 0o600
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in read_tensors(run / "best.safetensors").items())
    assert "48 images, top-1 " in output.out
    assert f"temperature {after.temperature:.4f}" in output.out
    assert [line.split()[0] for line in output.out.splitlines()[2:]] == ["before", "calibration", "negative"]
    assert f"temperature {after.temperature:g} written into {run / 'best.safetensors'}" in output.err
    assert "48 images are few" in output.err
    assert (run / "val" / "reliability.svg").read_text(encoding="utf-8").startswith("<?xml")

    assert main(predict) == 0
    warm = {guess["index"]: guess["probability"] for guess in json.loads(capfd.readouterr().out)[0]["predictions"]}
    for index, other in ((1, 2), (2, 3)):
        first, second = list(plain)[index - 1], list(plain)[other - 1]
        ratio = (plain[first] / plain[second]) ** (1 / after.temperature)
        assert warm[first] / warm[second] == pytest.approx(ratio, rel=2e-3)


def test_json_has_all_numbers_and_another_file_gets_the_temperature(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = (run / "best.safetensors").read_bytes()
    out = tmp_path / "warm.safetensors"
    command = ["calibrate", "--weights", str(run), *FEW, "--format", "json", "--output", str(out)]
    assert main([*command, "--report", str(tmp_path / "report")]) == 0
    result = json.loads(capfd.readouterr().out)
    network, config = load_model(out)
    assert config.temperature == result["temperature"]
    assert (run / "best.safetensors").read_bytes() == weights
    assert [entry.name for entry in (tmp_path / "report").iterdir()] == ["reliability.svg"]
    data = ImageDataModule(preprocessing=config.preprocessing, batch_size=24, num_workers=0)
    data.setup("validate")
    batches = [batch for batch, _ in zip(data.val_dataloader(), range(2), strict=False)]
    with torch.no_grad():
        logits = torch.cat([network(batch.images) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    order = sorted(range(48), key=[name for batch in batches for name in batch.names].__getitem__)
    expected = calibrate(logits[order], labels[order])
    assert expected.after is not None
    assert result["temperature"] == pytest.approx(expected.temperature, rel=1e-3)
    assert result["images"] == 48
    assert result["val_acc1"] == expected.accuracy
    assert result["before"]["ece"] == pytest.approx(expected.before.ece, abs=1e-4)
    assert result["after"]["nll"] == pytest.approx(expected.after.nll, abs=1e-4)
    assert sum(entry["images"] for entry in result["after"]["bins"]) == 48


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "no weights to measure"),
        ("--weights {run}/last.ckpt", "only a .safetensors file here can; pass --output dat_tiny.safetensors"),
        ("--weights {run}/layout", "only a .safetensors file here can; pass --output"),
        ("--weights {run}/layout --output {run}/layout/model.safetensors", "no longer be what the config.json beside"),
        ("--weights {run} --output {run}/x.pth", "does not end in .safetensors"),
        ("--weights {run} --output {run}/no/x.safetensors", "cannot be written"),
        ("--weights {run} --trainer.limit_val_batches 0", "nothing was measured"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: str, said: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("best.safetensors", "config.yaml", "last.ckpt"):
        (run / name).symlink_to(trained_run / name)
    if "layout" in options:
        assert main(["convert", str(run), str(run / "layout")]) == 0
    capfd.readouterr()
    names = sorted(entry.name for entry in run.rglob("*"))
    assert main(["calibrate", *options.format(run=run).split()]) == 2
    output = capfd.readouterr()
    assert said in output.err.splitlines()[-1]
    assert output.out == ""
    assert sorted(entry.name for entry in run.rglob("*")) == names


def test_images_that_say_nothing_about_certainty_leave_the_weights_as_they_are(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = replace(read_config(run / "best.safetensors"), temperature=1.7)
    write_weights(run / "best.safetensors", read_tensors(run / "best.safetensors"), config)
    found = calibrate(5 * torch.eye(3), torch.arange(3))
    monkeypatch.setattr("dat_cli.cli.calibrate.calibrate", lambda *_: found)
    assert main(["calibrate", "--weights", str(run), *FEW, "--format", "json"]) == 0
    output = capfd.readouterr()
    assert json.loads(output.out)["temperature"] is None
    assert "nothing is written" in output.err
    assert "best.safetensors stays as it is" in output.err
    assert read_config(run / "best.safetensors").temperature == 1.7
    assert not (run / "val").exists()


def test_weights_that_change_meanwhile_are_left_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = read_config(run / "best.safetensors")

    def replaced(*_: object) -> object:
        write_weights(run / "best.safetensors", {"a": torch.zeros(1)}, config)
        return calibrate(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))

    monkeypatch.setattr("dat_cli.cli.calibrate.calibrate", replaced)
    assert main(["calibrate", "--weights", str(run), *FEW]) == 1
    assert "changed while it was measured; calibrate again" in capfd.readouterr().err
    assert read_config(run / "best.safetensors").temperature is None


@pytest.mark.parametrize("command", ["calibrate", "validate", "test"])
def test_weights_that_know_one_class_alone_have_nothing_to_measure(
    command: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "one.safetensors"
    write_weights(weights, {}, replace(read_config(run / "best.safetensors"), classes=("cat",)))
    assert main([command, "--weights", str(weights), "--data.source", str(tmp_path)]) == 2
    assert "one.safetensors knows one class alone, so that there is nothing to measure" in capfd.readouterr().err


def test_two_processes_find_the_temperature_of_one(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    digits = load_digits()
    for index in range(13):  # which no two processes share evenly
        folder = tmp_path / "photos" / "val" / str(digits.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 15).astype("uint8")).save(folder / f"{index}.png")
    command = ["calibrate", "--weights", str(trained_run), "--data.source", str(tmp_path / "photos"), "--format=json"]
    command += ["--data.batch_size", "2", "--trainer.accelerator", "cpu", "--output", str(tmp_path / "x.safetensors")]
    command += ["--report", str(tmp_path / "report")]
    both = [*command, "--trainer.devices", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dat_cli", *both], capture_output=True, text=True, timeout=280, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert main(command) == 0
    alone = json.loads(capfd.readouterr().out)
    assert together["images"] == alone["images"] == 13
    assert together["temperature"] == pytest.approx(alone["temperature"], rel=1e-3)
    for when in ("before", "after"):
        assert together[when]["nll"] == pytest.approx(alone[when]["nll"], rel=1e-3)
    assert read_config(tmp_path / "x.safetensors").temperature == alone["temperature"]
