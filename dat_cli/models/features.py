"""A network as a pyramid of feature maps, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from dat_cli.models.dat import DAT


class FeaturePyramid(nn.Module):
    """The maps of several stages, (B, in_chans, H, W) -> [(B, C, H / r, W / r), ...] from fine to coarse.

    Args:
        model: The network; what the maps do not need is removed from it.
        out_indices: Stages, numbered from 0.

    Attributes:
        feature_info: timm's ``FeatureInfo``: ``channels()`` are the maps' C, ``reduction()`` their r.
    """

    def __init__(self, model: DAT, out_indices: Sequence[int]) -> None:
        super().__init__()
        from timm.models import FeatureInfo  # takes seconds, and a classifier does not need it

        self.out_indices = model.prune_intermediate_layers(out_indices, prune_norm=True)
        self.feature_info = FeatureInfo(model.feature_info, tuple(self.out_indices))
        self.model = model

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As that of the network."""
        self.model.set_grad_checkpointing(enable)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.model.forward_intermediates(image, self.out_indices, intermediates_only=True)
        return cast("list[Tensor]", maps)
