from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.models import create_model
from dat_cli.weights import WeightsConfig, write_weights

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/seeing/tutorial.md"  # one program of many blocks: test_tutorial.py
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != TUTORIAL)]
BLOCKS = [
    pytest.param(found[1], id=f"{page.name}-{number}")
    for page in PAGES
    for number, found in enumerate(
        re.finditer(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_python_in_the_pages_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "runs/photos" in block:
        make_run(Path("runs/photos/version_0"))
        Image.new("RGB", (60, 40), "green").save("holiday.jpg")
    exec(compile(block, "page", "exec"), {})


def make_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    network = create_model("dat_tiny", num_classes=2, img_size=64)
    config = WeightsConfig("dat_tiny", ("cat", "dog"), Preprocessing().at(64), {"img_size": 64})
    write_weights(folder / "best.safetensors", network.state_dict(), config)
