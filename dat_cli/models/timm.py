"""The same networks in timm's registry: ``import dat_cli.models.timm``, then ``timm.create_model("dat_tiny")``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from dat_cli.catalog import VARIANTS, Variant
from dat_cli.models.build import default_cfg
from dat_cli.models.dat import DAT

default_cfgs = generate_default_cfgs({name: default_cfg(variant) for name, variant in VARIANTS.items()})


def _entrypoint(variant: Variant) -> Callable[..., Any]:
    """The function that timm calls to build a variant, by the variant's name."""

    def build(pretrained: bool = False, **kwargs: Any) -> Any:
        feature_cfg = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
        return build_model_with_cfg(partial(DAT, variant), variant.name, pretrained, feature_cfg=feature_cfg, **kwargs)

    build.__name__ = build.__qualname__ = variant.name
    return build


for _variant in VARIANTS.values():
    register_model(_entrypoint(_variant))
