"""The networks as timm's users know them; timm's own tests of models make the same demands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models._manipulate import group_parameters

from dat_cli.catalog import VARIANTS
from dat_cli.models import create_model

import_module("dat_cli.models.timm")  # registers the names

build: Any = timm.create_model  # what it returns depends on its options
TINY = pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])


@pytest.mark.parametrize("name", VARIANTS)
def test_timm_builds_each_variant_as_we_do(name: str) -> None:
    theirs = build(name, num_classes=7, device="meta")
    with torch.device("meta"):
        ours = create_model(name, num_classes=7)
    assert [(n, p.shape) for n, p in theirs.named_parameters()] == [(n, p.shape) for n, p in ours.named_parameters()]
    config = theirs.default_cfg
    assert f"{config['first_conv']}.weight" in theirs.state_dict()
    assert f"{config['classifier']}.weight" in theirs.state_dict()
    image = torch.empty(1, *config["input_size"], device="meta")
    assert theirs.forward_features(image).shape == (1, theirs.num_features, *config["pool_size"])


@TINY
def test_timm_extracts_features(name: str) -> None:
    pyramid = build(name, features_only=True, out_indices=(0, 2)).eval()
    maps = pyramid(torch.randn(1, 3, 64, 64))
    assert [each.shape[1] for each in maps] == pyramid.feature_info.channels()
    assert [64 // each.shape[2] for each in maps] == pyramid.feature_info.reduction() == [4, 16]


def test_timm_data_config_is_the_published_preprocessing() -> None:
    model = build("dat_pp_base_384", device="meta")
    config = resolve_model_data_config(model)
    assert config["input_size"] == (3, 384, 384)
    assert config["crop_pct"] == 1.0
    assert config["crop_mode"] == "squash"
    assert config["interpolation"] == "bicubic"


@TINY
def test_parameters_are_grouped_by_depth(name: str) -> None:
    model: Any = create_model(name)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    # The stem and the last norm with the head stand outside the blocks.
    assert len(set(groups.values())) == sum(VARIANTS[name].depths) + 2
    assert groups["stem.conv.weight"] == 0
    assert groups["stages.1.downsample.conv.weight"] == groups["stages.1.blocks.0.norm1.weight"]
    assert groups["head.weight"] == max(groups.values())


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError):
        build("dat_tiny", not_an_option=1)


def test_a_new_classifier_stands_where_the_network_is() -> None:
    model = build("dat_tiny", device="meta", dtype=torch.float64).eval()
    model.reset_classifier(2)
    weight = model.get_classifier().weight
    assert weight.device.type == "meta"
    assert weight.dtype == torch.float64
    assert not model.get_classifier().training
