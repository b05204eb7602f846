"""Real picture files for the tests of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture
def make_folder() -> MakeFolder:
    """Writes as many small JPEGs as asked for into each subfolder of a folder."""

    def make(root: Path, counts: Mapping[str, int]) -> Path:
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.jpg")
        return root

    return make


@pytest.fixture
def photo() -> Image.Image:
    """A smooth RGB picture, 64 wide and 48 high, dark on the left and red at the bottom."""
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[..., 1] = np.linspace(0, 255, 64).round()
    pixels[..., 0] = np.linspace(0, 255, 48).round()[:, None]
    return Image.fromarray(pixels)
