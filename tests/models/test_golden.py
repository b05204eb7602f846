"""The networks against numbers computed in float64 with the authors' own code (tests/golden/README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dat_cli.catalog import VARIANTS
from dat_cli.models import DAT, DeformableAttention
from dat_cli.models.convert import from_authors, resize_tables, to_authors
from dat_cli.ops import reference

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ["dat_tiny_224", "dat_pp_tiny_224", "dat_pp_tiny_256x320", "dat_tiny_224_to_384"]


def _load_fill() -> Any:
    spec = spec_from_file_location("fill", GOLDEN / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = _load_fill()


@dataclass
class Run:
    """What our network computed for a golden case."""

    numbers: Any
    logits: Tensor
    maps: list[Tensor]
    positions: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)


def load(name: str, dtype: torch.dtype) -> tuple[DAT, Any]:
    """Authors' state dict -> converter -> our network, and the numbers of the case."""
    numbers = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(numbers["meta"]))
    variant = VARIANTS["dat_tiny" if meta["version"] == "v1" else "dat_pp_tiny"]
    if "window_sizes" in meta["overrides"]:
        variant = replace(variant, window=meta["overrides"]["window_sizes"][0])
    shapes = meta.get("resized_from", meta)["parameters"]
    theirs = {name: torch.from_numpy(fill.parameter(name, tuple(shape))) for name, shape in shapes.items()}
    model = DAT(variant, img_size=meta["overrides"].get("img_size")).double().eval()
    model.load_state_dict(resize_tables(from_authors(theirs, variant), model))
    return model.to(dtype), numbers


def run(name: str, dtype: torch.dtype) -> Run:
    """Our network's forward and backward."""
    model, numbers = load(name, dtype)
    meta = json.loads(str(numbers["meta"]))
    positions: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            positions[name] = output

        return hook

    for path, module in model.named_modules():
        if isinstance(module, DeformableAttention):
            _, stage, _, block, _ = path.split(".")
            module.points.register_forward_hook(keep(f"positions.{stage}.{block}"))

    image = torch.from_numpy(fill.image(tuple(meta["input"]))).to(dtype).requires_grad_()
    final, maps = model.forward_intermediates(image)
    assert isinstance(final, Tensor)
    result = Run(numbers, model.forward_head(final), list(maps), positions)
    if "gradients" in meta:
        cotangent = torch.from_numpy(fill.cotangent(tuple(result.logits.shape))).to(dtype)
        (result.logits * cotangent).sum().backward()
        ours = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        result.gradients = to_authors(ours, model.variant)
        assert image.grad is not None
        result.gradients["image"] = image.grad
    return result


def error(ours: Tensor, golden: Any) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(ours.detach().double().numpy() - golden).max() / np.abs(golden).max())


@pytest.fixture(scope="module", params=CASES)
def double(request: pytest.FixtureRequest) -> Run:
    return run(request.param, torch.float64)


def test_logits_are_the_authors_in_double_precision(double: Run) -> None:
    assert error(double.logits, double.numbers["logits"]) < 1e-9


def test_stages_are_the_authors(double: Run) -> None:
    # The files keep maps and positions in float32.
    for index, ours in enumerate(double.maps):
        assert list(ours.shape) == double.numbers[f"stage{index}.shape"].tolist()
        assert error(ours[0, :8, :4, :4], double.numbers[f"stage{index}.corner"]) < 1e-6
        mean, std = double.numbers[f"stage{index}.mean_std"]
        assert ours.mean().item() == pytest.approx(mean, abs=1e-6 * std)
        assert ours.std(unbiased=False).item() == pytest.approx(std, rel=1e-6)


def test_sampled_positions_are_the_authors(double: Run) -> None:
    golden = {name for name in double.numbers.files if name.startswith("positions.")}
    assert golden == set(double.positions)
    for name in golden:
        assert double.positions[name][:1].shape == double.numbers[name].shape
        assert error(double.positions[name][:1], double.numbers[name]) < 1e-6


def test_gradients_are_the_authors_in_double_precision(double: Run) -> None:
    check_gradients(double, relative=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_single_precision_stays_close(name: str) -> None:
    single = run(name, torch.float32)
    assert error(single.logits, single.numbers["logits"]) < 1e-4
    # Bilinear interpolation has kinks: in one case rounding puts a pair of query and key on the other side of a cell's
    # border of the bias table, which moves gradients by up to one percent. Double precision holds that case to 1e-7.
    check_gradients(single, relative=2e-2 if name == "dat_pp_tiny_256x320" else 1e-3)


@pytest.mark.parametrize("by", ["pairs", "shifted keys", "stretched keys"])
@pytest.mark.parametrize("name", CASES)
def test_inference_is_the_authors_too(
    name: str, by: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by != "pairs":  # what only larger images do
        request.getfixturevalue("small_maps_keywise")
        monkeypatch.setattr("dat_cli.ops.keywise.bias._STEPS", 100 if by == "shifted keys" else 0)
        monkeypatch.setattr("dat_cli.ops.deformable._attend_pairwise", None)
    model, numbers = load(name, torch.float32)
    image = torch.from_numpy(fill.image(tuple(json.loads(str(numbers["meta"]))["input"]))).float()
    with torch.inference_mode():
        assert error(model(image), numbers["logits"]) < 1e-4


@pytest.mark.parametrize("name", ["dat_tiny_224", "dat_pp_tiny_256x320"])
def test_the_plain_arithmetic_is_the_authors_too(name: str) -> None:
    with reference():
        plain = run(name, torch.float64)
    assert error(plain.logits, plain.numbers["logits"]) < 1e-10
    check_gradients(plain, relative=1e-7)


def check_gradients(result: Run, relative: float) -> None:
    if "gradients" not in result.numbers.files:
        pytest.skip("the file holds no gradients")
    names = json.loads(str(result.numbers["meta"]))["gradients"]
    golden = result.numbers["gradients"]
    assert set(names) == set(result.gradients)
    # Some gradients are zero but for rounding (a key's bias moves no softmax): measure those by the largest.
    floor = relative * golden[:, 0].max() * 1e-3
    for name, (norm, projection) in zip(names, golden, strict=True):
        ours = result.gradients[name].double()
        direction = torch.from_numpy(fill.direction(name, tuple(ours.shape)))
        assert ours.norm().item() == pytest.approx(norm, rel=relative, abs=floor), name
        assert (ours * direction).sum().item() == pytest.approx(projection, abs=relative * norm + floor), name


def test_converting_there_and_back_changes_no_bit() -> None:
    meta = json.loads(str(np.load(GOLDEN / "dat_pp_tiny_224.npz")["meta"]))
    theirs = {n: torch.from_numpy(fill.parameter(n, tuple(s))) for n, s in meta["parameters"].items()}
    variant = VARIANTS["dat_pp_tiny"]
    back = to_authors(from_authors(theirs, variant), variant)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)
