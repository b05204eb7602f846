"""What networks do on a GPU, without one: on tensors that have its device and no memory, and by its ways on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._subclasses.fake_tensor import FakeTensorMode

from dat_cli.catalog import get_variant
from dat_cli.models import create_model
from dat_cli.models.layers import DepthwiseConv, Mlp
from dat_cli.models.stage import Stage
from dat_cli.ops import reference
from dat_cli.ops.attention import attention_reference
from dat_cli.ops.neighborhood import neighborhood_attention
from dat_cli.ops.tiles import Tiles

told_apart = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"), reason="this torch does not tell compiling from exporting"
)


def moved(network: nn.Module, device: str) -> nn.Module:
    """The network with parameters that have no memory; inside a FakeTensorMode."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(torch.empty(parameter.shape, device=device))
    return network


@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
@pytest.mark.parametrize("learning", [False, True])
def test_nothing_is_computed_on_another_device_nor_copied_from_it(name: str, learning: bool) -> None:
    network = create_model(name, num_classes=7, drop_path_rate=0.1).train(learning)
    with FakeTensorMode(), torch.set_grad_enabled(learning):
        logits = moved(network, "cuda")(torch.empty(2, 3, 224, 320, device="cuda"))
    assert logits.shape == (2, 7)
    assert logits.device.type == "cuda"


def test_of_the_hidden_map_of_dat_pp_one_is_kept_instead_of_three() -> None:
    def kept(device: str) -> float:
        mlp = Mlp(8, expansion=4, depthwise=True)
        storages: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with FakeTensorMode():
            parameters = {each.untyped_storage()._cdata for each in moved(mlp, device).parameters()}
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                mlp(torch.empty(2, 7, 7, 8, device=device, requires_grad=True))
        found = (tensor.numel() for at, tensor in storages.items() if at not in parameters)
        return sum(found) / (2 * 7 * 7 * 8)

    assert kept("cpu") == 1 + 3 * 4
    assert kept("cuda") == 1 + 1 * 4


