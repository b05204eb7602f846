"""The tutorial's code runs from the first block to the last, and prints what the page says."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.models import create_model
from dat_cli.weights import WeightsConfig, write_weights

PAGE = (Path(__file__).parents[2] / "docs/seeing/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|text)\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_tutorial_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_demo()
    names: dict[str, object] = {}
    said = ""
    for language, block in BLOCKS:
        if language == "python":
            assert said == "", "the page does not show what is printed"
            with redirect_stdout(StringIO()) as printed:
                exec(compile(block, "tutorial", "exec"), names)
            said = printed.getvalue()
        else:
            assert said == block
            said = ""
    assert said == ""
    with Image.open("points.png") as picture:
        assert max(picture.size) == 800


def make_demo() -> None:
    """A network of the shape that `make demo` trains, which takes everything for a 6."""
    torch.manual_seed(0)
    network = create_model("dat_tiny", num_classes=10, img_size=48)
    head = network.get_classifier()
    assert isinstance(head, torch.nn.Linear)
    torch.nn.init.constant_(head.bias[6:7], 9.0)
    classes = tuple(str(digit) for digit in range(10))
    config = WeightsConfig("dat_tiny", classes, Preprocessing(crop_pct=1.0).at(48), {"img_size": 48})
    Path("runs/demo/version_0").mkdir(parents=True)
    write_weights("runs/demo/version_0/best.safetensors", network.state_dict(), config)
    Path("runs/digits").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save("runs/digits/6_001.png")
