"""The configs that come with dat: each runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dat_cli.cli.configs import packaged_configs
from dat_cli.cli.main import main

NAMES = ["tiny", "small", "base", "pp_tiny", "pp_small", "pp_base"]


@pytest.mark.parametrize("name", NAMES)
def test_a_config_trains_and_validates_one_batch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # names work from any folder
    command = ["fit", "--config", name, "--trainer.fast_dev_run", "1"]
    assert main([*command, "--data.image_size", "32", "--data.batch_size", "2"]) == 0
    output = capfd.readouterr()
    assert "nothing is kept" in output.err
    assert "nan" not in output.err
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_config_that_is_not_tested() -> None:
    assert sorted(path.stem for path in packaged_configs().glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_leaves_the_image_size_to_the_source(name: str) -> None:
    options = yaml.safe_load((packaged_configs() / f"{name}.yaml").read_text(encoding="utf-8"))
    assert "image_size" not in options["data"]
