from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dat_cli.benchmark.stages import stage_costs
from dat_cli.cli.main import main
from dat_cli.errors import DataError
from dat_cli.train.mixing import MixingConfig

PAPERS = {"auto_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4, "erasing": 0.25}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with three pictures of 500 x 375 each."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(3):
            Image.effect_noise((500, 375), 60).convert("RGB").save(root / name / f"{number}.jpg")
    return root


def stages(source: Path | str, **options: object) -> list[str]:
    costs = stage_costs(str(source), image_size=32, batch_size=2, images=3, rounds=1, **options)  # type: ignore[arg-type]
    assert all(cost.ms > 0 for cost in costs)
    return [cost.name for cost in costs]


def test_a_plain_fit_pays_for_reading_decoding_the_random_part_and_the_batch(folder: Path) -> None:
    assert stages(folder) == ["read", "decode", "crop", "mirror", "normalize", "collate"]


def test_the_papers_recipe_pays_for_its_augmentation_too(folder: Path) -> None:
    expected = ["read", "decode", "crop", "mirror", "distort", "normalize", "erase", "collate", "mix"]
    assert stages(folder, options=PAPERS, mixing=MixingConfig(mixup=0.8, cutmix=1.0)) == expected


def test_what_is_in_memory_is_not_decoded() -> None:
    assert "decode" not in stages("digits")


def test_shards_are_read_as_a_fit_reads_them(folder: Path, tmp_path: Path) -> None:
    assert main(["shard", str(folder), str(tmp_path / "shards")]) == 0
    assert stages(tmp_path / "shards")[:2] == ["read", "decode"]


def test_a_damaged_image_is_an_error(folder: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.jpg").write_bytes((folder / name / "0.jpg").read_bytes()[:-99])
    with pytest.raises(DataError, match=r"cannot read .*\d\.jpg: .*truncated"):
        stages(tmp_path)
