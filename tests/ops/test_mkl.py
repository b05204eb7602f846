"""Products by MKL: those of oneDNN, for few rows of constant weights on Intel's processors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._inductor import config
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.models.deformable import DeformableAttention
from dat_cli.models.layers import Linear
from dat_cli.models.neighborhood import NeighborhoodAttention
from dat_cli.models.stage import Block
from dat_cli.models.window import WindowAttention
from dat_cli.ops import constant_weights, mkl, onednn, reference
from dat_cli.ops.kept import bytes_beside

pytestmark = pytest.mark.skipif(not (mkl._CAN_PACK and onednn._IS_HERE), reason="PyTorch without MKL or oneDNN")


@pytest.fixture(autouse=True)
def _of_intel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkl, "_IS_FASTER", True)  # on other processors it is slower, and as right


@pytest.mark.parametrize("shape", [(1, 14, 14, 96), (2, 7, 7, 96), (1, 96), (49, 96)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_products_are_those_of_the_plain_arithmetic(shape: tuple[int, ...], bias: bool, gelu: bool) -> None:
    layer, x = Linear(96, 40, bias=bias), torch.randn(shape)
    with torch.inference_mode(), constant_weights():
        plain = F.linear(x, layer.weight, layer.bias)
        first, again = (layer(x, gelu=gelu) for _ in range(2))
        assert bytes_beside([layer.weight]) == layer.weight.nbytes
    torch.testing.assert_close(first, F.gelu(plain) if gelu else plain)
    assert torch.equal(first, again)


def test_maps_whose_channels_are_not_last_in_memory_are_multiplied_as_well() -> None:
    layer, x = Linear(12, 8), torch.randn(1, 12, 5, 6).permute(0, 2, 3, 1)
    with torch.inference_mode(), constant_weights():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("rows", [0, mkl._ROWS + 1])
def test_no_rows_and_many_are_left_to_onednn(rows: int) -> None:
    layer, x = Linear(4, 3), torch.randn(rows, 4)
    with torch.inference_mode(), constant_weights():
        assert mkl.linear(x, layer.weight, layer.bias) is None
        assert layer(x).shape == (rows, 3)


def test_weights_that_may_change_are_left_to_onednn() -> None:
    layer, x = Linear(4, 3), torch.randn(5, 4)
    with torch.inference_mode():
        assert mkl.linear(x, layer.weight, layer.bias) is None
        with constant_weights():
            assert mkl.linear(x, layer.weight.clone(), layer.bias) is None


@pytest.mark.parametrize("channels", [48, 192])
def test_channels_that_do_not_fit_are_an_error(channels: int) -> None:
    layer = Linear(96, 40)
    with torch.inference_mode(), constant_weights():
        layer(torch.randn(4, 96))
        with pytest.raises(RuntimeError):
            layer(torch.randn(4, channels))


def test_packed_weights_count_as_what_they_hold() -> None:
    layer = Linear(64, 32)
    with torch.inference_mode(), constant_weights():
        for rows in (3, 5, mkl._ROWS + 1, 3):
            layer(torch.randn(rows, 64))
            assert bytes_beside(layer.parameters()) == layer.weight.nbytes


@pytest.mark.parametrize(
    ("of_intel", "frozen", "rows", "ours"),
    [
        (True, True, 4, False),
        (True, True, mkl._ROWS + 1, True),
        (True, False, 4, True),
        (False, True, 4, True),
    ],
)
def test_few_rows_of_frozen_weights_are_left_to_the_compiler(
    of_intel: bool, frozen: bool, rows: int, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        called.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    monkeypatch.setattr(mkl, "_IS_FASTER", of_intel)
    layer, x = Linear(12, 8), torch.randn(rows, 12)
    with torch.inference_mode(), config.patch(freezing=frozen):
        result = torch.compile(layer, backend=backend, fullgraph=True)(x)
    torch.testing.assert_close(result, F.linear(x, layer.weight, layer.bias))
    assert any("dat_cli" in name for name in called) == ours


def test_a_frozen_block_computes_the_same() -> None:
    attentions = (
        NeighborhoodAttention(16, 2, 5),
        WindowAttention(16, 2, 4, shifted=True),
        DeformableAttention(16, 2, 1, (9, 9), stride=2),
    )
    for attention in attentions:
        block = Block(16, attention, 0.0, convolutions=True).eval()
        x = torch.randn(2, 9, 9, 16)
        with torch.inference_mode(), config.patch(freezing=True):
            compiled = torch.compile(block, dynamic=False, fullgraph=True)(x)
            with reference():
                torch.testing.assert_close(compiled, block(x), rtol=1e-4, atol=1e-5)
