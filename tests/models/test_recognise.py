"""Telling which network tensors by the authors' names are of."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dat_cli.catalog import VARIANTS
from dat_cli.errors import ModelError, WeightsError
from dat_cli.models import DAT
from dat_cli.models.convert import from_authors, to_authors
from dat_cli.models.recognise import Recognised, recognise

GOLDEN = Path(__file__).parents[1] / "golden"


# Written from the papers and the authors' published code, and independent of what is tested: width, blocks of each
# stage, groups of each stage, window, image size, millions of parameters as published.
DAT_TINY = ("LS", "LS", "LDLDLD", "LD")
DAT_DEEP = ("LS", "LS", "LD" * 9, "LD")
DAT_PP = ("ND", "NDND", "ND" * 9, "DD")
PUBLISHED: dict[str, tuple[int, tuple[str, ...], tuple[int, ...], int, int, float]] = {
    "dat_tiny": (96, DAT_TINY, (0, 0, 3, 6), 7, 224, 28.32),
    "dat_small": (96, DAT_DEEP, (0, 0, 3, 6), 7, 224, 49.70),
    "dat_base": (128, DAT_DEEP, (0, 0, 4, 8), 7, 224, 87.88),
    "dat_base_384": (128, DAT_DEEP, (0, 0, 4, 8), 12, 384, 88.18),
    "dat_p_tiny": (64, DAT_PP, (1, 2, 4, 8), 7, 224, 22.77),
    "dat_pp_tiny": (64, DAT_PP, (1, 2, 4, 8), 7, 224, 23.96),
    "dat_pp_small": (96, DAT_PP, (1, 2, 3, 6), 7, 224, 53.13),
    "dat_pp_base": (128, DAT_PP, (2, 4, 8, 16), 7, 224, 93.69),
    "dat_pp_base_384": (128, DAT_PP, (2, 4, 8, 16), 7, 384, 94.12),
}
Shapes = dict[str, tuple[int, ...]]


def authors_shapes(
    name: str, img_size: int | None = None, window: int | None = None, num_classes: int = 1000, in_chans: int = 3
) -> Shapes:
    """The authors' name and shape of each parameter."""
    width, stages, groups, usual_window, usual_size, _ = PUBLISHED[name]
    img_size, window, convolutions = img_size or usual_size, window or usual_window, name.startswith("dat_pp")
    last = 8 * width
    shapes = stem_shapes(width, in_chans, convolutions=convolutions)
    for stage, blocks in enumerate(stages):
        dim, kernel = width * 2**stage, 3 if convolutions else 2
        if stage:
            shapes[f"down_projs.{stage - 1}.0.weight"] = (dim, dim // 2, kernel, kernel)
            shapes |= layer(f"down_projs.{stage - 1}.1.norm", dim)
        side, within = 2 * (img_size // (4 * 2**stage)) - 1, f"stages.{stage}"
        for block, kind in enumerate(blocks):
            shapes |= layer(f"{within}.layer_norms.{2 * block}.norm", dim)
            shapes |= layer(f"{within}.layer_norms.{2 * block + 1}.norm", dim)
            shapes |= mlp_shapes(within, block, dim, convolutions=convolutions)
            attention = f"{within}.attns.{block}"
            if kind == "D":
                shapes |= deformable_shapes(attention, dim, groups[stage], (9, 7, 5, 3)[stage], side)
            elif kind == "N":
                shapes |= {f"{attention}.rpb": (dim // 32, 2 * window - 1, 2 * window - 1)}
                shapes |= layer(f"{attention}.qkv", 3 * dim, dim) | layer(f"{attention}.proj", dim, dim)
            else:
                shapes |= {f"{attention}.relative_position_bias_table": ((2 * window - 1) ** 2, dim // 32)}
                shapes |= layer(f"{attention}.proj_qkv", 3 * dim, dim) | layer(f"{attention}.proj_out", dim, dim)
    return shapes | layer("cls_norm.norm", last) | layer("cls_head", num_classes, last)


def layer(name: str, outputs: int, *rest: int) -> Shapes:
    return {f"{name}.weight": (outputs, *rest), f"{name}.bias": (outputs,)}


def stem_shapes(width: int, in_chans: int, *, convolutions: bool) -> Shapes:
    if not convolutions:
        return layer("patch_proj.0", width, in_chans, 4, 4) | layer("patch_proj.1.norm", width)
    first = layer("patch_proj.0", width // 2, in_chans, 3, 3) | layer("patch_proj.1.norm", width // 2)
    return first | layer("patch_proj.3", width, width // 2, 3, 3) | layer("patch_proj.4.norm", width)


def mlp_shapes(stage: str, block: int, dim: int, *, convolutions: bool) -> Shapes:
    mlp = f"{stage}.mlps.{block}"
    if not convolutions:
        return layer(f"{mlp}.chunk.linear1", 4 * dim, dim) | layer(f"{mlp}.chunk.linear2", dim, 4 * dim)
    linear = layer(f"{mlp}.linear1.0", 4 * dim, dim, 1, 1) | layer(f"{mlp}.linear2.0", dim, 4 * dim, 1, 1)
    local = layer(f"{stage}.local_perception_units.{block}", dim, 1, 3, 3)
    return linear | layer(f"{mlp}.dwc", 4 * dim, 1, 3, 3) | local


def deformable_shapes(name: str, dim: int, groups: int, kernel: int, side: int) -> Shapes:
    shapes = {f"{name}.rpe_table": (dim // 32, side, side), f"{name}.conv_offset.3.weight": (2, dim // groups, 1, 1)}
    shapes |= layer(f"{name}.conv_offset.0", dim // groups, 1, kernel, kernel)
    shapes |= layer(f"{name}.conv_offset.1.norm", dim // groups)
    for projection in ("proj_q", "proj_k", "proj_v", "proj_out"):
        shapes |= layer(f"{name}.{projection}", dim, dim, 1, 1)
    return shapes


def authors(name: str, **options: int) -> dict[str, Tensor]:
    """Tensors as the authors' code names and shapes them, without memory behind them."""
    shapes = authors_shapes(name, **options)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("case", ["dat_tiny_224", "dat_pp_tiny_224"])
def test_the_list_that_this_file_is_checked_with_is_the_authors_own(case: str) -> None:
    theirs = json.loads(str(np.load(GOLDEN / f"{case}.npz")["meta"]))["parameters"]
    assert {name: list(shape) for name, shape in authors_shapes(case.removesuffix("_224")).items()} == theirs


@pytest.mark.parametrize("name", PUBLISHED)
def test_that_list_has_the_published_number_of_parameters(name: str) -> None:
    number = sum(prod(shape) for shape in authors_shapes(name).values())
    assert number / 1e6 == pytest.approx(PUBLISHED[name][-1], abs=0.005)


def test_every_variant_is_held_to_that_list() -> None:
    assert list(PUBLISHED) == list(VARIANTS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_published_variant_is_told_from_its_tensors(name: str) -> None:
    _, _, _, window, size, _ = PUBLISHED[name]
    assert recognise(authors(name)) == Recognised(VARIANTS[name], size, window, 1000, 3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_are_translated_to_those_of_the_authors_and_back(name: str) -> None:
    ours = DAT(VARIANTS[name], device="meta").state_dict()
    theirs = to_authors(ours, VARIANTS[name])
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == authors_shapes(name)
    back = from_authors(authors(name), VARIANTS[name])
    assert {name: tensor.shape for name, tensor in back.items()} == {name: each.shape for name, each in ours.items()}


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
