"""How much room text takes, so that none lies over another."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=256)
def inches(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text is."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text:
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font, usetex=False).get_extents().width) / 72


def wrapped(text: str, width: float) -> list[str]:
    """Small text in lines of so many inches."""
    words, lines = text.split(), []
    while words:
        taken = max(n for n in range(1, len(words) + 1) if n == 1 or inches(" ".join(words[:n]), 7.5) <= width)
        lines.append(" ".join(words[:taken]))
        words = words[taken:]
    return lines
