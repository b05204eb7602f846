"""A picture with the name of its class drawn on it."""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from dat_cli.data.walk import printable

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_TEXT = 0.05  # height of letters, in shorter sides of the picture
_SMALLEST = 14  # pixels; smaller letters are hard to read
_NARROWEST = 160  # pixels; narrower pictures are enlarged, so that a word fits
_LONGEST = 4096  # pixels, of what is enlarged
_DARK = (0, 0, 0, 170)
_FOR_ALL_SIGNS = "Last Resort"  # a font with boxes that stand for whole scripts


def annotate(image: Image.Image, label: str, index: int | None, probability: float | None) -> Image.Image:
    """A copy with a dark strip at the bottom: the label at its left, the probability at its right.

    The strip grows with the picture; a label that is too long for it is cut. Of a picture that is narrower than 160
    pixels the copy is larger, by a whole number.

    Args:
        image: An RGB picture.
        label: What to write.
        index: Of the class, which stands for a label with letters that no font here has; None where there is no class.
        probability: From 0 to 1; None to write none.
    """
    image = _enlarged(image)
    width, height = image.size
    text = printable(label)
    path = font_file(frozenset(text))
    if path is None:
        text, path = text if index is None else f"class {index}", font_file(frozenset())
    font = ImageFont.truetype(str(path), max(_SMALLEST, round(_TEXT * min(width, height))))
    margin = font.size // 2
    share = "" if probability is None else f"{probability:.1%}"
    room = width - 3 * margin - font.getlength(share)
    top = max(0, height - round(1.7 * font.size))
    drawing = ImageDraw.Draw(image, "RGBA")
    drawing.rectangle((0, top, width, height), fill=_DARK)
    middle = (top + height) / 2
    drawing.text((margin, middle), _fitting(text, font, room), font=font, fill="white", anchor="lm")
    drawing.text((width - margin, middle), share, font=font, fill="white", anchor="rm")
    return image


@lru_cache(maxsize=1024)
def font_file(signs: frozenset[str]) -> str | None:
    """The first font here that has all of some signs, or else all letters among them; None where none has.

    DejaVu Sans comes with matplotlib and has the letters of Latin, Greek, Cyrillic, Arabic and more; those of Chinese,
    Japanese and Korean are in fonts that the system may have.
    """
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font

    first = findfont(FontProperties(family="DejaVu Sans"))
    others = [font.fname for font in fontManager.ttflist if font.style == "normal" and _FOR_ALL_SIGNS not in font.name]
    letters = {sign for sign in signs if sign.isalnum()}
    for wanted in (signs, letters):
        for path in dict.fromkeys((first, *others)):
            if all(FT2Font(path).get_char_index(ord(sign)) for sign in wanted):
                return str(path)
    return None


def _enlarged(image: Image.Image) -> Image.Image:
    scale = min(ceil(_NARROWEST / image.width), max(1, _LONGEST // max(image.size)))
    return (
        image.copy()
        if scale == 1
        else image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    )


def _fitting(text: str, font: FreeTypeFont, room: float) -> str:
    """As much of a text as there is room for, with three dots where it is cut."""
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(f"{text[:middle]}…") <= room else (low, middle - 1)
    return f"{text[:low].rstrip()}…" if low else ""