def result_and_gradients(network: nn.Module, call: Callable[..., Tensor], x: Tensor) -> list[Tensor]:
    network.zero_grad()
    result = call(x)
    (result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return [result.detach(), *(gradient.clone() for gradient in gradients)]


def double(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    network = network.double()
    with torch.no_grad():  # new networks have a bias of nearly nothing
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_its_ways_are_the_plain_arithmetic(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = double(create_model(name, num_classes=5, img_size=64))
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with reference():
        expected = result_and_gradients(network, network, images)
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    torch.testing.assert_close(result_and_gradients(network, network, images), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "index"), [("dat_tiny", 1), ("dat_pp_tiny", 0), ("dat_pp_tiny", 1)])
def test_its_ways_when_compiled_are_the_plain_arithmetic(
    name: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = create_model(name, img_size=64).stages[2]
    assert isinstance(stage, Stage)
    block = double(stage.blocks[index])  # deformable attention in the second ones
    x = torch.randn(2, 9, 8, get_variant(name).dims[2], dtype=torch.float64)
    with reference():
        expected = result_and_gradients(block, block, x)
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(result_and_gradients(block, compiled, x), expected, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), expected[0])


def test_a_trace_of_it_can_be_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    network = create_model("dat_pp_tiny", num_classes=5, img_size=32).eval()
    image = torch.randn(1, 3, 32, 32)
    traced = torch.jit.trace(network, image, check_trace=False)
    assert "aten::grid_sampler(" in str(traced.inlined_graph)  # by the name that other tools know
    torch.jit.save(traced, tmp_path / "network.pt")
    torch.testing.assert_close(torch.jit.load(tmp_path / "network.pt")(image), network(image), rtol=1e-4, atol=1e-4)


@told_apart
def test_its_ways_when_compiled_are_not_taken_for_the_plain_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    seen: set[str] = set()

    def record(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        seen.update(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    block = double(create_model("dat_pp_tiny", img_size=64).stages[2].get_submodule("blocks.1"))
    x = torch.randn(1, 4, 4, get_variant("dat_pp_tiny").dims[2], dtype=torch.float64)
    with torch.no_grad():
        torch.compile(block, backend=record)(x)
        assert any("lerp" in each for each in seen)
        seen.clear()
        with reference():
            torch.compile(block, backend=record)(x)
    assert not any("lerp" in each for each in seen)


@told_apart
def test_a_function_s_gradient_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    block = double(create_model("dat_pp_tiny", img_size=64).stages[2].get_submodule("blocks.1"))
    x = torch.randn(1, 4, 4, get_variant("dat_pp_tiny").dims[2], dtype=torch.float64)

    def gradient(x: Tensor) -> Tensor:
        derived: Tensor = torch.func.grad(lambda x: block(x).square().sum())(x)
        return derived

    expected = gradient(x)
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    torch.testing.assert_close(torch.compile(gradient, backend="aot_eager")(x), expected)


def kept_by_compiler(call: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """What the compiled forward keeps for the backward, besides its inputs."""
    kept: list[Tensor] = []

    def record(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        (outputs,) = next(node.args for node in graph.graph.nodes if node.op == "output")
        results = {node for node in cast("tuple[object, ...]", outputs) if isinstance(node, torch.fx.Node)}
        kept.extend(node.meta["val"] for node in results if node.op != "placeholder")
        return graph.forward

    backend = aot_autograd(
        fw_compiler=record, bw_compiler=lambda graph, _: graph.forward, partition_fn=min_cut_rematerialization_partition
    )
    torch.compile(call, backend=backend)(*inputs)
    return [each for each in kept if isinstance(each, Tensor)]


@pytest.fixture
def attention_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that the compiler does not take apart, as that of a GPU, whose backward takes what it was given."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        return attention_reference(query, key, value, bias)

    def attend_backward(gradient: Tensor, inputs: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            given = [each.detach().requires_grad_() for each in inputs]
            return list(torch.autograd.grad(attend(*given), given, gradient))

    whole = torch.library.custom_op("tests::attend", attend, mutates_args=())
    schema = "(Tensor gradient, Tensor[] inputs) -> Tensor[]"
    derived = torch.library.custom_op("tests::attend_backward", attend_backward, mutates_args=(), schema=schema)
    whole.register_fake(lambda query, *_: torch.empty_like(query))
    derived.register_fake(lambda _, inputs: [torch.empty_like(each) for each in inputs])
    whole.register_autograd(
        lambda ctx, gradient: tuple(derived(gradient, list(ctx.saved_tensors))),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),  # noqa: ARG005 - their names
    )
    monkeypatch.setattr("dat_cli.ops.patches.attention", whole)


@told_apart
@pytest.mark.usefixtures("attention_in_one")
def test_compiled_for_it_copies_of_tiles_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(2, 23, 23, 2, 8, requires_grad=True) for _ in range(3))
    table = torch.randn(2, 13, 13, requires_grad=True)

    def attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor) -> Tensor:
        return neighborhood_attention(query, key, value, table, 7)

    along = Tiles.along(23, 7)
    copied = [2 * (along.number * cells) ** 2 * 2 * 8 for cells in (along.keys, along.queries)]
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    sizes = [each.numel() for each in kept_by_compiler(attend, query, key, value, table)]
    assert along.number > 1
    assert sizes
    assert not set(copied) & set(sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_for_it_convolutions_take_what_others_take_under_autocast(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = DepthwiseConv(8, 3).to(dtype), torch.randn(2, 14, 14, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        expected = layer(x)
        monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
        found = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    assert expected.dtype == (torch.bfloat16 if dtype == torch.float32 else dtype)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.01)


@told_apart
def test_compiled_for_it_maps_to_sample_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    block = create_model("dat_pp_tiny", img_size=64).stages[2].get_submodule("blocks.1.attention")
    x = torch.randn(2, 4, 4, get_variant("dat_pp_tiny").dims[2], requires_grad=True)
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    shapes = [tuple(each.shape) for each in kept_by_compiler(block, x)]
    assert shapes
    assert (2 * 4, 64, 4, 4) not in shapes
