"""What a training takes over from the weights that it starts from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import dict_to_namespace

from dat_cli.catalog import Preprocessing, get_variant
from dat_cli.cli.main import main
from dat_cli.cli.start import take_over
from dat_cli.errors import UsageError
from dat_cli.run.resolve import Weights
from dat_cli.weights import WeightsConfig, read_config

SMALL = Preprocessing((3, 64, 64), crop_pct=1.0)


def weights(arch: str = "dat_tiny", preprocessing: Preprocessing = SMALL, **model_args: int) -> Weights:
    config = WeightsConfig(arch, ("a", "b"), preprocessing, dict(model_args))
    return Weights(Path("best.safetensors"), config, "mine", "here")


def taken(found: Weights, **given: object) -> dict[str, object]:
    options: Any = dict_to_namespace(
        {
            "model": {"arch": "dat_tiny", "img_size": None, "window": None},
            "data": {"image_size": None, "preprocessing": None},
        }
    )
    for name, value in given.items():
        options[name.replace("__", ".")] = value
    take_over(options, {name.replace("__", ".") for name in given}, found)
    model = {name: options.model[name] for name in ("arch", "img_size", "window")}
    return {**model, "preprocessing": options.data.preprocessing.as_dict()}


def test_everything_is_as_in_the_weights_where_nobody_says_otherwise() -> None:
    found = taken(weights("dat_p_tiny", img_size=96, window=5))
    assert found == {"arch": "dat_p_tiny", "img_size": 96, "window": 5, "preprocessing": asdict(SMALL)}


def test_tables_and_windows_grow_with_the_image_as_those_of_the_published_networks() -> None:
    found = taken(weights(preprocessing=get_variant("dat_tiny").preprocessing), data__image_size=384)
    assert (found["img_size"], found["window"]) == (384, 12)
    found = taken(weights("dat_pp_tiny", img_size=64, window=7), model__arch="dat_pp_tiny", data__image_size=384)
    assert (found["img_size"], found["window"]) == (384, 7)
    assert taken(weights(img_size=64, window=5), data__image_size=384)["window"] == 5


def test_the_variant_for_larger_images_starts_from_the_one_for_smaller() -> None:
    base, large = get_variant("dat_base"), get_variant("dat_base_384")
    found = taken(weights("dat_base", base.preprocessing), model__arch="dat_base_384")
    assert found == {
        "arch": "dat_base_384",
        "img_size": 384,
        "window": 12,
        "preprocessing": asdict(large.preprocessing),
    }


def test_another_network_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.arch is dat_small, but mine was made with dat_tiny"):
        taken(weights(), model__arch="dat_small")


def test_a_run_goes_on_at_another_image_size(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1", "--trainer.max_epochs", "1"]
    command = ["fit", "--weights", str(trained_run), "--data.image_size", "64", "--data.batch_size", "4", *few]
    assert main([*command, "--output_dir", str(tmp_path), "--name", "larger"]) == 0
    assert "position-bias tables resized for 64 x 64 pixels" in capsys.readouterr().err
    config = read_config(tmp_path / "larger" / "version_0" / "best.safetensors")
    assert config.preprocessing.input_size == (3, 64, 64)
    assert config.model_args["img_size"] == 64
