"""timm's augmentations of training pictures: policies that distort and recolour, and holes of noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from dat_cli.catalog import Preprocessing
from dat_cli.data.walk import printable
from dat_cli.errors import UsageError

if TYPE_CHECKING:
    from timm.data.auto_augment import AugmentOp

_NUMBER = r"\d+(\.\d+)?"
_POLICY = re.compile(
    rf"rand(-(m\d+|n\d+|p(0(\.\d+)?|1(\.0+)?)|mstd{_NUMBER}|mmax\d+|inc[01]|t(weights|3aw|3a)))*"
    rf"|augmix(-(m\d+|w[1-9]\d*|d\d+|a{_NUMBER}|b[01]|mstd{_NUMBER}))*"
    rf"|(original|originalr|v0|v0r|3a)(-mstd{_NUMBER})?"
)


def check_auto_augment(policy: str | None) -> None:
    """Refuse what timm would fail at, and what it would pass over: it ignores sections that it does not know.

    Raises:
        UsageError: timm has no such policy.
    """
    if policy is not None and not _POLICY.fullmatch(policy):
        raise UsageError(
            f"data.auto_augment is {printable(policy)[:80]!r}",
            hint="the papers use rand-m9-mstd0.5-inc1; timm's other policies are augmix, original, originalr, v0, "
            "v0r and 3a, and the words for their strength stand in timm.data.auto_augment",
        )


def distortions(
    preprocessing: Preprocessing, *, auto_augment: str | None, color_jitter: float
) -> list[Callable[..., Any]]:
    """From an RGB picture of the final size to another: a policy, or else a jitter of its colours; perhaps nothing.

    Raises:
        UsageError: timm has no such policy.
    """
    check_auto_augment(auto_augment)
    if auto_augment is None and color_jitter == 0:
        return []
    from timm.data.transforms_factory import create_transform  # a second to import

    mean = preprocessing.mean
    _, distort, _ = create_transform(
        preprocessing.input_size[1:],
        is_training=True,
        auto_augment=auto_augment,
        color_jitter=color_jitter,
        interpolation=preprocessing.interpolation,
        mean=mean * 3 if len(mean) == 1 else mean,  # fills what a rotation leaves empty, still in colour
        separate=True,
    )
    for operation in _operations(distort):
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    return [distort]


def erasures(probability: float) -> list[Callable[..., Any]]:
    """A rectangle of a normalised picture becomes noise with a probability, as the papers do; perhaps nothing."""
    if probability == 0:
        return []
    from timm.data.random_erasing import RandomErasing

    return [RandomErasing(probability, mode="pixel", max_count=1, device="cpu")]


def _operations(distort: Any) -> Iterator[AugmentOp]:
    for transform in distort.transforms:
        yield from chain(getattr(transform, "ops", ()), *getattr(transform, "policy", ()))


def _posterize(picture: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep at least one bit: Pillow 12 refuses the 0 that timm asks for now and then, and made it all black before."""
    return picture if bits >= 8 else ImageOps.posterize(picture, max(bits, 1))
