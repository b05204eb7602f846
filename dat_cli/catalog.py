"""The published variants as data: what they are made of, how they were trained, what they reach.

Nothing here imports torch, so that listing models and checking a name are instant. Figures are those of
the two papers (DAT: arXiv 2201.00520, DAT++: arXiv 2309.01430) and of the authors' published code, which
their weights depend on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dat_cli.errors import ModelError, did_you_mean

Generation = Literal["dat", "dat_pp"]
CropMode = Literal["squash", "center"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a network; the keys and their meaning are timm's.

    Attributes:
        input_size: (channels, height, width) that the network is given.
        mean: Mean of each channel, of values in [0, 1].
        std: Standard deviation of each channel.
        interpolation: Filter of the resize.
        crop_pct: The picture is resized to ``floor(input_size / crop_pct)`` before the centre crop.
        crop_mode: ``squash`` resizes both sides to that size and loses the aspect ratio, as the authors do;
            ``center`` resizes the shorter side.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    crop_pct: float = 0.875
    crop_mode: CropMode = "squash"

    def at(self, image_size: int | tuple[int, int]) -> Preprocessing:
        """The same for another (height, width)."""
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        return replace(self, input_size=(self.input_size[0], height, width))


@dataclass(frozen=True)
class Published:
    """What the authors report of their ImageNet-1K weights.

    Attributes:
        parameters: Number of parameters with 1,000 classes, in millions.
        macs: Multiply-accumulates of one image at the nominal size, in billions.
        top1: Accuracy on the validation images, in percent; None where no weights were published.
        weights: Path of the share link on the authors' cloud drive; None where there is none.
    """

    parameters: float
    macs: float
    top1: float | None = None
    weights: str | None = None


@dataclass(frozen=True)
class Variant:
    """Everything that the shape and the arithmetic of a network depend on.

    Tuples have one entry for each of the four stages.

    Attributes:
        name: Name of the variant.
        generation: ``dat`` (2022) or ``dat_pp`` (2023); they differ in the arithmetic of deformable attention.
        dims: Channels of each stage; the stem has as many as the first.
        blocks: Attention of each block: L window, S shifted window, N neighbourhood, D deformable.
        heads: Attention heads.
        groups: Groups of channels that share sampling points; 0 in a stage without deformable attention.
        strides: Pixels of a stage's map between two reference points, in each direction.
        offset_kernels: Size of the depthwise convolution that predicts offsets.
        offset_range: Largest offset, in half cells of the sampled grid; negative: positions are bounded instead.
        window: Size of attention windows, or the kernel of neighbourhood attention.
        convolutions: DAT++'s overlapping stem and downsampling, local perception units and depthwise
            convolutions in the MLPs.
        drop_path_rate: Stochastic depth of the last block in the published recipe.
        preprocessing: How the published weights were evaluated; its input size is the nominal one, which the
            tables of position bias are made for.
        published: The authors' figures.
    """

    name: str
    generation: Generation
    dims: tuple[int, int, int, int]
    blocks: tuple[str, str, str, str]
    heads: tuple[int, int, int, int]
    groups: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    offset_range: float
    drop_path_rate: float
    published: Published
    convolutions: bool = False
    window: int = 7
    offset_kernels: tuple[int, int, int, int] = (9, 7, 5, 3)
    preprocessing: Preprocessing = Preprocessing()

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(len(blocks) for blocks in self.blocks)

    @property
    def image_size(self) -> int:
        """Height and width that the bias tables are made for."""
        return self.preprocessing.input_size[1]


def _dat(name: str, width: int, depth: int, groups: tuple[int, int], rate: float, published: Published) -> Variant:
    return Variant(
        name=name,
        generation="dat",
        dims=(width, 2 * width, 4 * width, 8 * width),
        blocks=("LS", "LS", "LD" * (depth // 2), "LD"),
        heads=(width // 32, width // 16, width // 8, width // 4),
        groups=(0, 0, *groups),
        strides=(0, 0, 1, 1),
        offset_range=2.0,
        drop_path_rate=rate,
        published=published,
    )


def _dat_pp(name: str, width: int, groups: tuple[int, int, int, int], rate: float, published: Published) -> Variant:
    return Variant(
        name=name,
        generation="dat_pp",
        dims=(width, 2 * width, 4 * width, 8 * width),
        blocks=("ND", "NDND", "ND" * 9, "DD"),
        heads=(width // 32, width // 16, width // 8, width // 4),
        groups=groups,
        strides=(8, 4, 2, 1),
        offset_range=-1.0,
        convolutions=True,
        drop_path_rate=rate,
        published=published,
    )


_SQUASH_384 = Preprocessing(input_size=(3, 384, 384))
_WHOLE_384 = Preprocessing(input_size=(3, 384, 384), crop_pct=1.0)

_DAT_BASE = _dat("dat_base", 128, 18, (4, 8), 0.5, Published(87.88, 15.72, 84.0, "a8d2a9645d454120b635"))
_DAT_PP_TINY = _dat_pp("dat_pp_tiny", 64, (1, 2, 4, 8), 0.2, Published(23.96, 4.26, 83.9, "14c5ddae10b642e68089"))
_DAT_PP_BASE = _dat_pp("dat_pp_base", 128, (2, 4, 8, 16), 0.7, Published(93.69, 16.50, 84.9, "8e30492404d348d89f25"))

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        _dat("dat_tiny", 96, 6, (3, 6), 0.2, Published(28.32, 4.56, 82.0, "1367349deefc48efa650")),
        _dat("dat_small", 96, 18, (3, 6), 0.3, Published(49.70, 8.96, 83.7, "f04b18081e3e4606adb7")),
        _DAT_BASE,
        replace(
            _DAT_BASE,
            name="dat_base_384",
            window=12,
            preprocessing=_SQUASH_384,
            published=Published(88.18, 49.45, 84.8, "cf6a6b543cd64e0d8e43"),
        ),
        replace(_DAT_PP_TINY, name="dat_p_tiny", convolutions=False, published=Published(22.77, 4.02)),
        _DAT_PP_TINY,
        _dat_pp("dat_pp_small", 96, (1, 2, 3, 6), 0.4, Published(53.13, 9.38, 84.6, "4c2a76360c964fbd81d5")),
        _DAT_PP_BASE,
        replace(
            _DAT_PP_BASE,
            name="dat_pp_base_384",
            drop_path_rate=0.6,
            preprocessing=_WHOLE_384,
            published=Published(94.12, 49.50, 85.9, "032dc804cdf44bf18bb5"),
        ),
    )
}


def list_models() -> list[str]:
    """Names of all variants, smaller before larger within a generation."""
    return list(VARIANTS)


def get_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        ModelError: There is none; names the nearest.
    """
    if name not in VARIANTS:
        hint = did_you_mean(name, VARIANTS) or f"there are {', '.join(VARIANTS)}"
        raise ModelError(f"unknown model {name!r}", hint=hint)
    return VARIANTS[name]
