"""DAT and DAT++: a stem, four stages and a classifier.

The methods and their names are those of timm's models, so that code written for one of them runs on these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.catalog import Variant
from dat_cli.errors import ModelError
from dat_cli.models.layers import ConvStem, PatchStem
from dat_cli.models.stage import Stage

SMALLEST_IMAGE = 32


class DAT(nn.Module):
    """Deformable Attention Transformer, (B, in_chans, H, W) -> (B, num_classes).

    Takes images of any size from 32 x 32, whatever its nominal size is.

    Args:
        variant: What it is made of.
        num_classes: Outputs; 0 for pooled features.
        in_chans: Channels of the images.
        img_size: Nominal (height, width), which the tables of position bias are made for; None for the variant's.
        window: Size of attention windows, or the kernel of neighbourhood attention; None for the variant's.
        global_pool: ``avg``, or an empty string to leave maps unpooled.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0; None for none.
        device: Where the parameters are made; None for the default.
        dtype: Their type; None for the default.

    Attributes:
        default_cfg: What timm wants to know of a network, set by who builds it by name; also ``pretrained_cfg``.

    Raises:
        ModelError: An argument is out of range.
    """

    default_cfg: dict[str, Any]
    pretrained_cfg: dict[str, Any]

    def __init__(
        self,
        variant: Variant,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] | None = None,
        window: int | None = None,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if window is not None:
            variant = replace(variant, window=_checked_window(variant, window))
        self.variant = variant
        self.image_size = _pair(variant.image_size if img_size is None else img_size)
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = variant.dims[-1]
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**index, "module": f"stages.{index}"}
            for index, dim in enumerate(variant.dims)
        ]
        _check(num_classes, in_chans, self.image_size, drop_rate, drop_path_rate or 0.0)

        with torch.device(device) if device else nullcontext():
            self.stem = (ConvStem if variant.convolutions else PatchStem)(in_chans, variant.dims[0])
            self.stages = nn.ModuleList(_build_stages(variant, self.image_size, drop_path_rate or 0.0))
            self.norm: nn.Module = nn.LayerNorm(self.num_features)
        self.to(dtype=dtype)
        self.reset_classifier(num_classes, global_pool)

    def forward(self, image: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(image))

    def forward_features(self, image: Tensor) -> Tensor:
        """The last stage's map after its norm: (B, in_chans, H, W) -> (B, C, H/32, W/32)."""
        x = self.stem(self._checked(image))
        for stage in self.stages:
            x = stage(x)
        return self.norm(x).permute(0, 3, 1, 2)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify a map, (B, C, H, W) -> (B, num_classes); only pool it with ``pre_logits``.

        Without pooling each position is classified: (B, num_classes, H, W).
        """
        if self.global_pool:
            x = F.dropout(x.mean(dim=(2, 3)), self.drop_rate, self.training)
        if pre_logits:
            return x
        # An unpooled map is classified position by position.
        return self.head(x) if self.global_pool else self.head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of several stages.

        Args:
            x: Images, (B, in_chans, H, W).
            indices: Stages from 0, negative from the last; an int for that many last ones; None for all.
            norm: Apply the final norm to the last stage's map.
            stop_early: Do not run stages after the last that is asked for.
            output_fmt: ``NCHW`` or ``NHWC``.
            intermediates_only: Return the maps alone.

        Returns:
            The maps from fine to coarse, or (final map as ``forward_features`` returns it, maps).

        Raises:
            ModelError: There is no such stage or format.
        """
        wanted = self._stage_indices(indices)
        if output_fmt not in ("NCHW", "NHWC"):
            raise ModelError(f"output_fmt is {output_fmt!r}", hint="NCHW and NHWC are known")
        stages = list(self.stages)[: max(wanted) + 1 if stop_early else None]
        last = len(self.variant.dims) - 1  # the norm fits no other
        x = self.stem(self._checked(x))
        maps = []
        for index, stage in enumerate(stages):
            x = stage(x)
            if index in wanted:
                maps.append(self.norm(x) if norm and index == last else x)
        if output_fmt == "NCHW":
            maps = [each.permute(0, 3, 1, 2).contiguous() for each in maps]
        if intermediates_only:
            return maps
        final = self.norm(x) if len(stages) == last + 1 else x
        return final.permute(0, 3, 1, 2), maps

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what ``forward_intermediates`` does not need for those stages, and return their indices."""
        wanted = self._stage_indices(indices)
        self.stages = self.stages[: max(wanted) + 1]
        if prune_norm or len(self.stages) < len(self.variant.dims):  # the norm fits the last stage alone
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return wanted

    def get_classifier(self) -> nn.Module:
        """The last linear layer, or an identity when there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Begin anew with another number of classes (0 for none), and perhaps another pooling.

        Raises:
            ModelError: There is no such pooling, or a negative number of classes.
        """
        if global_pool not in ("avg", "", None):
            raise ModelError(f"global_pool is {global_pool!r}", hint="'avg' and '' (none) are known")
        if num_classes < 0:
            raise ModelError(f"num_classes is {num_classes}", hint="give 0 for none")
        if global_pool is not None:
            self.global_pool = global_pool
        self.num_classes = num_classes
        head: nn.Module = nn.Identity()
        if num_classes:
            like = next(self.stem.parameters())
            head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
        self.head = head.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the blocks' inputs for the backward pass and compute the rest again: less memory, more time."""
        for stage in self.stages:
            cast("Stage", stage).grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names of the position-bias tables that the published recipe does not decay (``rpb`` is decayed)."""
        tables = ("rpe_table", "relative_position_bias_table")
        return {name for name, _ in self.named_parameters() if name.endswith(tables)}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that order the parameters by depth, for layer-wise learning rates; by stage with ``coarse``."""
        norm = (r"^norm", (99999,))
        blocks = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None), norm]
        return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)", None), norm] if coarse else blocks}

    def _stage_indices(self, indices: int | Sequence[int] | None) -> list[int]:
        stages = len(self.stages)
        if indices is None:
            return list(range(stages))
        if isinstance(indices, int):
            asked: Sequence[int] = range(stages - indices, stages) if 0 < indices <= stages else ()
        else:
            asked = indices
        if not asked or any(not -stages <= index < stages for index in asked):
            raise ModelError(f"there is no stage {indices}", hint=f"stages are numbered from 0 to {stages - 1}")
        return sorted({index % stages for index in asked})

    def _checked(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != self.in_chans:
            hint = f"{self.variant.name} takes a batch (B, {self.in_chans}, H, W)"
            raise ModelError(f"the input has the shape {tuple(image.shape)}", hint=hint)
        if min(image.shape[2:]) < SMALLEST_IMAGE:
            hint = f"{self.variant.name} takes images from {SMALLEST_IMAGE} x {SMALLEST_IMAGE} pixels"
            raise ModelError(f"the images have {image.shape[2]} x {image.shape[3]} pixels", hint=hint)
        return image


def _build_stages(variant: Variant, image_size: tuple[int, int], drop_path_rate: float) -> Iterator[Stage]:
    """The stages with their maps' sizes at the nominal image size, and the growing rate of stochastic depth."""
    sizes = zip(*(_map_sizes(size, round_up=variant.convolutions) for size in image_size), strict=True)
    last = sum(variant.depths) - 1
    first = 0
    for index, (map_size, depth) in enumerate(zip(sizes, variant.depths, strict=True)):
        rates = [drop_path_rate * block / last for block in range(first, first + depth)]
        yield Stage(variant, index, map_size, rates)
        first += depth


def _map_sizes(size: int, *, round_up: bool) -> list[int]:
    """One side of the four stages' maps for an image side."""
    sides = [size]
    for _ in range(5):  # the stem halves twice
        sides.append((sides[-1] + round_up) // 2)
    return sides[2:]


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ModelError(f"img_size is {size!r}", hint="give a whole number, or (height, width)")
    return sides[0], sides[1]


def _checked_window(variant: Variant, window: int) -> int:
    if not isinstance(window, int) or window < 1:
        raise ModelError(f"window is {window!r}", hint="give a whole number of positions")
    if variant.generation == "dat_pp" and window % 2 == 0:
        raise ModelError(f"window is {window}", hint="a neighbourhood has a centre: give an odd number")
    return window


def _check(
    num_classes: int, in_chans: int, image_size: tuple[int, int], drop_rate: float, drop_path_rate: float
) -> None:
    if num_classes < 0 or in_chans < 1:
        raise ModelError(f"num_classes is {num_classes} and in_chans {in_chans}", hint="give at least 0 and 1")
    if min(image_size) < SMALLEST_IMAGE:
        raise ModelError(f"img_size is {image_size}", hint=f"the smallest is {SMALLEST_IMAGE}")
    for name, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if not 0 <= rate < 1:
            raise ModelError(f"{name} is {rate}", hint="give a probability in [0, 1)")
