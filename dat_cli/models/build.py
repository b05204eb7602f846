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
    name: str,
    pretrained: bool = False,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    features_only: Literal[False] = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
) -> DAT: ...


@overload
def create_model(
    name: str,
    pretrained: bool = False,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    features_only: Literal[True],
    out_indices: Sequence[int] = (0, 1, 2, 3),
) -> FeaturePyramid: ...


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
) -> DAT | FeaturePyramid:
    """Build a published variant with new weights.

    Args:
        name: One of ``list_models()``.
        pretrained: Kept for timm's convention; weights are loaded by ``dat_cli.load_model``.
        num_classes: Outputs; 0 for pooled features (B, C).
        in_chans: Channels of the images.
        img_size: Nominal image size, which the tables of position bias are made for; None for the published one.
            Images of any size from 32 x 32 are taken, whatever it is.
        global_pool: ``avg``, or an empty string for unpooled maps.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of the last block; None for none.
        features_only: Return the maps of several stages instead, for detection and segmentation.
        out_indices: Which stages' maps, with ``features_only``.

    Raises:
        ModelError: There is no such variant, or an argument is out of range.
    """
    if pretrained:
        raise ModelError("create_model builds new weights", hint="load a weights file with dat_cli.load_model(path)")
    variant = get_variant(name)
    model = DAT(
        variant,
        num_classes=num_classes,
        in_chans=in_chans,
        img_size=img_size,
        global_pool=global_pool,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
    model.pretrained_cfg = model.default_cfg = default_cfg(variant)
    if not features_only:
        return model
    return FeaturePyramid(model, out_indices)


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
