"""From weights set by hand to pixels of a file: what is drawn is where it must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.interpret.explain import explain
from dat_cli.interpret.explanation import DeformableBlock, Explanation
from dat_cli.interpret.pictures.attention import STAR, draw_attention
from dat_cli.interpret.pictures.canvas import save_picture
from dat_cli.interpret.pictures.discs import colour
from dat_cli.interpret.pictures.points import draw_points
from dat_cli.models import DAT

PHOTO = Image.new("RGB", (500, 200), "white")
SIZE = 1500
PREPROCESSING = Preprocessing((3, 96, 96), crop_pct=0.75, crop_mode="center")
# The photograph becomes 320 x 128 pixels, 1.5625 of its own for one; the middle 96 x 96 begin at (112, 16) of them.
SCALE, LEFT, TOP = 200 / 128, 112 * 200 / 128, 16 * 200 / 128


@pytest.fixture(scope="module")
def explanation(planted: Callable[..., DAT]) -> Explanation:
    """All points of DAT-Tiny move 0.3 down and 0.2 to the left; queries like keys one cell to their right best."""
    network = planted("dat_tiny", (0.3, -0.2), prefer=(0.0, -2 / 6), img_size=96)
    return explain(network, PHOTO, preprocessing=PREPROCESSING)


def expected(row: int, column: int) -> tuple[float, float]:
    """Where the point of a 6 x 6 map is sampled, by the equations of the paper alone."""
    places = []
    for index, offset, corner in ((column, -0.2, LEFT), (row, 0.3, TOP)):
        position = (index + 0.5) / 6 * 2 - 1 + 2 * math.tanh(offset) / 6
        cell = (position + 1) / 2 * 5
        places.append(corner + (16 * cell + 8) * SCALE)
    return places[0], places[1]


def block(explanation: Explanation) -> DeformableBlock:
    return explanation.deformable[0]


def pixel_at(figure: Figure, pixels: npt.NDArray[np.uint8], x: float, y: float) -> npt.NDArray[np.float64]:
    """The colour of the file at a place of the photograph."""
    across, up = figure.axes[0].transData.transform((x, y))
    return pixels[pixels.shape[0] - 1 - int(up), int(across)] / 255


def saved(figure: Figure, folder: Path) -> npt.NDArray[np.uint8]:
    save_picture(figure, folder / "picture.png", SIZE)
    with Image.open(folder / "picture.png") as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("group", [0, 2])
def test_discs_have_the_colour_of_their_group_where_points_are_sampled(
    planted: Callable[..., DAT], group: int, tmp_path: Path
) -> None:
    explanation = explain(planted("dat_tiny", (0.3, -0.2), img_size=96), PHOTO, preprocessing=PREPROCESSING)
    figure = draw_points(explanation, PHOTO, blocks=[block(explanation)], group=group, size=SIZE)
    pixels = saved(figure, tmp_path)
    for row in range(6):
        for column in range(6):
            found = pixel_at(figure, pixels, *expected(row, column))
            np.testing.assert_allclose(found, to_rgb(colour(group)), atol=0.05)
    nobody = pixel_at(figure, pixels, 100, 100)  # outside of the crop
    assert np.ptp(nobody) < 0.05


def test_the_star_and_the_heaviest_key_are_one_cell_apart(explanation: Explanation, tmp_path: Path) -> None:
    x, y = LEFT + (16 * 2 + 8) * SCALE, TOP + (16 * 3 + 8) * SCALE  # the query of row 3, column 2
    look = block(explanation).look(x + 5, y - 5)
    np.testing.assert_allclose(look.query, (x, y))
    # The keys stand at the corners of no regular grid: the one nearest to the preferred place is the heaviest.
    queries = np.array([2 + 0.5, 3 + 0.5]) / 6 * 2 - 1 + [2 / 6, 0]
    keys = block(explanation).normalised[0].reshape(-1, 2)[:, ::-1]
    nearest = int(((keys - queries) ** 2).sum(axis=1).argmin())
    assert int(look.weights[:36].argmax()) == nearest
    np.testing.assert_allclose(look.keys[nearest], expected(*divmod(nearest, 6)), atol=1e-3)

    figure = draw_attention(
        explanation, PHOTO, blocks=[block(explanation)], queries=[(x + 5, y - 5)], group=1, size=SIZE
    )
    pixels = saved(figure, tmp_path)
    np.testing.assert_allclose(pixel_at(figure, pixels, x, y), to_rgb(STAR), atol=0.05)
    np.testing.assert_allclose(pixel_at(figure, pixels, *expected(*divmod(nearest, 6))), to_rgb(colour(1)), atol=0.05)
