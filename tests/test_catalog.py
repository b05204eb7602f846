"""The published variants as data."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dat_cli
from dat_cli.catalog import VARIANTS, get_variant, list_models
from dat_cli.errors import ModelError


def test_there_are_nine_variants() -> None:
    assert list_models() == [
        "dat_tiny",
        "dat_small",
        "dat_base",
        "dat_base_384",
        "dat_p_tiny",
        "dat_pp_tiny",
        "dat_pp_small",
        "dat_pp_base",
        "dat_pp_base_384",
    ]


def test_head_dimension_is_32_and_groups_divide_heads_everywhere() -> None:
    for variant in VARIANTS.values():
        assert [dim // heads for dim, heads in zip(variant.dims, variant.heads, strict=True)] == [32] * 4
        for blocks, heads, groups in zip(variant.blocks, variant.heads, variant.groups, strict=True):
            assert "D" not in blocks or heads % groups == 0


def test_evaluation_resizes_as_the_authors_do() -> None:
    def resized(name: str) -> int:
        preprocessing = get_variant(name).preprocessing
        return int(preprocessing.input_size[1] / preprocessing.crop_pct)

    assert [resized(name) for name in ("dat_tiny", "dat_base_384", "dat_pp_base_384")] == [256, 438, 384]


def test_a_wrong_name_tells_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'dat_pp_tiny'"):
        get_variant("dat_pp_tny")


def test_importing_the_package_and_listing_models_loads_no_torch() -> None:
    code = "import sys, dat_cli; dat_cli.list_models(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_public_names_are_where_they_are_said_to_be() -> None:
    for name in dat_cli.__all__:
        assert getattr(dat_cli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dat_cli.nothing
