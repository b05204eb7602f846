"""Multiply-accumulates that are counted from the specification are those that torch counts in the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dat_cli.catalog import VARIANTS, Variant
from dat_cli.macs import count_macs
from dat_cli.models import DAT
from dat_cli.ops import reference


def _shallow(variant: Variant) -> Variant:
    """The variant with each kind of block once in each stage: what is counted once more is counted alike."""
    blocks = ["".join(dict.fromkeys(kinds)) for kinds in variant.blocks]
    return replace(variant, blocks=(blocks[0], blocks[1], blocks[2], blocks[3]))


PUBLISHED = pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
SHALLOW = pytest.mark.parametrize("variant", [_shallow(variant) for variant in VARIANTS.values()], ids=list(VARIANTS))


def _counted_by_torch(variant: Variant, height: int, width: int, **options: Any) -> dict[str, int]:
    with torch.device("meta"):
        model = DAT(variant, **options).eval()
        image = torch.empty(1, model.in_chans, height, width)
    # The plain form multiplies by the K^2 keys of a neighbourhood, as published figures do; tiles multiply more.
    with FlopCounterMode(display=False, depth=3) as counter, reference(), torch.no_grad():
        model(image)
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    assert flops["Global"] == counter.get_total_flops()
    parts = ("stem", *(f"stages.{index}" for index in range(4)), "head")
    return {part: flops.get(f"DAT.{part}", 0) // 2 for part in parts}


@PUBLISHED
def test_the_sum_is_the_published_figure(variant: Variant) -> None:
    macs = count_macs(variant, height=variant.image_size, width=variant.image_size, num_classes=1000)
    assert sum(macs.values()) / 1e9 == pytest.approx(variant.published.macs, abs=0.006)


def test_a_whole_network_at_its_nominal_size() -> None:
    variant = VARIANTS["dat_tiny"]
    macs = count_macs(variant, height=224, width=224, num_classes=1000)
    assert macs == _counted_by_torch(variant, 224, 224)
    assert list(macs) == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]


@SHALLOW
def test_every_kind_of_block_at_odd_sizes(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    # A little padding is multiplied for speed; it does not count.
    monkeypatch.setattr("dat_cli.models.window._SPARE", 1.0)
    for height, width in ((33, 47), (250, 383)):
        macs = count_macs(variant, height=height, width=width, num_classes=7)
        assert macs == _counted_by_torch(variant, height, width, num_classes=7), (height, width)


@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_with_other_channels_windows_and_no_classes(name: str) -> None:
    variant = _shallow(VARIANTS[name])
    options = {"num_classes": 0, "in_chans": 5, "window": 11}
    macs = count_macs(variant, height=100, width=160, **options)
    assert macs == _counted_by_torch(variant, 100, 160, **options)
    assert macs["head"] == 0
