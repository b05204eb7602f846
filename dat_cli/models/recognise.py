"""Which network tensors by the authors' names are of, told from names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

from torch import Tensor

from dat_cli.catalog import VARIANTS, Variant, get_variant
from dat_cli.errors import ModelError, WeightsError
from dat_cli.models.convert import COMPUTED, to_authors
from dat_cli.models.dat import DAT

_LISTED = 10
# Of numbers that are read off shapes: a network beyond them is not tried, nor could a weights file name it.
_MAX_CLASSES, _MAX_CHANNELS, _MAX_WINDOW, _MAX_IMAGE = 100_000, 64, 64, 4096

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Recognised:
    """The network that tensors are of.

    Attributes:
        variant: The published variant.
        img_size: Height and width in pixels that the tables of position bias are made for.
        window: Size of attention windows, or the kernel of neighbourhood attention.
        num_classes: Outputs.
        in_chans: Channels of the images.
    """

    variant: Variant
    img_size: int
    window: int
    num_classes: int
    in_chans: int

    def outline(self) -> DAT:
        """The network without memory behind it, for the names and shapes of its tensors."""
        return DAT(
            self.variant,
            num_classes=self.num_classes,
            in_chans=self.in_chans,
            img_size=self.img_size,
            window=self.window,
            device="meta",
        )


def recognise(tensors: Mapping[str, Tensor], arch: str | None = None) -> Recognised:
    """Tell the variant, and for which images and classes it was made.

    Args:
        tensors: By the authors' names; computed buffers do no harm.
        arch: The variant that they are said to be of; None to try them all.

    Raises:
        ModelError: There is no variant ``arch``.
        WeightsError: Tensors are missing, left over or of another shape; lists them against the nearest variant.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith(COMPUTED)}
    candidates = [get_variant(arch)] if arch else list(VARIANTS.values())
    trials = []
    for network in sorted((_measure(shapes, variant) for variant in candidates), key=_strangeness(shapes)):
        misfits = _misfits(shapes, network)
        if not any(misfits.values()):
            return network
        trials.append((misfits, network))
    misfits, nearest = min(trials, key=lambda trial: sum(map(len, trial[0].values())))
    said = ", ".join(f"{len(names)} {problem} ({_some(names)})" for problem, names in misfits.items() if names)
    if arch is None:
        raise WeightsError(f"no variant has such tensors; for the nearest, {nearest.variant.name}, there are {said}")
    raise WeightsError(f"these are not the tensors of {arch}, there are {said}", hint=_other(tensors))


def _strangeness(shapes: Mapping[str, Shape]) -> Callable[[Recognised], tuple[bool, ...]]:
    """The order to try networks in: of equals, that whose size stands in the catalog; the right width saves time."""
    width = _side(shapes, "down_projs.0.0.weight", 1, _MAX_IMAGE)

    def key(each: Recognised) -> tuple[bool, ...]:
        variant = each.variant
        return variant.dims[0] != width, each.img_size != variant.image_size, each.window != variant.window

    return key


def _measure(shapes: Mapping[str, Shape], variant: Variant) -> Recognised:
    """Read sizes off the shapes; what cannot be read is the variant's, and will be found missing or misshapen."""
    return Recognised(
        variant,
        img_size=_image_size(shapes, variant),
        window=_window(shapes, variant),
        num_classes=_side(shapes, "cls_head.weight", 0, _MAX_CLASSES) or 1000,
        in_chans=_side(shapes, "patch_proj.0.weight", 1, _MAX_CHANNELS) or 3,
    )


def _image_size(shapes: Mapping[str, Shape], variant: Variant) -> int:
    """From the finest table for deformable attention: 2 H0 - 1 rows for a map of H0."""
    stage = next(index for index, blocks in enumerate(variant.blocks) if "D" in blocks)
    block = variant.blocks[stage].index("D")
    rows = _side(shapes, f"stages.{stage}.attns.{block}.rpe_table", 1, _MAX_IMAGE)
    size = (rows + 1) // 2 * 4 * 2**stage
    return size if 32 <= size <= _MAX_IMAGE else variant.image_size


def _window(shapes: Mapping[str, Shape], variant: Variant) -> int:
    """From the first table of windows, (2 M - 1)^2 rows, or of neighbourhoods, 2 K - 1 rows."""
    rows = _side(shapes, "stages.0.attns.0.rpb", 1, 2 * _MAX_WINDOW)
    rows = rows or isqrt(_side(shapes, "stages.0.attns.0.relative_position_bias_table", 0, 4 * _MAX_WINDOW**2))
    window = (rows + 1) // 2
    return window if window and (window % 2 or variant.generation == "dat") else variant.window


def _side(shapes: Mapping[str, Shape], name: str, axis: int, largest: int) -> int:
    """One side of a tensor; 0 if there is none, or if it is absurd."""
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) > axis and 0 < shape[axis] <= largest else 0


def _misfits(shapes: Mapping[str, Shape], network: Recognised) -> dict[str, list[str]]:
    """What is wrong with the tensors if they were of that network."""
    wanted = _shapes(network)
    return {
        "missing": [name for name in wanted if name not in shapes],
        "unexpected": [name for name in shapes if name not in wanted],
        "of another shape": [
            f"{name} {shapes[name]} for {shape}"
            for name, shape in wanted.items()
            if name in shapes and shapes[name] != shape
        ],
    }


@lru_cache(maxsize=64)
def _shapes(network: Recognised) -> dict[str, Shape]:
    """The authors' names and shapes of a network's tensors."""
    theirs = to_authors(network.outline().state_dict(), network.variant)
    return {name: tuple(tensor.shape) for name, tensor in theirs.items()}


def _other(tensors: Mapping[str, Tensor]) -> str | None:
    """A hint with the variant that they are of, if there is one."""
    try:
        return f"they are those of {recognise(tensors).variant.name}"
    except (WeightsError, ModelError):
        return None


def _some(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(ascii(name)[1:-1][:120] for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, and {len(names) - _LISTED} more"
