"""From images to pictures of what a network looked at, or to the numbers behind them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from PIL import Image

from dat_cli.data.open_image import open_image
from dat_cli.data.shard_addresses import is_remote
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, DatError, HubError, UsageError
from dat_cli.interpret.explain import explain
from dat_cli.interpret.explanation import Explanation
from dat_cli.interpret.numbers import numbers_of
from dat_cli.interpret.pictures.attention import draw_attention
from dat_cli.interpret.pictures.canvas import is_ours, save_picture
from dat_cli.interpret.pictures.compare import draw_compare
from dat_cli.interpret.pictures.points import draw_points
from dat_cli.interpret.pictures.saliency import draw_saliency
from dat_cli.interpret.select import Choice, Selection, check_queries, select
from dat_cli.models import DAT
from dat_cli.run.picture_places import PicturePlaces
from dat_cli.weights import WeightsConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("dat.explain")

_MOST_PANELS = 48


@dataclass(frozen=True)
class Wish:
    """What is wanted of each image.

    Attributes:
        pictures: Names of pictures, see ``PICTURES``.
        choice: Blocks, heads, groups and queries.
        target: The class that the saliency is of, by name or index; None for the most probable one.
        size: Pixels of the longer side of a picture.
    """

    pictures: tuple[str, ...]
    choice: Choice
    target: str | None
    size: int


class Explainer:
    """Explains one image after another; counts those that could not be.

    Args:
        network: On the device that is to be used.
        config: What its weights say about themselves.
        wish: What is wanted.
    """

    def __init__(self, network: DAT, config: WeightsConfig, wish: Wish) -> None:
        self.network = network
        self.config = config
        self.wish = wish
        self.seen = 0
        self.failed = 0

    def draw(self, sources: Iterable[str], folder: Path, suffix: str) -> Iterator[Path]:
        """Write the pictures of each image, and say where.

        Args:
            sources: Paths and addresses.
            folder: Where to write; made if it is not there.
            suffix: ``.png`` or ``.svg``.
        """
        places = PicturePlaces(folder, suffix)
        for source, photo, explanation, selection in self._explained(sources):
            if "attention" in self.wish.pictures:
                _check_panels(selection)
            for picture, place in zip(self.wish.pictures, places.of(source, self.wish.pictures), strict=True):
                save_picture(PICTURES[picture](explanation, photo, selection, self.wish.size), place, self.wish.size)
                yield place

    def count(self, sources: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The numbers behind the pictures of each image."""
        for source, _, explanation, selection in self._explained(sources):
            yield {"path": printable(source), **numbers_of(explanation, selection, self.wish.pictures)}

    def _explained(self, sources: Iterable[str]) -> Iterator[tuple[str, Image.Image, Explanation, Selection]]:
        for source in sources:
            if not is_remote(source) and is_ours(Path(source)):
                log.info("%s is a picture of dat explain, and left out", printable(source))
                continue
            self.seen += 1
            try:
                photo = open_image(source)
                check_queries(self.wish.choice, source, photo.size)
            except (DataError, HubError) as error:
                self.failed += 1
                log.warning(printable(error.message))
                continue
            explanation = self._explain(photo)
            selection = select(explanation, self.wish.choice)
            _warn_of_cut(explanation, source, self.wish.choice)
            if "points" in self.wish.pictures and not selection.deformable:
                raise UsageError("only deformable blocks have sampling points", hint="choose another with --block")
            yield source, photo, explanation, selection

    def _explain(self, photo: Image.Image) -> Explanation:
        prepared = self.config.preprocessing
        try:  # classes and temperature are the network's own
            return explain(self.network, photo, target=self.wish.target, preprocessing=prepared)
        except (RuntimeError, MemoryError) as error:
            if not _is_memory(error):
                raise
            _, height, width = prepared.input_size
            raise DatError(f"out of memory at {width} x {height} pixels", hint="lower --image_size") from error


_Draw: TypeAlias = "Callable[[Explanation, Image.Image, Selection, int], Figure]"


def _points(explanation: Explanation, photo: Image.Image, chosen: Selection, size: int) -> Figure:
    return draw_points(explanation, photo, blocks=chosen.deformable, group=chosen.group, size=size)


def _attention(explanation: Explanation, photo: Image.Image, chosen: Selection, size: int) -> Figure:
    return draw_attention(
        explanation,
        photo,
        blocks=chosen.blocks,
        queries=chosen.queries,
        head=chosen.head,
        group=chosen.group,
        size=size,
    )


def _saliency(explanation: Explanation, photo: Image.Image, _: Selection, size: int) -> Figure:
    return draw_saliency(explanation, photo, size=size)


def _compare(explanation: Explanation, photo: Image.Image, chosen: Selection, size: int) -> Figure:
    return draw_compare(explanation, photo, block=chosen.compared, query=chosen.queries[0], size=size)


PICTURES: dict[str, _Draw] = {
    "points": _points,
    "attention": _attention,
    "saliency": _saliency,
    "compare": _compare,
}
"""What draws each picture."""


def _is_memory(error: BaseException) -> bool:
    """PyTorch says it by a class of its own on a GPU, and in words on a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _check_panels(chosen: Selection) -> None:
    heads = sum(block.heads if chosen.head == "all" else 1 for block in chosen.blocks)
    if (panels := heads * len(chosen.queries)) > _MOST_PANELS:
        hint = "choose blocks with --block, or fewer queries or heads; --format json has room for all"
        raise UsageError(f"{panels} panels of attention are too small to be read", hint=hint)


def _warn_of_cut(explanation: Explanation, source: str, choice: Choice) -> None:
    left, top, right, bottom = explanation.view.box
    for x, y in choice.queries:
        if not (left <= x <= right and top <= y <= bottom):
            given = f"{left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}"
            words = "query %g,%g of %s is outside of what the network is given, %s: the nearest cell is shown"
            log.warning(words, x, y, printable(source), given)
