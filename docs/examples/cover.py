"""Cover the fifth of each digit that a map calls most relevant, and see how certain of its answer a network stays.

python docs/examples/cover.py WEIGHTS [IMAGES]: weights of the built-in digits, such as runs/demo.
"""

from __future__ import annotations

import sys

import numpy as np
import torch  # noqa: TID253 - nothing runs without it
from PIL import Image

from dat_cli import explain, load_model
from dat_cli.data.sources import open_source
from dat_cli.data.transforms import eval_transform

COLOURS = ("grey", "black")  # that parts are covered with: the image's mean and its darkest


def main(weights: str, images: str = "100") -> None:
    """Print the mean probability of the answer to the whole image after parts were covered."""
    network, config = load_model(weights)
    prepare, chance = eval_transform(config.preprocessing), np.random.default_rng(0)
    certain: dict[str, list[list[float]]] = {}
    for digit in _unseen_digits()[: int(images)]:
        pixels = prepare(digit)  # (3, H, W)
        seen = explain(network, pixels)
        cell = pixels.shape[-1] // seen.saliency.rollout.shape[-1]  # pixels
        bright = torch.nn.functional.avg_pool2d(pixels.mean(dim=0, keepdim=True), cell)[0].numpy()
        maps = {
            "weighted by gradients": seen.saliency.gradient,
            "attention rollout": seen.saliency.rollout,
            "brightness": bright,
            "chance": chance.random(bright.shape),
        }
        covered = [_covered(pixels, _most(values), cell) for values in maps.values()]  # each (2, 3, H, W)
        with torch.no_grad():
            probabilities = network(torch.cat([pixels[None].repeat(2, 1, 1, 1), *covered])).softmax(dim=1)
        for name, rows in zip(("nothing", *maps), probabilities[:, seen.target].view(-1, 2).tolist(), strict=True):
            certain.setdefault(name, []).append(rows)
    sys.stdout.write(f"{'covered: the fifth by':24}{COLOURS[0]:>8}{COLOURS[1]:>8}\n")
    for name, values in certain.items():
        grey, black = np.mean(values, axis=0)
        sys.stdout.write(f"{name:24}{grey:8.1%}{black:8.1%}\n")


def _unseen_digits() -> list[Image.Image]:
    source = open_source("digits")
    return [image for image, _ in source.test if isinstance(image, Image.Image)]


def _most(values: np.ndarray) -> torch.Tensor:
    """1 for the fifth of the cells with the highest values."""
    chosen = torch.zeros(values.size)
    chosen[np.argsort(-values, axis=None, kind="stable")[: values.size // 5].copy()] = 1
    return chosen.view(values.shape)


def _covered(pixels: torch.Tensor, cells: torch.Tensor, cell: int) -> torch.Tensor:
    cover = cells.kron(torch.ones(cell, cell))
    return torch.stack([pixels * (1 - cover) + colour * cover for colour in (pixels.mean(), pixels.min())])


if __name__ == "__main__":
    main(*sys.argv[1:])
