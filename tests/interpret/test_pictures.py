"""The pictures, by their artists and by their pixels: that what they show stands where the explanation says."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from PIL import Image
from sklearn.datasets import load_sample_image

from dat_cli.catalog import Preprocessing
from dat_cli.interpret.explain import explain
from dat_cli.interpret.explanation import Array, DeformableBlock, Explanation
from dat_cli.interpret.fields import window
from dat_cli.interpret.pictures.attention import STAR, draw_attention
from dat_cli.interpret.pictures.canvas import save_picture
from dat_cli.interpret.pictures.compare import FIELD, draw_compare
from dat_cli.interpret.pictures.discs import colour
from dat_cli.interpret.pictures.points import draw_points
from dat_cli.interpret.pictures.saliency import draw_saliency
from dat_cli.models import DAT, create_model

CENTRE = Preprocessing(input_size=(3, 128, 128), crop_mode="center")
Draw = Callable[[Explanation, Image.Image], Figure]

ALL: dict[str, Draw] = {
    "points": lambda seen, photo: draw_points(seen, photo, blocks=seen.deformable, size=900),
    "one block": lambda seen, photo: draw_points(seen, photo, blocks=seen.deformable[-1:], size=900),
    "attention": lambda seen, photo: draw_attention(
        seen, photo, blocks=seen.deformable, queries=seen.salient(1), size=900
    ),
    "queries": lambda seen, photo: draw_attention(
        seen, photo, blocks=seen.deformable[-2:-1], queries=seen.salient(2), head="all", size=900
    ),
    "saliency": lambda seen, photo: draw_saliency(seen, photo, size=900),
    "compare": lambda seen, photo: draw_compare(
        seen, photo, block=seen.deformable[-2], query=seen.salient(1)[0], size=900
    ),
}


@pytest.fixture(scope="module")
def network() -> DAT:
    torch.manual_seed(0)
    return create_model("dat_tiny", num_classes=3, img_size=128).eval()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))


@pytest.fixture(scope="module")
def seen(network: DAT, photo: Image.Image) -> Explanation:
    return explain(network, photo, preprocessing=CENTRE, classes=("pagoda", "lake", "tree"))


@pytest.fixture(scope="module")
def block(seen: Explanation) -> DeformableBlock:
    return next(block for block in seen.deformable if block.name == "3.6")


def _named(axes: Axes, name: str) -> list[Any]:
    found: list[Artist] = [artist for artist in axes.get_children() if artist.get_gid() == name]
    assert found, f"nothing is called {name}"
    return found


def _discs(axes: Axes, name: str = "keys") -> tuple[Array, Array, list[str]]:
    """Places, areas and colours."""
    (discs,) = _named(axes, name)
    assert isinstance(discs, PathCollection)
    faces = [to_hex(face) for face in np.asarray(discs.get_facecolor())]
    return np.asarray(discs.get_offsets()), np.asarray(discs.get_sizes()), faces


def _pixels(figure: Figure, tmp_path: Path) -> Array:
    save_picture(figure, tmp_path / "picture.png", 900)
    return np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))


def _at(axes: Axes, pixels: Array, place: Array) -> Array:
    """The colour at a place of the photograph, 0 to 1."""
    x, y = axes.transData.transform(place)
    return pixels[pixels.shape[0] - 1 - int(y), int(x)] / 255


def _sorted(places: Array) -> Array:
    return places[np.lexsort(places.round(6).T)]


def test_discs_stand_where_the_network_samples_in_the_colour_of_their_group(
    seen: Explanation, photo: Image.Image, block: DeformableBlock
) -> None:
    figure = draw_points(seen, photo, blocks=[block], size=900)
    places, _, colours = _discs(figure.axes[0])
    np.testing.assert_allclose(_sorted(places), _sorted(block.positions.reshape(-1, 2)))
    for place, face in zip(places, colours, strict=True):
        groups = np.argwhere(np.isclose(block.positions, place).all(axis=-1))[:, 0]
        assert face in {colour(int(group)) for group in groups}


def test_the_pixels_of_the_largest_disc_have_its_groups_colour(
    seen: Explanation, photo: Image.Image, block: DeformableBlock, tmp_path: Path
) -> None:
    group, row, column = np.unravel_index(int(block.received_by_group.argmax()), block.positions.shape[:3])
    figure = draw_points(seen, photo, blocks=[block], group=int(group), size=900)
    pixels = _pixels(figure, tmp_path)
    found = _at(figure.axes[0], pixels, block.positions[group, row, column])
    np.testing.assert_allclose(found, to_rgb(colour(int(group))), atol=0.02)


def test_areas_are_shares_of_the_attention(seen: Explanation, photo: Image.Image, block: DeformableBlock) -> None:
    uneven = np.linspace(1, 9, block.weights.shape[-1])
    block = replace(block, weights=np.broadcast_to(uneven / uneven.sum(), block.weights.shape))
    figure = draw_points(seen, photo, blocks=[block], group=0, size=900)
    places, areas, _ = _discs(figure.axes[0])
    order = [int(np.linalg.norm(block.positions[0].reshape(-1, 2) - place, axis=-1).argmin()) for place in places]
    np.testing.assert_allclose(areas / areas.sum(), uneven[order] / uneven.sum(), rtol=1e-5)


def test_arrows_lead_from_reference_points_towards_the_samples(
    seen: Explanation, photo: Image.Image, block: DeformableBlock
) -> None:
    moves = np.zeros_like(block.positions)
    moves[...] = (60.0, -30.0)
    block = replace(block, positions=block.reference + moves)
    figure = draw_points(seen, photo, blocks=[block], size=900)
    (arrows,) = _named(figure.axes[0], "offsets")
    assert isinstance(arrows, Quiver)
    starts = np.unique(np.asarray(arrows.XY).round(4), axis=0)
    np.testing.assert_allclose(starts, np.unique(block.reference.reshape(-1, 2).round(4), axis=0), atol=1e-3)
    np.testing.assert_allclose(np.asarray(arrows.U) / np.asarray(arrows.V), -2, rtol=1e-5)
    assert (np.hypot(arrows.U, arrows.V) < np.hypot(60, 30)).all()  # they end at the rim


def test_one_group_is_shown_alone(seen: Explanation, photo: Image.Image, block: DeformableBlock) -> None:
    figure = draw_points(seen, photo, blocks=[block], group=2, size=900)
    places, _, colours = _discs(figure.axes[0])
    np.testing.assert_allclose(_sorted(places), _sorted(block.positions[2].reshape(-1, 2)))
    assert set(colours) == {colour(2)}


def test_points_outside_of_the_photograph_are_seen_and_hollow(
    seen: Explanation, photo: Image.Image, block: DeformableBlock
) -> None:
    positions = block.positions.copy()
    positions[0, 0, 0] = (300.0, -20.0)
    figure = draw_points(seen, photo, blocks=[replace(block, positions=positions)], size=900)
    axes = figure.axes[0]
    places = np.concatenate([np.asarray(rings.get_offsets()) for rings in _named(axes, "hollow")])
    np.testing.assert_allclose(np.unique(places, axis=0), [(300.0, -20.0)])
    bottom, top = axes.get_ylim()
    assert top < -20
    assert bottom >= photo.height
    assert not any(np.allclose(place, (300, -20)) for place in _discs(axes)[0])


def test_what_was_cut_off_is_dimmed(seen: Explanation, block: DeformableBlock, tmp_path: Path) -> None:
    black = Image.new("RGB", (640, 427))
    figure = draw_points(seen, black, blocks=[block], size=900)
    pixels = _pixels(figure, tmp_path)
    left, top, _, _ = seen.view.box
    outside = _at(figure.axes[0], pixels, np.array([left - 12, top + 3]))
    inside = _at(figure.axes[0], pixels, np.array([left + 6, top + 6]))
    assert outside.min() > inside.max() + 0.4


def test_a_sheet_has_a_panel_for_each_block(seen: Explanation, photo: Image.Image) -> None:
    figure = draw_points(seen, photo, blocks=seen.deformable, size=900)
    assert len(figure.axes) == 4
    for axes, block in zip(figure.axes, seen.deformable, strict=True):
        assert f"stage {block.stage}, block {block.block}" in [text.get_text() for text in axes.texts]
        assert len(_discs(axes)[0]) == block.positions[..., 0].size


def test_a_querys_star_stands_on_its_cell_and_its_keys_where_they_are(
    seen: Explanation, photo: Image.Image, block: DeformableBlock
) -> None:
    query = (250.0, 200.0)
    figure = draw_attention(seen, photo, blocks=[block], queries=[query], size=900)
    look = block.look(*query)
    (star,) = _named(figure.axes[0], "query")
    assert star.get_color() == STAR
    np.testing.assert_allclose(np.ravel(star.get_data()), look.query)
    places, areas, _ = _discs(figure.axes[0])
    for place, area in zip(places, areas, strict=True):
        weights = look.weights[np.isclose(look.keys, place).all(axis=-1)]
        assert np.isclose(area / areas.max(), weights / look.weights.max(), rtol=1e-4).any()


def test_the_cell_that_is_read_most_is_the_brightest(
    seen: Explanation, photo: Image.Image, block: DeformableBlock, tmp_path: Path
) -> None:
    positions = np.broadcast_to(block.cells.pixels((5.0, 2.0)), block.positions.shape)
    normalised = np.broadcast_to(np.array([5.0, 2.0]) / 7 * 2 - 1, block.normalised.shape)
    block = replace(block, positions=positions, normalised=normalised)
    figure = draw_attention(seen, photo, blocks=[block], queries=[(400, 100)], size=900)
    (cells,) = _named(figure.axes[0], "footprint")
    assert isinstance(cells, PolyCollection)
    (path,) = cells.get_paths()  # all attention falls on one cell
    left, top, right, bottom = path.get_extents().extents
    np.testing.assert_allclose(((left + right) / 2, (top + bottom) / 2), block.cells.pixels((5, 2)))
    np.testing.assert_allclose((right - left, bottom - top), block.cells.step)
    red, green, blue = _at(figure.axes[0], _pixels(figure, tmp_path), np.array([left + 3, top + 3]))
    assert min(red, green) > 0.8 > 0.5 > blue  # yellow


def test_heads_have_a_panel_each(seen: Explanation, photo: Image.Image, block: DeformableBlock) -> None:
    figure = draw_attention(seen, photo, blocks=[block], queries=[(250, 200)], head="all", size=900)
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [title for title in titles if "head" in title] == [
        f"{'stage 3, block 6' if 'stage' in titles[0] else '3.6'} · head {head}" for head in range(1, 13)
    ]
    one = draw_attention(seen, photo, blocks=[block], queries=[(250, 200)], head=3, size=900)
    np.testing.assert_allclose(_discs(one.axes[0])[0], _discs(figure.axes[3])[0])


def test_saliency_names_the_class_and_shows_nothing_outside_of_the_input(seen: Explanation, photo: Image.Image) -> None:
    gradient = np.zeros_like(seen.saliency.gradient)
    gradient[20, 10] = 1
    planted = replace(seen, saliency=replace(seen.saliency, gradient=gradient), target=1)
    figure = draw_saliency(planted, photo, size=900)
    assert any("lake" in text.get_text() and "%" in text.get_text() for text in figure.texts)
    (heat,) = _named(figure.axes[2], "saliency")
    assert isinstance(heat, AxesImage)
    opacity = np.asarray(heat.get_array())[..., 3]
    row, column = np.unravel_index(int(opacity.argmax()), opacity.shape)
    height, width = opacity.shape
    x, y = seen.saliency.cells.pixels((20, 10))
    assert abs((column + 0.5) * 640 / width - x) < seen.saliency.cells.step[0]
    assert abs((row + 0.5) * 427 / height - y) < seen.saliency.cells.step[1]
    left = int(seen.view.box[0] * width / 640)
    assert not opacity[:, : left - 1].any()


def test_a_comparison_shows_the_cells_that_each_network_sees(
    seen: Explanation, photo: Image.Image, block: DeformableBlock
) -> None:
    figure = draw_compare(seen, photo, block=block, query=(250, 200), size=900)
    _, vit, swin, pvt, dcn, dat, _ = figure.axes
    (dense,) = _named(vit, "field")
    assert len(dense.get_paths()) == 64
    assert to_hex(dense.get_facecolor()[0]) == FIELD
    row, column = block.cells.nearest(250, 200)
    windows = [window(row, column, 8, 8, shifted=shifted).count for shifted in (False, True)]
    assert [len(cells.get_paths()) for cells in _named(swin, "field")] == windows
    (merged,) = _named(pvt, "field")
    assert len(merged.get_paths()) == 16
    (points,) = _named(dcn, "field")
    around = [(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    np.testing.assert_allclose(points.get_offsets(), block.cells.pixels(around))
    keys = block.look(250, 200).keys
    assert all(np.isclose(keys, place).all(axis=-1).any() for place in _discs(dat)[0])


@pytest.mark.parametrize("size", [(640, 427), (8, 8), (2000, 100), (100, 2000)])
def test_no_text_lies_over_another_or_leaves_the_picture(
    network: DAT, photo: Image.Image, size: tuple[int, int]
) -> None:
    resized = photo.resize(size)
    long = ("a class with a name that is much too long for the title of a picture", "b", "c")
    seen = explain(network, resized, target=0, preprocessing=CENTRE, classes=long)
    for draw in ALL.values():
        _check_texts(draw(seen, resized))


def _check_texts(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), format="png")
    boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(figure) if text.get_text().strip()]
    assert len(boxes) > 5
    for text, box in boxes:
        assert min(box.x0, box.y0) >= -1, text
        assert box.x1 <= figure.bbox.width + 1, text
        assert box.y1 <= figure.bbox.height + 1, text
    for (one, first), (other, second) in combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across <= 1 or down <= 1.5, (one, other)


def _texts(figure: Figure) -> list[Text]:
    found = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            drawn = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [tick.label1 for tick in drawn if tick.label1.get_visible()]
    return found


@pytest.mark.parametrize("name", ["one block", "attention", "saliency", "compare"])
def test_a_picture_is_as_large_as_asked_for_and_the_same_each_time(
    seen: Explanation, photo: Image.Image, name: str, tmp_path: Path
) -> None:
    for file in ("one.png", "other.png", "one.svg"):
        save_picture(ALL[name](seen, photo), tmp_path / file, 700)
    assert max(Image.open(tmp_path / "one.png").size) == 700
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    root = ElementTree.parse(tmp_path / "one.svg").getroot()
    assert max(int(root.attrib["width"]), int(root.attrib["height"])) == 700


def test_a_large_photograph_is_made_small_before_it_is_drawn(seen: Explanation, photo: Image.Image) -> None:
    huge = photo.resize((3200, 2135))
    figure = draw_saliency(seen, huge, size=900)
    for axes in figure.axes[:3]:
        assert np.asarray(axes.images[0].get_array()).shape[1] <= 300
