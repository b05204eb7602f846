"""What every network takes and gives, whatever its weights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dat_cli.catalog import VARIANTS, Variant
from dat_cli.errors import ModelError
from dat_cli.models import DAT, DeformableAttention, NeighborhoodAttention, WindowAttention, create_model
from dat_cli.models.deformable import SamplingPoints
from dat_cli.models.layers import DropPath
from dat_cli.models.stage import Block
from dat_cli.ops import deformable, reference

PUBLISHED = pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
TINY = pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
# Each kind of block once: what is traced once more is traced alike.
SHALLOW = pytest.mark.parametrize(
    "variant",
    [
        replace(VARIANTS["dat_tiny"], blocks=("L", "S", "LD", "D")),
        replace(VARIANTS["dat_pp_tiny"], blocks=("N", "D", "ND", "D")),
    ],
    ids=lambda variant: variant.name,
)


@PUBLISHED
def test_parameters_and_macs_are_the_published_ones(variant: Variant) -> None:
    with torch.device("meta"):
        model = create_model(variant.name).eval()
        image = torch.empty(1, *variant.preprocessing.input_size)
    # The published figures count the K^2 keys of a neighbourhood, as the plain form does; tiles multiply more.
    with FlopCounterMode(display=False) as counter, reference(), torch.no_grad():
        model(image)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(variant.published.parameters, abs=0.005)
    assert counter.get_total_flops() / 2e9 == pytest.approx(variant.published.macs, abs=0.006)


@TINY
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 100), (97, 65), (1, 3)])
def test_any_size_from_32_gives_finite_outputs_and_gradients(name: str, size: tuple[int, int]) -> None:
    model = create_model(name, num_classes=5)
    image = torch.randn(2, 3, *size, requires_grad=True)
    if min(size) < 32:
        with pytest.raises(ModelError, match=r"1 x 3 pixels.* from 32 x 32"):
            model(image)
        return
    logits = model(image)
    logits.sum().backward()
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@PUBLISHED
def test_every_variant_takes_the_smallest_image(variant: Variant) -> None:
    # Its last map is a single position, whose DAT++ coordinates the authors' code divides by zero.
    model = create_model(variant.name, num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 32)).isfinite().all()


@TINY
@pytest.mark.parametrize(
    ("inference", "most", "attend"), [(True, "SCORES", "_attend_in_place"), (False, "_PAIRS", "_attend")]
)
def test_large_images_are_attended_in_parts_with_the_same_result(
    name: str, inference: bool, most: str, attend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model(name, num_classes=3).eval()
    images = torch.randn(2, 3, 160, 96)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # whose number decides how small parts may be
    whole_way = getattr(deformable, attend)
    attended: list[int] = []

    def count(pairs: deformable._Pairs) -> Tensor:
        attended.append(pairs.number)
        return cast("Tensor", whole_way(pairs))

    monkeypatch.setattr(deformable, attend, count)
    with torch.inference_mode(inference):
        whole = model(images)
        pairs = sum(attended)
        assert len(attended) == sum(blocks.count("D") for blocks in VARIANTS[name].blocks)
        attended.clear()
        monkeypatch.setattr(deformable, most, 1000)
        parts = model(images)
    assert sum(attended) == pairs
    assert len(attended) > 40
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


@TINY
def test_an_empty_batch_gives_an_empty_answer(name: str) -> None:
    assert create_model(name, num_classes=4)(torch.zeros(0, 3, 64, 96)).shape == (0, 4)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3), (3,), (1, 3, 31, 64)])
def test_a_wrong_input_is_one_clear_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"dat_tiny takes"):
        create_model("dat_tiny", num_classes=2)(torch.zeros(shape))


@TINY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_and_close(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=10).eval()
    image = torch.randn(1, 3, 64, 96)
    positions: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        positions.append(output)

    for module in model.modules():
        if isinstance(module, DeformableAttention):
            module.points.register_forward_hook(keep)
    with torch.no_grad():
        exact = model.forward_features(image)
        with torch.autocast("cpu", dtype=dtype):
            mixed = model.forward_features(image)
        pure = model.to(dtype).forward_features(image.to(dtype))
    assert pure.dtype == dtype
    assert {each.dtype for each in positions} == {torch.float32}
    for half in (mixed, pure):
        assert half.isfinite().all()
        assert (half.float() - exact).norm() / exact.norm() < 0.03


@SHALLOW
def test_it_compiles_whole_with_a_dynamic_batch(variant: Variant) -> None:
    torch.manual_seed(0)
    model = DAT(variant, num_classes=4).eval()
    # aot_eager traces and differentiates as the default backend does, without its minutes of C++ compilation.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    image = torch.randn(8, 3, 64, 64)  # from 6 on torch takes one way through convolutions
    torch._dynamo.mark_dynamic(image, 0)
    torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-5)
    with torch.compiler.set_stance("fail_on_recompile"):
        image = torch.randn(11, 3, 64, 64)
        torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-5)


@SHALLOW
def test_layers_can_be_replaced_by_plain_ones(variant: Variant) -> None:
    # As what adapts or quantises networks does.
    model = DAT(variant, num_classes=4).eval()
    image = torch.randn(2, 3, 80, 96)  # windows and neighbourhoods are padded
    seen: list[Tensor] = []
    with torch.no_grad():
        before = model(image)
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear):
                plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
                plain.load_state_dict(module.state_dict())
                plain.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
                model.set_submodule(name, plain)
        torch.testing.assert_close(model(image), before, rtol=1e-4, atol=1e-5)
    assert len(seen) == sum(isinstance(module, nn.Linear) for module in model.modules()) - _offset_layers(model)


def _offset_layers(model: nn.Module) -> int:
    """Those that are multiplied by hand, in float32 whatever the precision."""
    return sum(isinstance(module, SamplingPoints) for module in model.modules())


@SHALLOW
def test_it_can_be_traced(variant: Variant) -> None:
    model = DAT(variant, num_classes=4).eval()
    image = torch.randn(1, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace may not hold
        traced = torch.jit.trace(model, image)
    torch.testing.assert_close(traced(image), model(image), rtol=1e-4, atol=1e-5)


@SHALLOW
def test_it_exports_with_a_dynamic_batch(variant: Variant) -> None:
    torch.manual_seed(0)
    model = DAT(variant, num_classes=4).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 3, 64, 64),), dynamic_shapes=({0: batch},))
    image = torch.randn(5, 3, 64, 64)
    torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-5)


@PUBLISHED
def test_a_state_dict_holds_parameters_alone_and_shares_nothing(variant: Variant) -> None:
    model = create_model(variant.name)
    state = model.state_dict()
    assert set(state) == {name for name, _ in model.named_parameters()}
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


def test_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(ModelError, match="dat_tiny"):
        create_model("dat_tinny")


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": -1},
        {"in_chans": 0},
        {"img_size": 16},
        {"img_size": 0},
        {"img_size": (224,)},
        {"img_size": "224"},
        {"drop_path_rate": 1.0},
        {"drop_rate": -0.1},
        {"global_pool": "median"},
        {"pretrained": True},
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        create_model("dat_tiny", **options)


def test_classifier_and_pooling_can_be_exchanged() -> None:
    model = create_model("dat_tiny", num_classes=0, in_chans=1).eval()
    image = torch.randn(2, 1, 64, 96)
    assert model(image).shape == (2, 768)
    model.reset_classifier(7)
    assert model(image).shape == (2, 7)
    assert model.get_classifier() is model.head
    model.reset_classifier(0, "")
    assert model(image).shape == (2, 768, 2, 3)
    with pytest.raises(ModelError, match="num_classes is -1"):
        model.reset_classifier(-1)
    model.reset_classifier(5, "")
    assert model(image).shape == (2, 5, 2, 3)


def test_stages_maps_are_told_apart() -> None:
    pyramid = create_model("dat_pp_tiny", features_only=True, out_indices=(1, 3)).eval()
    maps = pyramid(torch.randn(1, 3, 96, 64))
    assert [tuple(each.shape) for each in maps] == [(1, 128, 12, 8), (1, 512, 3, 2)]
    assert pyramid.feature_info.channels() == [128, 512]
    assert pyramid.feature_info.reduction() == [8, 32]


def test_intermediates_agree_with_the_whole() -> None:
    model = create_model("dat_tiny").eval()
    image = torch.randn(1, 3, 64, 64)
    final, maps = model.forward_intermediates(image)
    torch.testing.assert_close(final, model.forward_features(image))
    last = model.forward_intermediates(image, 1, norm=True, output_fmt="NHWC", intermediates_only=True)
    torch.testing.assert_close(last[0], final.permute(0, 2, 3, 1))
    second = model.forward_intermediates(image, [-3], stop_early=True, intermediates_only=True)
    torch.testing.assert_close(second[0], maps[1])
    for wrong in ([4], 5, 0, []):
        with pytest.raises(ModelError, match="no stage"):
            model.forward_intermediates(image, wrong)
    model.prune_intermediate_layers([1])
    assert torch.equal(model(image), maps[1])


def test_gradient_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(0)
    model = create_model("dat_pp_tiny", num_classes=4)
    image = torch.randn(2, 3, 64, 64)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(image).square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    runs: list[nn.Module] = []
    model.get_submodule("stages.0.blocks.0").register_forward_pre_hook(lambda module, _: runs.append(module))
    kept = gradients()
    model.set_grad_checkpointing()
    again = gradients()
    assert len(runs) == 1 + 2
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_a_pyramid_of_features_can_save_memory_too() -> None:
    pyramid = create_model("dat_tiny", features_only=True).train()
    runs: list[nn.Module] = []
    pyramid.get_submodule("model.stages.0.blocks.0").register_forward_pre_hook(lambda module, _: runs.append(module))
    pyramid.set_grad_checkpointing()
    sum(each.square().sum() for each in pyramid(torch.randn(1, 3, 64, 64))).backward()
    assert len(runs) == 2


def test_drop_path_grows_linearly_and_leaves_evaluation_alone() -> None:
    model = create_model("dat_tiny", drop_path_rate=0.2)
    blocks = [block for block in model.modules() if isinstance(block, Block)]
    rates = [getattr(block.drop_path, "rate", 0.0) for block in blocks]
    assert rates == pytest.approx([0.2 * i / 11 for i in range(12)])
    image = torch.randn(4, 3, 64, 64)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


def test_an_image_keeps_its_branch_whole_and_enlarged_or_loses_it() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.2).train()(torch.ones(4000, 3, 2))
    assert dropped.unique().tolist() == [0, 1.25]
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_both_branches_of_a_block_are_dropped() -> None:
    block = Block(64, WindowAttention(64, 2), drop_path=1.0, convolutions=False).train()
    x = torch.randn(2, 7, 7, 64)
    assert torch.equal(block(x), x)


def test_dropout_stands_before_the_classifier_in_training_alone() -> None:
    model = create_model("dat_tiny", num_classes=3, drop_rate=0.5)
    pooled = torch.ones(2, 768, 1, 1)
    assert not torch.equal(model.forward_head(pooled), model.forward_head(pooled))
    model.eval()
    assert torch.equal(model.forward_head(pooled), model.forward_head(pooled))


def test_only_the_published_tables_are_left_undecayed() -> None:
    names = create_model("dat_pp_tiny").no_weight_decay()
    assert names
    assert all(name.endswith("rpe_table") for name in names)
    assert any(name.endswith("relative_position_bias_table") for name in create_model("dat_tiny").no_weight_decay())


@pytest.mark.parametrize(
    "layer",
    [
        DeformableAttention(64, heads=4, groups=2, bias_size=(7, 9), stride=2),
        NeighborhoodAttention(64, heads=4, kernel=5),
        WindowAttention(64, heads=4, window=4, shifted=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_each_attention_stands_alone(layer: nn.Module) -> None:
    x = torch.randn(2, 9, 13, 64)
    assert layer(x).shape == x.shape


def test_an_unbuilt_network_can_be_made_on_the_meta_device() -> None:
    model = DAT(VARIANTS["dat_pp_tiny"], device="meta", dtype=torch.bfloat16)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
