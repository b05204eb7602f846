"""What observers are told is what the network computes."""

from __future__ import annotations

import pytest
import torch

from dat_cli.models import DeformableAttention, NeighborhoodAttention, WindowAttention, create_model
from dat_cli.models.observe import Deformed, Local, Observable, observe
from dat_cli.ops.bilinear import bilinear_sample

SIZES = [(14, 14), (9, 16), (5, 20), (4, 3)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def attention(kind: str) -> Observable:
    made: dict[str, Observable] = {
        "window": WindowAttention(32, 4, 7),
        "shifted": WindowAttention(32, 4, 7, shifted=True),
        "neighborhood": NeighborhoodAttention(32, 4, 7),
        "dat": DeformableAttention(32, 4, 2, (14, 14), offset_range=2, generation="dat"),
        "dat_pp": DeformableAttention(32, 4, 2, (14, 14), stride=2, generation="dat_pp"),
    }
    layer = made[kind].double()
    for parameter in layer.parameters():  # tables and offsets that matter
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["window", "shifted", "neighborhood", "dat", "dat_pp"])
def test_an_observed_attention_computes_the_same(kind: str, size: tuple[int, int]) -> None:
    layer, x = attention(kind), torch.randn(2, *size, 32, dtype=torch.float64)
    with observe(layer) as seen:
        observed = layer(x)
    torch.testing.assert_close(observed, layer(x))
    assert layer.observer is None
    (observation,) = seen.values()
    weights = observation.weights
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
    if isinstance(observation, Local):
        assert weights.shape == (2, 4, *size, 49)
        assert observation.cells.shape == (*size, 49)


@pytest.mark.parametrize("kind", ["window", "shifted", "neighborhood"])
def test_weights_belong_to_the_cells_that_are_named(kind: str) -> None:
    """Values gathered at the named cells and weighted give the attention's output."""
    layer, x = attention(kind), torch.randn(1, 9, 16, 32, dtype=torch.float64)
    assert isinstance(layer, (WindowAttention, NeighborhoodAttention))
    with observe(layer) as seen:
        output = layer(x)
    (observation,) = seen.values()
    assert isinstance(observation, Local)
    height, width = observation.padded_size
    padded = torch.nn.functional.pad(x, (0, 0, 0, width - 16, 0, height - 9))
    value = layer.qkv(padded)[..., 64:].unflatten(-1, (4, 8)).flatten(1, 2)  # (1, H' W', h, d)
    gathered = torch.einsum("bhyxk,byxkhd->byxhd", observation.weights, value[:, observation.cells])
    torch.testing.assert_close(layer.proj(gathered.flatten(3)), output)


@pytest.mark.parametrize("kind", ["dat", "dat_pp"])
def test_keys_are_sampled_where_positions_say(kind: str) -> None:
    layer, x = attention(kind), torch.randn(1, 9, 16, 32, dtype=torch.float64)
    assert isinstance(layer, DeformableAttention)
    with observe(layer) as seen:
        output = layer(x)
    (observation,) = seen.values()
    assert isinstance(observation, Deformed)
    groups = x.permute(0, 3, 1, 2).unflatten(1, (2, 16))[0]  # (G, C / G, H, W)
    sampled = bilinear_sample(groups, *observation.positions[0].unbind(-1)).flatten(2).flatten(0, 1).T  # (N, C)
    value = layer.value(sampled).unflatten(-1, (4, 8))  # (N, h, d)
    attended = torch.einsum("bhmn,nhd->bmhd", observation.weights, value).flatten(2)
    torch.testing.assert_close(layer.proj(attended).view_as(output), output)
    moved = observation.reference + observation.offsets
    torch.testing.assert_close(moved if kind == "dat" else moved.clamp(-1, 1), observation.positions)


@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_every_attention_of_a_network_is_seen_and_gradients_reach_it(name: str) -> None:
    network = create_model(name, num_classes=3, img_size=64).eval()
    image = torch.randn(1, 3, 72, 64, requires_grad=True)
    with observe(network) as seen:
        logits = network(image)
    depth = sum(network.variant.depths)
    assert len(seen) == depth
    assert all(name.endswith(".attention") for name in seen)
    gradients = torch.autograd.grad(logits[0, 0], [each.weights for each in seen.values()])
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    torch.testing.assert_close(network(image), logits, rtol=1e-4, atol=1e-5)


def test_observers_are_gone_after_a_failure() -> None:
    layer = attention("dat")
    with pytest.raises(ZeroDivisionError), observe(layer):
        raise ZeroDivisionError
    assert layer.observer is None


def test_several_may_watch_at_once() -> None:
    layer, x = attention("window"), torch.randn(1, 7, 7, 32, dtype=torch.float64)
    with observe(layer) as outer:
        with observe(layer) as inner:
            layer(x)
        assert outer[""] is inner[""]
        layer(x)
        assert outer[""] is not inner[""]
    assert layer.observer is None
