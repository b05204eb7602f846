"""What each step from a file to a batch costs one worker, without and with the augmentation of the papers.

    python docs/examples/loading.py SOURCE [IMAGE_SIZE]

SOURCE is what data.source may be, IMAGE_SIZE 224 unless given.
"""

from __future__ import annotations

import sys

from dat_cli.benchmark.stages import stage_costs
from dat_cli.train.mixing import MixingConfig

CROP = {"crop_scale": (0.08, 1.0), "crop_ratio": (3 / 4, 4 / 3), "flip": 0.5}
PAPERS = {**CROP, "auto_augment": "rand-m9-mstd0.5-inc1", "erasing": 0.25}
MIXING = MixingConfig(mixup=0.8, cutmix=1.0)


def main(source: str, image_size: str = "224") -> None:
    """Print a table in milliseconds for each image."""
    size = int(image_size)
    papers = stage_costs(source, image_size=size, batch_size=32, options=PAPERS, mixing=MIXING)
    plain = {cost.name: cost.ms for cost in stage_costs(source, image_size=size, batch_size=32, options=CROP)}
    lines = [f"| step | {source}: a crop and a flip (ms) | the papers' augmentation (ms) |", "|---|---|---|"]
    lines += [f"| {cost.name} | {plain.get(cost.name, 0.0):.2f} | {cost.ms:.2f} |" for cost in papers]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
