"""Networks whose answers are known because their weights were set by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dat_cli.models import DAT, DeformableAttention, create_model


@pytest.fixture(scope="session")
def planted() -> Callable[..., DAT]:
    """A network whose points all move by the same offset, and whose queries prefer keys at one displacement."""

    def plant(name: str, offset: tuple[float, float], prefer: tuple[float, float] | None = None, **options: Any) -> DAT:
        """Set the weights.

        Args:
            name: Of the variant.
            offset: (y, x) that the offset network gives, before what the generation makes of it.
            prefer: (y, x) of query minus key in normalised coordinates; bias falls with the distance from it. None for
                no preference.
            options: Of create_model.
        """
        torch.manual_seed(0)
        network = create_model(name, num_classes=4, **options).eval()
        hidden = torch.nn.functional.gelu(torch.ones(())).item()
        for module in network.modules():
            if isinstance(module, DeformableAttention):
                with torch.no_grad():
                    for layer in (module.query, module.key):
                        layer.weight.zero_()
                        layer.bias.zero_()
                    points = module.points
                    points.norm.weight.zero_()
                    points.norm.bias.fill_(1.0)
                    points.proj.weight.copy_(
                        torch.tensor(offset)[:, None].expand_as(points.proj.weight) / (hidden * points.proj.in_features)
                    )
                    module.rpe_table.zero_()
                    if prefer is None:
                        continue
                    _, height, width = module.rpe_table.shape
                    y = torch.linspace(-1, 1, height)[:, None] * 2 - prefer[0]  # the table spans half displacements
                    x = torch.linspace(-1, 1, width) * 2 - prefer[1]
                    module.rpe_table.copy_((-200 * (y**2 + x**2)).expand_as(module.rpe_table))
        return network

    return plant


@pytest.fixture(scope="session")
def still() -> Callable[..., DAT]:
    """A network whose blocks change nothing: each cell of the last map knows only what lies below it."""

    def make(name: str, **options: Any) -> DAT:
        torch.manual_seed(0)
        network = create_model(name, num_classes=4, **options).eval()
        for name_, parameter in network.named_parameters():
            if ".attention.proj." in name_ or ".mlp.down." in name_ or ".local." in name_:
                torch.nn.init.zeros_(parameter)
        return network

    return make


@pytest.fixture(scope="session")
def moved() -> Callable[[str, float, int], float]:
    """The offset in cells that the planted one becomes in a generation, for a map of so many cells along the axis."""

    def move(name: str, offset: float, cells: int) -> float:
        if name.startswith("dat_pp"):
            return offset * (cells - 1) / 2
        return 2 * math.tanh(offset) / cells * (cells - 1) / 2

    return move
