"""What must not be read by who is shown a run."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # of an address
_SECRET = re.compile(r"((?:token|key|secret|password|signature|credential)s?=)[^\s&'\"]+", re.IGNORECASE)


def hide_secrets(text: str) -> str:
    """``text`` without users and passwords in addresses, and without values that are named as secrets."""
    return _SECRET.sub(r"\1<secret>", _CREDENTIALS.sub("<secret>", text))
