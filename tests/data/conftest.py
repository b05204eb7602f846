"""Real picture files for the tests of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
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


MakeShards = Callable[[Path, Sequence[int]], list[Path]]


@pytest.fixture
def make_shards() -> MakeShards:
    """Writes shards of so many 8 x 8 PNGs as the library webdataset does.

    Picture number n of all is n everywhere (modulo 256), and of class n modulo 3.
    """

    def make(root: Path, counts: Sequence[int]) -> list[Path]:
        import webdataset  # type: ignore[import-untyped]  # it has none

        root.mkdir(parents=True, exist_ok=True)
        numbers = iter(range(sum(counts)))
        paths = [root / f"{shard:03d}.tar" for shard in range(len(counts))]
        for path, samples in zip(paths, counts, strict=True):
            with webdataset.TarWriter(str(path)) as writer:
                for number in islice(numbers, samples):
                    picture = Image.fromarray(np.full((8, 8, 3), number % 256, dtype=np.uint8))
                    writer.write({"__key__": f"{number:06d}", "png": picture, "cls": number % 3})
        return paths

    return make
