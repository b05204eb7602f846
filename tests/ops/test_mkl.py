"""Products by MKL: those of oneDNN, for few rows of constant weights on Intel's processors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.models.layers import Linear
from dat_cli.ops import constant_weights, mkl, onednn
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


def test_packed_weights_count_as_what_they_hold() -> None:
    layer = Linear(64, 32)
    with torch.inference_mode(), constant_weights():
        for rows in (3, 5):
            layer(torch.randn(rows, 64))
        assert bytes_beside(layer.parameters()) == 2 * layer.weight.nbytes
