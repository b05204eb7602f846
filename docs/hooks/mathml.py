"""Formulas become MathML while the site is built, so that a page needs no script to show them."""

from __future__ import annotations

import re
from html import unescape

from latex2mathml.converter import convert

# What pymdownx.arithmatex makes of $...$ and of a $$ block.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html: str, **_: object) -> str:
    """MkDocs calls this with each page as HTML.

    Raises:
        ValueError: A formula has a command that has no MathML; it would show as it is.
    """
    return _FORMULA.sub(_mathml, html)


def _mathml(match: re.Match[str]) -> str:
    tag, bracket, latex = match.groups()
    formula: str = convert(unescape(latex).strip(), display="inline" if bracket == "(" else "block")
    if "\\" in formula:
        raise ValueError(f"no MathML for all of {latex!r}")
    return formula if tag == "span" else f'<div class="formula">{formula}</div>'
