"""Names as commands want them."""

from __future__ import annotations

import shlex


def in_shell(text: str) -> str:
    """One word of a command, all of it visible; what is not printable is escaped as bash and zsh know it."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(char) for char in text) + "'"


def _escaped(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
