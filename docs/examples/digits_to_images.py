"""Write some of the built-in digits that no fit sees as image files, to have something to predict.

    python docs/examples/digits_to_images.py FOLDER [COUNT]

Each file is named after the digit that it shows, such as 7_003.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from dat_cli.data.sources import open_source


def main(folder: str, count: str = "10") -> None:
    """Write the first ``count`` digits of the test part."""
    source = open_source("digits")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(list(source.test or ())[: int(count)]):
        if isinstance(image, Image.Image):  # other sources hold paths
            image.save(target / f"{source.classes[label]}_{index:03d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
