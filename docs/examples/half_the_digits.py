"""Write the built-in digits as two data sets of image files, to learn on one and go on with the other.

    python docs/examples/half_the_digits.py FOLDER [IMAGES] [SEED]

FOLDER/known has the digits 0 to 4, some 180 images of each. FOLDER/new has the digits 5 to 9: IMAGES of each for
training (10 unless given), which SEED chooses, and all others for validation.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image


def main(folder: str, images: str = "10", seed: str = "0") -> None:
    """Write both data sets."""
    from sklearn.datasets import load_digits  # a second to import

    digits = load_digits()
    pictures: defaultdict[str, list[Image.Image]] = defaultdict(list)
    for pixels, digit in zip(digits.images, digits.target, strict=True):  # 8 x 8 shades from 0 to 16
        pictures[str(digit)].append(Image.fromarray((pixels * (255 / 16)).round().astype("uint8")))
    for digit in "01234":
        save(pictures[digit], Path(folder) / "known" / digit)
    for digit in "56789":
        random.seed(f"{digit}/{seed}")
        random.shuffle(pictures[digit])
        save(pictures[digit][: int(images)], Path(folder) / "new" / "train" / digit)
        save(pictures[digit][int(images) :], Path(folder) / "new" / "val" / digit)


def save(pictures: list[Image.Image], folder: Path) -> None:
    """Write pictures as numbered files."""
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        picture.save(folder / f"{index:03d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
