"""What is measured: our networks, their plain form, and any of timm's beside them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from dat_cli.catalog import get_variant
from dat_cli.data.walk import printable
from dat_cli.errors import UsageError, did_you_mean
from dat_cli.models import create_model
from dat_cli.ops.setting import reference

TIMM = "timm:"


@dataclass(frozen=True)
class Subject:
    """A network and the way in which it runs.

    Attributes:
        network: Name of a variant, or ``timm:`` and a name of timm's.
        plain: Whether by the plain arithmetic.
        eager: Whether never compiled.
    """

    network: str
    plain: bool = False
    eager: bool = False

    @property
    def form(self) -> Literal["fast", "reference", "eager", "timm"]:
        """As results say it."""
        if self.plain or self.eager:
            return "reference" if self.plain else "eager"
        return "timm" if self.network.startswith(TIMM) else "fast"

    def arithmetic(self) -> AbstractContextManager[None]:
        """Inside the ``with`` block our networks compute as this one shall; as the user has set it if not plain."""
        return reference() if self.plain else nullcontext()

    def build(self, image_size: int) -> nn.Module:
        """A new network with 1,000 classes for images of that size, always with the same weights.

        Stochastic depth is that of the recipe of ours and timm's default of theirs.
        """
        torch.manual_seed(0)
        if not self.network.startswith(TIMM):
            rate = get_variant(self.network).drop_path_rate
            return create_model(self.network, img_size=image_size, drop_path_rate=rate)
        return _build_timm(self.network.removeprefix(TIMM), image_size)


def check_network(name: str) -> None:
    """Refuse what is neither a variant nor a model of timm.

    Raises:
        ModelError: There is no such variant.
        UsageError: timm has no such model.
    """
    if not name.startswith(TIMM):
        get_variant(name)
        return
    import timm

    short = name.removeprefix(TIMM)
    if not timm.is_model(short):
        known = timm.list_models()
        longer = [found for found in known if short and found.startswith(short)]
        hint = f"did you mean {longer[0]!r}?" if longer else did_you_mean(short, known)
        hint = hint or "python -c 'import timm; print(timm.list_models())' lists what it has"
        raise UsageError(f"timm has no model {printable(short)[:100]!r}", hint=hint)


def _build_timm(name: str, image_size: int) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, img_size=image_size)
    except TypeError as error:  # a network that takes any size has no such option
        if "img_size" not in str(error):
            raise
        return timm.create_model(name)
