"""Telling which network tensors by the authors' names are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dat_cli.catalog import VARIANTS
from dat_cli.errors import ModelError, WeightsError
from dat_cli.models import DAT
from dat_cli.models.convert import to_authors
from dat_cli.models.recognise import Recognised, recognise

GOLDEN = Path(__file__).parents[1] / "golden"


def authors(variant: str, **options: Any) -> dict[str, Tensor]:
    """Tensors as the authors' code names and shapes them, without memory behind them."""
    with torch.no_grad():
        return to_authors(DAT(VARIANTS[variant], device="meta", **options).state_dict(), VARIANTS[variant])


@pytest.mark.parametrize("name", VARIANTS)
def test_each_published_variant_is_told_from_its_tensors(name: str) -> None:
    variant = VARIANTS[name]
    assert recognise(authors(name)) == Recognised(variant, variant.image_size, variant.window, 1000, 3)


@pytest.mark.parametrize(
    ("case", "name", "size", "window"),
    [
        ("dat_tiny_224", "dat_tiny", 224, 7),
        ("dat_pp_tiny_224", "dat_pp_tiny", 224, 7),
        ("dat_tiny_224_to_384", "dat_tiny", 384, 12),
    ],
)
def test_the_authors_own_lists_are_recognised_with_their_computed_buffers(
    case: str, name: str, size: int, window: int
) -> None:
    meta = json.loads(str(np.load(GOLDEN / f"{case}.npz")["meta"]))
    shapes = {**meta["parameters"], **meta["buffers"], "stages.0.attns.1.q_grid": [1], "stages.2.reference": [1]}
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert recognise(tensors) == Recognised(VARIANTS[name], size, window, 1000, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dat_small", {"img_size": 288, "window": 9}),
        ("dat_base", {"img_size": 512, "window": 16, "num_classes": 10}),
        ("dat_p_tiny", {"img_size": 256, "in_chans": 1}),
        ("dat_pp_small", {"img_size": 448, "window": 9, "num_classes": 21841}),
    ],
)
def test_sizes_and_classes_are_read_off_the_tables(name: str, options: dict[str, int]) -> None:
    found = recognise(authors(name, **options))
    assert found.variant.name == name
    expected = {"img_size": 224, "window": 7, "num_classes": 1000, "in_chans": 3, **options}
    assert {option: getattr(found, option) for option in expected} == expected


def test_a_larger_dat_base_is_dat_base_where_the_caller_says_so() -> None:
    tensors = authors("dat_base_384")
    assert recognise(tensors).variant.name == "dat_base_384"
    assert recognise(tensors, "dat_base") == Recognised(VARIANTS["dat_base"], 384, 12, 1000, 3)


def test_what_does_not_fit_is_listed_against_the_nearest_variant() -> None:
    tensors = authors("dat_pp_tiny")
    del tensors["stages.1.attns.0.qkv.bias"]
    tensors["stages.9.extra"] = torch.zeros(2)
    tensors["down_projs.0.0.weight"] = torch.zeros(128, 64, 2, 2)
    with pytest.raises(WeightsError) as caught:
        recognise(tensors)
    said = str(caught.value)
    assert "the nearest, dat_pp_tiny" in said
    assert "1 missing (stages.1.attns.0.qkv.bias)" in said
    assert "1 unexpected (stages.9.extra)" in said
    assert "1 of another shape (down_projs.0.0.weight (128, 64, 2, 2) for (128, 64, 3, 3))" in said


def test_tensors_of_another_variant_than_said_are_told_by_its_name() -> None:
    with pytest.raises(WeightsError, match=r"not the tensors of dat_small.* 210 missing.*they are those of dat_tiny$"):
        recognise(authors("dat_tiny"), "dat_small")


def test_an_unknown_variant_is_said_to_be_so() -> None:
    with pytest.raises(ModelError, match="did you mean 'dat_tiny'"):
        recognise(authors("dat_tiny"), "dat_tny")


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"layer1.0.conv1.weight": torch.zeros(1)},
        {"cls_head.weight": torch.zeros(1).expand(10**14, 768), "patch_proj.0.weight": torch.zeros(())},
        {"stages.2.attns.1.rpe_table": torch.zeros(1).expand(12, 10**6, 10**6)},
        {"stages.0.attns.0.relative_position_bias_table": torch.zeros(1).expand(10**12, 3)},
        {"stages.0.attns.0.rpb": torch.zeros(2, 10, 10), "\x1b[2J" * 100: torch.zeros(1)},
    ],
)
def test_tensors_of_anything_else_are_one_line(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="missing") as caught:
        recognise(tensors)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 4000
