"""The diagram of certainty against accuracy."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from dat_cli.report.canvas import alone
from dat_cli.report.reliability import BINS, Reliability, draw_reliability


@pytest.fixture
def found() -> Reliability:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.5])
    right = np.array([True, True, True, False, True])
    return Reliability.of(confidence, right, -np.log(confidence))


def test_bins_hold_what_belongs_to_them(found: Reliability) -> None:
    assert found.images.tolist() == [0] * 7 + [1] + [0] * 6 + [4]
    assert found.accuracy[[7, 14]].tolist() == [1.0, 0.75]
    assert found.confidence[[7, 14]] == pytest.approx([0.5, 0.95])
    assert found.ece == pytest.approx((4 * 0.2 + 0.5) / 5)


def test_an_upper_edge_belongs_to_its_bin() -> None:
    edges = np.array([3 / BINS, 1.0])
    assert Reliability.of(edges, edges > 0, edges).images.nonzero()[0].tolist() == [2, 14]


@pytest.mark.parametrize("panels", [1, 2])
def test_the_diagram_says_the_error_of_each_panel(found: Reliability, panels: int) -> None:
    svg = alone(draw_reliability(found, found if panels == 2 else None))
    texts = [part.text for part in ElementTree.fromstring(svg).iter() if part.text]
    titles = [text for text in texts if "calibration error" in text]
    assert titles == ["Before: calibration error 26.00%", "After: calibration error 26.00%"][:panels]
    assert "too certain" in texts
