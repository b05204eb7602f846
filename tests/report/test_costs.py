"""The picture of cost against sizes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dat_cli.report.costs import Cost, draw_costs, save_costs


def cost(network: str, size: int, batch: int, ms: float, task: str = "inference", way: str = "") -> Cost:
    return Cost(task, network, way, size, batch, ms, 100 * ms)


def test_only_what_was_measured_at_several_sizes_is_drawn() -> None:
    by_size = [cost("dat_tiny", size, 1, size / 100) for size in (224, 384)]
    figure = draw_costs([*by_size, cost("dat_tiny", 224, 8, 2.0)])
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        f"inference, {where}: {what}" for where in ("batch size 1", "224 pixels") for what in ("ms an image", "MiB")
    ]
    drawn = [np.asarray(line.get_xdata()).tolist() for axes in figure.axes for line in axes.get_lines()]
    assert drawn == [[224, 384], [224, 384], [1, 8], [1, 8]]
    assert len(draw_costs(by_size).axes) == 2  # type: ignore[union-attr]  # it is drawn
    assert draw_costs(by_size[:1]) is None
    assert draw_costs([]) is None


def test_each_network_has_a_colour_and_each_way_a_style() -> None:
    found = [
        cost(network, size, 1, 1.0 + size, way=way)
        for network in ("dat_tiny", "timm:<b>")
        for way in ("", "reference")
        for size in (64, 128)
    ]
    figure = draw_costs(found)
    assert figure is not None
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        "dat_tiny",
        "dat_tiny, reference",
        "timm:<b>",
        "timm:<b>, reference",
    ]
    assert len({line.get_color() for line in lines}) == 2
    assert len({line.get_linestyle() for line in lines}) == 2


@pytest.mark.parametrize("suffix", [".svg", ".PNG"])
def test_it_is_a_picture_of_the_kind_that_its_name_says(suffix: str, tmp_path: Path) -> None:
    figure = draw_costs([cost("dat_tiny", size, 1, size / 100) for size in (224, 1024)])
    assert figure is not None
    path = tmp_path / f"cost{suffix}"
    save_costs(figure, path)
    assert [place.name for place in tmp_path.iterdir()] == [path.name]
    if suffix == ".svg":
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert "image size in pixels" in text
        assert {"224", "1024", "dat_tiny"} <= set(text.split())
    else:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
