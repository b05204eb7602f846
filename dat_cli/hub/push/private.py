"""What a weights file says that is nobody else's business: folders of a machine, passwords in addresses."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

from dat_cli.weights.config import WeightsConfig

_ADDRESS = re.compile(r"(?i)\b(?!file:)[a-z][a-z0-9+.-]*://[^\s\"'<>()]+")
# A text that is a path as a whole: it begins as only paths do, or has separators and no space.
_WHOLE = re.compile(r"(?i)(?:~|[/\\]|\.{1,2}[/\\]|[a-z]:[/\\]|file:)|\S+[/\\]\S*\Z")
# A path among other words; its last component is the group.
_AMONG_WORDS = re.compile(
    r"(?i)(?<![\w/\\:.])(?:~\w*[/\\]|[/\\]|\.{1,2}[/\\]|[a-z]:[/\\])(?:[^\s\"'()]*[/\\])?([^\s\"'()/\\]+)"
)


def for_others(config: WeightsConfig) -> WeightsConfig:
    """The same without folders: of a path only the last component is kept, of an address no password and no query."""
    return replace(config, trained_on=_public(config.trained_on), origin=_public(config.origin))


def _public(text: str | None) -> str | None:
    if text is None:
        return None
    if _ADDRESS.search(text):
        return _AMONG_WORDS.sub(r"\1", _ADDRESS.sub(_address, text)).strip() or None
    if _WHOLE.match(text):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1].lstrip("~") or None
    return _AMONG_WORDS.sub(r"\1", text)


def _address(found: re.Match[str]) -> str:
    try:
        parts = urlsplit(found[0])
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
