"""What an explanation says is where the network looked, in pixels of the original image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dat_cli.catalog import VARIANTS, Preprocessing
from dat_cli.data.transforms import eval_transform
from dat_cli.errors import ModelError, UsageError
from dat_cli.interpret.explain import explain
from dat_cli.interpret.explanation import LocalBlock
from dat_cli.interpret.numbers import numbers_of
from dat_cli.interpret.select import Choice, select
from dat_cli.models import DAT, create_model
from dat_cli.models.convert import from_authors
from dat_cli.models.observe import observe
from dat_cli.run.load import load_model
from dat_cli.weights import WeightsConfig, write_weights

GOLDEN = Path(__file__).parents[1] / "golden"
Plant = Callable[..., DAT]


@pytest.mark.parametrize("name", ["dat_tiny_224", "dat_pp_tiny_256x320"])
def test_positions_in_the_json_are_those_of_the_authors(fill: Any, name: str) -> None:
    numbers = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(numbers["meta"]))
    variant = VARIANTS["dat_tiny" if meta["version"] == "v1" else "dat_pp_tiny"]
    shapes = meta["parameters"]
    theirs = {key: torch.from_numpy(fill.parameter(key, tuple(shape))) for key, shape in shapes.items()}
    network = DAT(variant).double().eval()
    network.load_state_dict(from_authors(theirs, variant))

    explanation = explain(network, torch.from_numpy(fill.image(tuple(meta["input"])))[0])
    written = json.loads(json.dumps(numbers_of(explanation, select(explanation, Choice()), ["points"])))
    golden = [key for key in numbers.files if key.startswith("positions.")]
    assert len(written["points"]) == len(golden)
    for block in written["points"]:
        stage, index = (int(part) - 1 for part in block["block"].split("."))
        assert block["module"] == f"stages.{stage}.blocks.{index}"
        theirs_here = numbers[f"positions.{stage}.{index}"][0].reshape(len(block["groups"]), -1, 2)
        # The arithmetic of the papers, written down again: cells, then pixels of the input.
        cells = np.array([len(block["map"]["y"]), len(block["map"]["x"])])
        stride = 4 * 2**stage
        pixels = (theirs_here + 1) / 2 * (cells - 1) * stride + (0.5 if variant.convolutions else stride / 2)
        for group, normalised, place in zip(block["groups"], theirs_here, pixels, strict=True):
            np.testing.assert_allclose(group["normalised"], normalised, atol=2e-6)
            np.testing.assert_allclose(group["positions"], place[:, ::-1], atol=1e-3)
            assert sum(group["attention"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("crop_mode", ["squash", "center"])
@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_planted_offsets_are_found_in_the_original_image(
    planted: Plant, moved: Callable[[str, float, int], float], name: str, crop_mode: str
) -> None:
    """Every point moves by a known part of a cell, up to three quarters of the photograph cut away at its sides."""
    network = planted(name, (0.3, -0.2), img_size=96)
    preprocessing = Preprocessing((3, 96, 96), crop_pct=0.75, crop_mode=crop_mode)  # type: ignore[arg-type]  # a parameter
    explanation = explain(network, Image.new("RGB", (400, 200), "grey"), preprocessing=preprocessing)
    # 128 pixels of the resized image become 96: of 400 x 200 pixels, or of the middle 200 x 200 (256 x 128 resized).
    scale = np.array([400 / 128, 200 / 128] if crop_mode == "squash" else [200 / 128, 200 / 128])
    origin = np.array([400, 200]) / 2 - 48 * scale
    for block in explanation.deformable:
        height, width = block.cells.map_size
        rows, columns = block.reference.shape[:2]
        stride = 4 * 2 ** (block.stage - 1)
        pp = name == "dat_pp_tiny"
        # Reference points: cell centres of the grid, in cells of the map.
        down, across = (
            (np.arange(count) + 0.5) / max(1, count - 1 if pp else count) * (cells - 1)
            for count, cells in ((rows, height), (columns, width))
        )
        reference = np.stack(np.meshgrid(across, down), axis=-1)
        step = np.array([moved(name, -0.2, width), moved(name, 0.3, height)])
        if not pp:  # divided by the size of the grid, which is that of the map
            assert (rows, columns) == (height, width)
        if height == 1:
            reference = np.zeros_like(reference)
        place = reference + step
        if pp:
            place = place.clip(0, [width - 1, height - 1])
        first = 0.5 if pp else stride / 2
        np.testing.assert_allclose(block.reference, (reference * stride + first) * scale + origin, atol=1e-3)
        for group in range(block.groups):
            np.testing.assert_allclose(block.positions[group], (place * stride + first) * scale + origin, atol=1e-3)
            np.testing.assert_allclose(
                block.offsets[group], np.broadcast_to(step * stride * scale, place.shape), atol=1e-3
            )


def test_a_query_looks_where_it_was_told_to(planted: Plant) -> None:
    """The bias prefers keys two cells to the right, which are at 2 x 16 input pixels, 64 of the photograph."""
    network = planted("dat_tiny", (0.0, 0.0), prefer=(0.0, -2 * 2 / 14), img_size=224)
    preprocessing = Preprocessing((3, 224, 224), crop_pct=1.0)
    explanation = explain(network, Image.new("RGB", (448, 896)), preprocessing=preprocessing)
    block = next(each for each in explanation.deformable if each.stage == 3)
    look = block.look(150, 500)
    np.testing.assert_allclose(look.query, [4 * 32 + 16, 7 * 64 + 32])  # the nearest of 14 x 14 cells of 32 x 64 pixels
    heaviest = look.keys[look.weights.argmax()]
    assert np.abs(heaviest - look.query - [64, 0]).max() < 12  # reference points are closer together than cells
    assert look.weights.sum() == pytest.approx(1, abs=1e-5)
    row, column = divmod(int(look.footprint.argmax()), 14)
    assert (row, column) in [(7, 6), (7, 7)]
    one = block.look(150, 500, head=4)
    assert set(one.groups) == {1}  # four heads a group
    assert len(one.keys) == len(look.keys) // 3
    assert set(block.look(150, 500, group=2).groups) == {2}


def test_footprints_are_the_shares_of_the_four_cells_around_a_key(planted: Plant) -> None:
    network = planted("dat_tiny", (0.1, 0.2), img_size=64)
    explanation = explain(network, torch.zeros(3, 64, 64))
    block = explanation.deformable[0]  # 4 x 4 cells of 16 pixels
    look = block.look(24, 24)
    expected = np.zeros((4, 4))
    for (x, y), weight in zip(look.keys, look.weights, strict=True):
        column, row = (x - 8) / 16, (y - 8) / 16
        for i in range(4):
            for j in range(4):
                expected[i, j] += weight * max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))
    np.testing.assert_allclose(look.footprint, expected, atol=1e-6)


def test_windows_and_neighbourhoods_name_the_cells_around_the_query() -> None:
    explanation = explain(create_model("dat_pp_tiny", num_classes=2, img_size=64), torch.rand(3, 64, 64))
    block = explanation.blocks[0]
    assert isinstance(block, LocalBlock)
    assert block.kind == "N"
    look = block.look(0.5 + 4 * 8, 0.5 + 4 * 8)  # the middle of 16 x 16 cells
    assert len(look.keys) == 49
    np.testing.assert_allclose(look.keys.min(axis=0), look.query - 12)
    np.testing.assert_allclose(look.keys.max(axis=0), look.query + 12)


def test_padding_is_no_key_of_a_picture() -> None:
    explanation = explain(create_model("dat_tiny", num_classes=2, img_size=64), torch.rand(3, 40, 72))
    first, shifted = explanation.blocks[:2]  # 10 x 18 cells in windows of 7
    assert isinstance(shifted, LocalBlock)
    assert [first.kind, shifted.kind] == ["L", "S"]
    assert len(first.look(0, 0).keys) == 49
    corner = first.look(71, 39)
    assert len(corner.keys) == 3 * 4  # of the last window, the rest is padding
    assert corner.weights.sum() < 1
    assert shifted.keys.max() < 10 * 18


@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_evidence_is_found_where_it_lies(still: Plant, name: str) -> None:
    """The head is made to know the one bright square of a grey photograph."""
    network = still(name, img_size=224)
    photo = Image.new("RGB", (640, 320), (100, 100, 100))
    photo.paste((255, 40, 0), (400, 60, 480, 120))
    preprocessing = Preprocessing((3, 224, 224), crop_pct=1.0)
    with torch.no_grad():
        features = network.forward_features(eval_transform(preprocessing)(photo)[None])[0].flatten(1)  # (C, 49)
        grey = features[:, -1] / features[:, -1].norm()
        square = features[:, (features - features[:, -1:]).norm(dim=0).argmax()]
        head = network.get_classifier()
        assert isinstance(head, torch.nn.Linear)
        head.weight.zero_()
        head.weight[2] = square - (square @ grey) * grey  # blind for grey
    found = explain(network, photo, preprocessing=preprocessing)
    assert found.target == 2
    (x, y), *_ = found.salient(3)
    # Within a cell of the last map, 640 / 7 by 320 / 7 pixels: nothing finer reaches the logits of a still network.
    assert 400 - 91 < x < 480 + 91
    assert 60 - 46 < y < 120 + 46
    shown = found.on_image(found.saliency.gradient, found.saliency.cells, (64, 32))
    assert shown[6:12, 40:48].mean() > 20 * np.abs(shown[20:, :30]).mean()


def test_nothing_of_the_network_is_changed(planted: Plant) -> None:
    network = planted("dat_tiny", (0.1, 0.2), img_size=64, drop_path_rate=0.3).train()
    network.set_grad_checkpointing()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.rand(3, 64, 64)
    first, again = explain(network, image), explain(network, image)
    np.testing.assert_array_equal(first.logits, again.logits)  # nothing was dropped
    assert network.training
    assert all(stage.grad_checkpointing for stage in network.stages)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not image.requires_grad


def test_logits_are_those_of_the_network() -> None:
    network = create_model("dat_pp_tiny", num_classes=5, img_size=64).eval()
    image = torch.rand(1, 3, 64, 64)
    explanation = explain(network, image, temperature=2.0)
    with torch.no_grad():
        logits = network(image)[0]
    np.testing.assert_allclose(explanation.logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(explanation.probabilities, (logits / 2).softmax(0), rtol=1e-4)
    assert explanation.target == int(logits.argmax())


def test_every_class_has_something_that_speaks_for_it() -> None:
    network = create_model("dat_tiny", num_classes=5, img_size=32).eval()  # of which the last map is one cell
    image = torch.rand(3, 32, 32)
    for target in range(5):
        assert explain(network, image, target=target).saliency.gradient.sum() > 0
    assert explain(create_model("dat_tiny", num_classes=1, img_size=32), image).saliency.gradient.sum() > 0


def test_networks_are_explained_as_they_are_used() -> None:
    network = create_model("dat_tiny", num_classes=3, img_size=32).eval()
    image = torch.rand(3, 32, 32)
    plain = explain(network, image)
    compiled = explain(torch.compile(network), image)  # type: ignore[arg-type]  # it is a wrapper
    np.testing.assert_array_equal(plain.logits, compiled.logits)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), observe(network) as seen:
        np.testing.assert_array_equal(plain.logits, explain(network, image).logits)
    assert len(seen) == len(plain.blocks)
    half = explain(network.bfloat16(), image)
    np.testing.assert_allclose(half.logits, plain.logits, atol=0.05)
    np.testing.assert_allclose(half.deformable[0].positions, plain.deformable[0].positions, atol=0.5)


def test_weights_know_their_temperature(tmp_path: Path) -> None:
    network = create_model("dat_tiny", num_classes=2, img_size=32)
    config = WeightsConfig("dat_tiny", ("cat", "dog"), Preprocessing().at(32), {"img_size": 32}, temperature=3.0)
    write_weights(tmp_path / "w.safetensors", network.state_dict(), config)
    loaded, _ = load_model(tmp_path / "w.safetensors")
    seen = explain(loaded, torch.rand(3, 32, 32))
    np.testing.assert_allclose(seen.probabilities, torch.from_numpy(seen.logits / 3).softmax(0), rtol=1e-6)
    assert seen.classes == ("cat", "dog")


def test_classes_are_meant_by_name_or_index() -> None:
    network = create_model("dat_tiny", num_classes=2, img_size=32).eval()
    image = torch.rand(3, 32, 32)
    assert explain(network, image, target="dog", classes=["cat", "dog"]).target == 1
    assert explain(network, image, target="0", classes=["cat", "dog"]).target == 0
    with pytest.raises(UsageError, match="no class 'dgo'; did you mean 'dog'"):
        explain(network, image, target="dgo", classes=["cat", "dog"])
    with pytest.raises(UsageError, match="no class 2"):
        explain(network, image, target=2, classes=["cat", "dog"])


def test_what_cannot_be_explained_is_said() -> None:
    with pytest.raises(ModelError, match="without a classifier"):
        explain(create_model("dat_tiny", num_classes=0, img_size=32), torch.rand(3, 32, 32))
    with pytest.raises(ModelError, match="one image"):
        explain(create_model("dat_tiny", num_classes=2, img_size=32), torch.rand(2, 3, 32, 32))
    with pytest.raises(ModelError, match="not finite"):
        explain(create_model("dat_tiny", num_classes=2, img_size=32), torch.full((3, 32, 32), torch.nan))
    with pytest.raises(ModelError, match="1 names for 2 classes"):
        explain(create_model("dat_tiny", num_classes=2, img_size=32), torch.rand(3, 32, 32), classes=["a"])
    block = explain(create_model("dat_tiny", num_classes=2, img_size=32), torch.rand(3, 32, 32)).deformable[0]
    for wrong in ({"head": 99}, {"head": -1}, {"group": 3}, {"head": 0, "group": 2}):
        with pytest.raises(ModelError, match=r"no (head|group)|is of group 0"):
            block.look(1, 1, **wrong)
