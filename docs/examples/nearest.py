"""Name the images that are most like one of them, by the vectors of dat embed --normalize true.

python docs/examples/nearest.py VECTORS.npy IMAGE
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np


def main(file: str, image: str) -> None:
    """Print the five nearest neighbours of an image, the most similar first, with the cosine of the angle."""
    vectors = np.load(file, mmap_mode="r")
    with Path(file).with_suffix(".csv").open(encoding="utf-8", newline="") as table:
        paths = [row["path"] for row in csv.DictReader(table)]
    similarity = vectors @ vectors[paths.index(image)]
    for index in similarity.argsort()[::-1][1:6]:  # the first is the image itself
        sys.stdout.write(f"{similarity[index]:.3f}  {paths[index]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
