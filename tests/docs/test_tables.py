from __future__ import annotations

import re
from pathlib import Path

import pytest

from dat_cli.catalog import VARIANTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/model.md"])
def test_the_table_of_models_has_every_variant_with_its_published_figures(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) M \| ([\d.]+) G \| (\d+) \| (\S+) \|$", (ROOT / page).read_text(), re.M)
    expected = [
        (
            name,
            f"{variant.published.parameters:.2f}",
            f"{variant.published.macs:.2f}",
            str(variant.image_size),
            "-" if variant.published.top1 is None else str(variant.published.top1),
        )
        for name, variant in VARIANTS.items()
    ]
    assert rows == expected


def test_the_table_of_what_variants_are_made_of_is_the_catalog() -> None:
    text = (ROOT / "docs/model.md").read_text(encoding="utf-8")
    lists = r"(\d[^|]*) \| ([LSND][^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*)"
    rows = re.findall(rf"^\| `(\w+)` \| {lists} \| (\d+) \| (\S+) \|$", text, re.M)
    expected = [
        (
            name,
            ", ".join(map(str, variant.dims)),
            ", ".join(_pairs(blocks) for blocks in variant.blocks),
            ", ".join(map(str, variant.heads)),
            ", ".join(str(number or "-") for number in variant.groups),
            ", ".join(str(number or "-") for number in variant.strides),
            str(variant.window),
            str(variant.drop_path_rate),
        )
        for name, variant in VARIANTS.items()
    ]
    assert rows == expected


def _pairs(blocks: str) -> str:
    repeats = len(blocks) // 2
    return blocks[:2] if repeats == 1 else f"{blocks[:2]} × {repeats}"
