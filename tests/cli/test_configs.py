"""The configs that come with dat: each runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from dat_cli.catalog import VARIANTS
from dat_cli.cli.configs import find_config, packaged_configs
from dat_cli.cli.main import main
from dat_cli.errors import UsageError

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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of two pictures, in both parts."""
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (60, 40), "green").save(tmp_path / "pictures" / part / name / f"{index}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_the_published_recipe_trains_and_validates_one_batch(
    name: str, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--config", f"imagenet/{name}", "--data.source", str(pictures), "--trainer.fast_dev_run", "1"]
    assert main([*command, "--data.image_size", "32", "--data.batch_size", "2"]) == 0
    assert "nan" not in capfd.readouterr().err


def test_fine_tuning_goes_on_from_weights(pictures: Path, trained_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", "finetune", "--weights", str(trained_run), "--data.source", str(pictures)]
    assert main([*command, "--trainer.fast_dev_run", "1", "--data.batch_size", "3"]) == 0
    assert "kept the backbone" in capfd.readouterr().err


def test_there_is_no_config_that_is_not_tested() -> None:
    folder = packaged_configs()
    assert {path.stem for path in folder.glob("*.yaml")} == {*NAMES, "finetune"}
    assert {path.stem for path in folder.glob("*/*.yaml")} == set(VARIANTS)  # see tests/test_recipes.py


@pytest.mark.parametrize("name", NAMES)
def test_a_config_leaves_the_image_size_to_the_source(name: str) -> None:
    options = yaml.safe_load((packaged_configs() / f"{name}.yaml").read_text(encoding="utf-8"))
    assert "image_size" not in options["data"]


@pytest.mark.parametrize("name", ["imagenet/dat_tiny", "imagenet/dat_tiny.yaml"])
def test_a_recipe_is_found_by_its_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()  # the images, perhaps
    assert find_config(name) == packaged_configs() / "imagenet" / "dat_tiny.yaml"


def test_a_file_of_ones_own_comes_before_a_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "imagenet" / "dat_tiny.yaml"
    own.parent.mkdir()
    own.touch()
    assert find_config("imagenet/dat_tiny.yaml") == own


def test_a_recipe_without_its_folder_is_pointed_at() -> None:
    with pytest.raises(UsageError, match=r"no config 'dat_pp_base_384'; did you mean 'imagenet/dat_pp_base_384'\?"):
        find_config("dat_pp_base_384")
