"""The token of the Hub, kept out of everything that is said or written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN")
_SHORTEST = 5
"""Characters; what is shorter is no token, and replacing it would only spoil words."""


def hide_token(text: str) -> str:
    """``text`` with ``<token>`` wherever a token of this machine stands: of the environment, or of ``hf auth login``.

    Cheap, and without huggingface_hub; the order of replacing makes no token show because it is part of a longer one.
    """
    for token in sorted(set(_tokens()), key=len, reverse=True):
        text = text.replace(token, "<token>")
    return text


def _tokens() -> Iterator[str]:
    for given in (*(os.environ.get(name, "") for name in _VARIABLES), _of_login()):
        for token in (given.strip(), given.replace("\r", "").replace("\n", "").strip()):  # as the client cleans it
            if len(token) >= _SHORTEST:
                yield token


def _of_login() -> str:
    with suppress(OSError, RuntimeError):  # no login, or no home folder
        return _login_file().read_text(encoding="utf-8", errors="replace")[:10_000]
    return ""


def _login_file() -> Path:
    """Where the client keeps it; it settles this when it is imported."""
    loaded = sys.modules.get("huggingface_hub.constants")
    if loaded is not None:
        return Path(loaded.HF_TOKEN_PATH)
    if path := os.environ.get("HF_TOKEN_PATH"):
        return Path(os.path.expandvars(path)).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.path.expandvars(home)).expanduser() / "token"
