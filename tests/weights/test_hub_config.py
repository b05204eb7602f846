"""config.json: timm's keys, read as the word of a stranger."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import timm
from timm.models._hub import save_for_hf

from dat_cli.catalog import Preprocessing
from dat_cli.errors import WeightsError
from dat_cli.weights import WeightsConfig
from dat_cli.weights.hub_config import config_json, from_config_json

import_module("dat_cli.models.timm")  # registers the names

CONFIG = WeightsConfig(
    architecture="dat_pp_tiny",
    classes=("Katze", "犬", 'it\'s a "bird"'),
    preprocessing=Preprocessing(input_size=(3, 64, 96), crop_mode="center"),
    model_args={"img_size": 64, "window": 5},
    metrics={"val_acc1": 0.75},
    trained_on="digits",
    license="mit",
    origin="dat.pth",
    origin_sha256="0" * 64,
)


def test_what_is_written_is_read() -> None:
    assert from_config_json(json.loads(json.dumps(config_json(CONFIG))), source="x") == CONFIG


def test_a_temperature_stands_under_our_key() -> None:
    warm = replace(CONFIG, temperature=1.25)
    assert config_json(warm)["dat"]["temperature"] == 1.25
    assert from_config_json(json.loads(json.dumps(config_json(warm))), source="x") == warm


def test_the_keys_are_those_that_timm_reads() -> None:
    written = config_json(CONFIG)
    assert set(written) == {
        *("architecture", "num_classes", "num_features", "global_pool", "label_names", "model_args", "pretrained_cfg"),
        "dat",
    }
    assert set(written["pretrained_cfg"]) == {
        *("num_classes", "input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode", "classifier"),
        *("first_conv", "license"),
    }
    assert (written["num_classes"], written["num_features"]) == (3, 512)
    assert written["dat"]["format"] == 1


def test_what_timm_itself_writes_of_our_network_is_read(tmp_path: Path) -> None:
    build: Any = timm.create_model
    save_for_hf(build("dat_tiny", num_classes=4, img_size=96), str(tmp_path), safe_serialization=True)
    config = from_config_json(json.loads((tmp_path / "config.json").read_text()), source="x")
    assert config.architecture == "dat_tiny"
    assert config.classes == ("class 0", "class 1", "class 2", "class 3")
    assert config.model_args["img_size"] == 96
    assert config.preprocessing == Preprocessing()


def test_a_flat_file_of_an_older_timm_is_read() -> None:
    flat = {"architecture": "dat_tiny", "num_classes": 2, "labels": ["a", "b"], "input_size": [3, 64, 64]}
    config = from_config_json(flat, source="x")
    assert config.classes == ("a", "b")
    assert config.preprocessing == Preprocessing(input_size=(3, 64, 64), crop_mode="center")


def test_a_thousand_classes_without_names_are_those_of_imagenet() -> None:
    config = from_config_json({"architecture": "dat_tiny", "num_classes": 1000, "pretrained_cfg": {}}, source="x")
    assert config.classes[0].startswith("tench")
    assert len(config.classes) == 1000


def test_timms_words_for_its_names_are_taken_where_they_differ() -> None:
    data = {"architecture": "dat_tiny", "label_names": ["n1", "n2"], "pretrained_cfg": {}}
    for words, expected in (({"n1": "cat", "n2": "dog"}, ("cat", "dog")), ({"n1": "cat", "n2": "cat"}, ("n1", "n2"))):
        assert from_config_json({**data, "label_descriptions": words}, source="x").classes == expected


WRONG: dict[str, tuple[str, object, str]] = {
    "a list": ("", [], "not a dictionary"),
    "another network": ("architecture", "resnet50", "unknown architecture 'resnet50'"),
    "a slip": ("architecture", "dat_tny", "did you mean 'dat_tiny'"),
    "a path for a name": ("architecture", "../../dat_tiny", "unknown architecture"),
    "architecture of a wrong type": ("architecture", {"dat_tiny": 1}, "not a name"),
    "classes that are not as many": ("num_classes", 4, "num_classes is 4, but only 3 fits"),
    "names that are a text": ("label_names", "abc", "not a list"),
    "names that are numbers": ("label_names", [1, 2, 3], "not a string"),
    "features of another network": ("num_features", 2048, "num_features is 2048"),
    "another pooling": ("global_pool", "token", "global_pool is 'token'"),
    "an extra argument": ("model_args", {"pretrained_cfg_overlay": {"url": "x"}}, "unknown model argument"),
    "arguments that are a list": ("model_args", ["img_size"], "not a dictionary"),
    "a network as wide as the world": ("model_args", {"img_size": 10**9}, "outside of"),
    "a neighbourhood without a centre": ("model_args", {"window": 8}, "has a centre"),
    "other classes in the arguments": ("model_args", {"num_classes": 9}, "num_classes of model_args is 9"),
    "images as wide as the world": ("pretrained_cfg.input_size", [3, 10**6, 10**6], "outside of"),
    "mean that is NaN": ("pretrained_cfg.mean", [math.nan] * 3, "mean is nan"),
    "std of zero": ("pretrained_cfg.std", [0, 0, 0], "std is 0"),
    "a crop that timm knows and we do not": ("pretrained_cfg.crop_mode", "border", "not one of"),
    "no dictionary of preprocessing": ("pretrained_cfg", "x", "not a dictionary"),
    "licence with an escape": ("pretrained_cfg.license", "\x1b[2J", "control character"),
    "a later format": ("dat", {"format": 2, "version": "9.9"}, "install a newer dat-cli"),
    "no format": ("dat", {}, "format under 'dat' is None"),
    "format that is true": ("dat", {"format": True}, "format under 'dat' is True"),
    "a second architecture": ("dat", {"format": 1, "architecture": "dat_base"}, "unknown entry"),
    "our key as a list": ("dat", [], "not a dictionary"),
    "metric that is text": ("dat", {"format": 1, "metrics": {"acc": "high"}}, "not a number"),
    "origin with a line break": ("dat", {"format": 1, "origin": "a\nb"}, "control character"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_strangers_file_is_refused_in_one_line(case: str) -> None:
    name, value, said = WRONG[case]
    written: Any = copy.deepcopy(config_json(CONFIG))
    if name:
        *sections, leaf = name.split(".")
        (written[sections[0]] if sections else written)[leaf] = value
    else:
        written = value
    with pytest.raises(WeightsError) as caught:
        from_config_json(written, source="stranger/config.json")
    message = str(caught.value)
    assert message.startswith("stranger/config.json: ")
    assert said in message
    assert message.isprintable()
    assert len(message) < 300
