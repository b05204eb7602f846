"""The authors' names of tensors and ours, and bias tables for another image size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.catalog import Variant
from dat_cli.errors import WeightsError
from dat_cli.models.dat import DAT

COMPUTED = ("relative_position_index", "attn_mask", "q_grid", "reference")
"""How the names of buffers in the authors' checkpoints end that hold computed values."""


def from_authors(tensors: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """Rename the authors' tensors to ours; their 1 x 1 convolutions become linear layers.

    Args:
        tensors: The entry ``model`` of an authors' checkpoint.
        variant: Which network it is of.

    Raises:
        WeightsError: A tensor does not belong to this variant.
    """
    ours = {theirs: name for name, theirs, _ in _layers(variant)}
    renamed, strangers = {}, []
    for name, tensor in tensors.items():
        layer, leaf = _split(name)
        if layer in ours:
            pointwise = tensor.ndim == 4 and tensor.shape[2:] == (1, 1)
            renamed[ours[layer] + leaf] = tensor.flatten(1) if pointwise else tensor
        elif not name.endswith(COMPUTED):
            strangers.append(name)
    if strangers:
        shown = ", ".join(strangers[:3]) + (f" and {len(strangers) - 3} more" if len(strangers) > 3 else "")
        raise WeightsError(f"{variant.name} has no {shown}", hint="check that the weights are of this variant")
    return renamed


def to_authors(tensors: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """The way back: our tensors by the authors' names and shapes.

    Raises:
        WeightsError: A tensor does not belong to this variant.
    """
    theirs = {name: (their_name, pointwise) for name, their_name, pointwise in _layers(variant)}
    renamed = {}
    for name, tensor in tensors.items():
        layer, leaf = _split(name)
        if layer not in theirs:
            raise WeightsError(f"{variant.name} has no {name}", hint="check that the weights are of this variant")
        their_layer, pointwise = theirs[layer]
        renamed[their_layer + leaf] = tensor[:, :, None, None] if pointwise and leaf == ".weight" else tensor
    return renamed


def resize_tables(tensors: Mapping[str, Tensor], model: DAT) -> dict[str, Tensor]:
    """Fit the position-bias tables to a network of another image or window size, bicubically as the authors do."""
    wanted = model.state_dict()
    return {
        name: _resized(name, tensor, wanted[name].shape) if name in wanted else tensor
        for name, tensor in tensors.items()
    }


def _resized(name: str, table: Tensor, shape: tuple[int, ...]) -> Tensor:
    if table.shape == shape:
        return table
    if name.endswith(("rpe_table", "rpb")) and table.ndim == 3:  # (h, 2 H0 - 1, 2 W0 - 1), (h, 2 K - 1, 2 K - 1)
        return _bicubic(table, shape[1:])
    if name.endswith("relative_position_bias_table") and table.ndim == 2:  # ((2 M - 1)^2, h)
        before, after = isqrt(table.shape[0]), isqrt(shape[0])
        square = table.T.reshape(-1, before, before)
        return _bicubic(square, (after, after)).reshape(-1, after**2).T.contiguous()
    return table


def _bicubic(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """(h, H, W) -> (h, *size), in float32 or finer and back: half precision has no such arithmetic everywhere."""
    exact = maps[None].to(torch.promote_types(maps.dtype, torch.float32))
    return F.interpolate(exact, size=size, mode="bicubic")[0].to(maps.dtype)


def _split(name: str) -> tuple[str, str]:
    """The layer and ``.weight`` or ``.bias``; a table is a layer by itself."""
    for leaf in (".weight", ".bias"):
        if name.endswith(leaf):
            return name.removesuffix(leaf), leaf
    return name, ""


def _layers(variant: Variant) -> Iterator[tuple[str, str, bool]]:
    """Our name of each layer, theirs, and whether theirs is a 1 x 1 convolution where ours is linear."""
    yield "stem.conv", "patch_proj.0", False
    yield "stem.norm", "patch_proj.1.norm", False
    if variant.convolutions:
        yield "stem.conv2", "patch_proj.3", False
        yield "stem.norm2", "patch_proj.4.norm", False
    for index, blocks in enumerate(variant.blocks):
        if index:
            yield f"stages.{index}.downsample.conv", f"down_projs.{index - 1}.0", False
            yield f"stages.{index}.downsample.norm", f"down_projs.{index - 1}.1.norm", False
        for depth, kind in enumerate(blocks):
            yield from _block_layers(f"stages.{index}.blocks.{depth}", f"stages.{index}", depth, kind, variant)
    yield "norm", "cls_norm.norm", False
    yield "head", "cls_head", False


def _block_layers(ours: str, stage: str, depth: int, kind: str, variant: Variant) -> Iterator[tuple[str, str, bool]]:
    yield f"{ours}.norm1", f"{stage}.layer_norms.{2 * depth}.norm", False
    yield f"{ours}.norm2", f"{stage}.layer_norms.{2 * depth + 1}.norm", False
    if variant.convolutions:
        yield f"{ours}.local", f"{stage}.local_perception_units.{depth}", False
        yield f"{ours}.mlp.up", f"{stage}.mlps.{depth}.linear1.0", True
        yield f"{ours}.mlp.depthwise", f"{stage}.mlps.{depth}.dwc", False
        yield f"{ours}.mlp.down", f"{stage}.mlps.{depth}.linear2.0", True
    else:
        yield f"{ours}.mlp.up", f"{stage}.mlps.{depth}.chunk.linear1", False
        yield f"{ours}.mlp.down", f"{stage}.mlps.{depth}.chunk.linear2", False
    for layer, their_layer, pointwise in _ATTENTIONS[kind]:
        yield f"{ours}.attention.{layer}", f"{stage}.attns.{depth}.{their_layer}", pointwise


_WINDOW = (
    ("qkv", "proj_qkv", False),
    ("proj", "proj_out", False),
    ("relative_position_bias_table", "relative_position_bias_table", False),
)
_ATTENTIONS = {
    "L": _WINDOW,
    "S": _WINDOW,
    "N": (("qkv", "qkv", False), ("proj", "proj", False), ("rpb", "rpb", False)),
    "D": (
        ("points.conv", "conv_offset.0", False),
        ("points.norm", "conv_offset.1.norm", False),
        ("points.proj", "conv_offset.3", True),
        ("query", "proj_q", True),
        ("key", "proj_k", True),
        ("value", "proj_v", True),
        ("proj", "proj_out", True),
        ("rpe_table", "rpe_table", False),
    ),
}
