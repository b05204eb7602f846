"""Draw the built-in digits into two data sets of image files, to learn on one and go on with the other.

    python docs/examples/half_the_digits.py FOLDER [IMAGES] [SEED]

In each image of 32 x 32 pixels one digit lies somewhere, of some size and at some angle. FOLDER/known has 80 images of
each of the digits 0 to 4 upright, lying on one side, on the other, and upside down: 20 classes. FOLDER/new has the
digits 5 to 9: IMAGES of each for training (10 unless given) and 60 for validation, which show other handwriting. SEED
chooses everything.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, SMALLEST, LARGEST, ANGLE = 32, 20, 29, 15


def main(folder: str, images: str = "10", seed: str = "0") -> None:
    """Draw both data sets."""
    from sklearn.datasets import load_digits  # a second to import

    chance = np.random.default_rng(int(seed))
    bunch = load_digits()
    digits: defaultdict[str, list[Image.Image]] = defaultdict(list)
    for pixels, digit in zip(bunch.images, bunch.target, strict=True):  # 8 x 8 shades from 0 to 16
        digits[str(digit)].append(Image.fromarray((pixels * (255 / 16)).round().astype("uint8")))
    for digit, written in digits.items():
        chance.shuffle(written)
        if digit in "01234":
            for turn in (0, 90, 180, 270):
                turned = [picture.rotate(turn) for picture in written]
                draw(chance, turned, 80, Path(folder) / "known" / f"{digit}_{turn}")
        else:
            draw(chance, written[60:], int(images), Path(folder) / "new" / "train" / digit)
            draw(chance, written[:60], 60, Path(folder) / "new" / "val" / digit)


def draw(chance: np.random.Generator, written: list[Image.Image], count: int, folder: Path) -> None:
    """Draw so many images of a digit, each handwriting as often as any other."""
    folder.mkdir(parents=True)
    for index in range(count):
        size = int(chance.integers(SMALLEST, LARGEST))
        digit = written[index % len(written)].resize((size, size), Image.Resampling.BICUBIC)
        image = Image.new("L", (SIDE, SIDE))
        left, top = chance.integers(0, SIDE - size, 2).tolist()
        image.paste(digit, (left, top))
        image.rotate(chance.uniform(-ANGLE, ANGLE), Image.Resampling.BICUBIC).save(folder / f"{index:03d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
