"""Write some of the built-in digits that training leaves out as image files, to have something to predict.

    python docs/examples/digits_to_images.py FOLDER [COUNT]

Each file is named after the digit that it shows, such as 7_003.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from dat_cli.data.sources import open_source


def main(folder: str, count: str = "10") -> None:
    """Write the first ``count`` digits of the part that a fit with default options measures with."""
    source = open_source("digits")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for index in range(int(count)):
        sample = source.val[index]
        assert isinstance(sample.image, Image.Image)  # noqa: S101 - the digits come as pictures, folders as paths
        sample.image.save(target / f"{source.classes[sample.label]}_{index:03d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
