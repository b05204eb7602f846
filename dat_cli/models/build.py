"""Build a network by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from dat_cli.catalog import Variant, get_variant
from dat_cli.errors import ModelError
from dat_cli.models.dat import DAT
from dat_cli.models.features import FeaturePyramid


@overload
def create_model(
    name: str, pretrained: bool = ..., *, features_only: Literal[True], **options: Any
) -> FeaturePyramid: ...
@overload
def create_model(name: str, pretrained: bool = ..., **options: Any) -> DAT: ...
def create_model(
    name: str,
    pretrained: bool = False,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    **options: Any,
) -> DAT | FeaturePyramid:
    """Build a published variant with new weights.

    Args:
        name: One of ``list_models()``.
        pretrained: Kept for timm's convention; weights are loaded by ``dat_cli.load_model``.
        features_only: Return the maps of several stages instead, for detection and segmentation.
        out_indices: Which stages' maps, with ``features_only``.
        options: Those of ``DAT``: num_classes, in_chans, img_size, window, global_pool, drop_rate, drop_path_rate,
            device and dtype.

    Raises:
        ModelError: There is no such variant, or an option is out of range.
        TypeError: There is no such option.
    """
    if pretrained:
        raise ModelError("create_model builds new weights", hint=f"load trained ones with dat_cli.load_model({name!r})")
    variant = get_variant(name)
    model = DAT(variant, **options)
    model.pretrained_cfg = model.default_cfg = default_cfg(variant)
    return FeaturePyramid(model, out_indices) if features_only else model


def default_cfg(variant: Variant) -> dict[str, Any]:
    """What timm wants to know of a variant."""
    preprocessing = variant.preprocessing
    pool = preprocessing.input_size[1] // 32
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": preprocessing.input_size,
        "min_input_size": (3, 32, 32),
        "pool_size": (pool, pool),
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop_mode,
        "interpolation": preprocessing.interpolation,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "first_conv": "stem.conv",
        "classifier": "head",
        "license": "apache-2.0",
    }
