"""Addresses of shards, here and on web servers: what a pattern means, and what lies beside what."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dat_cli.data.remote_file import SCHEMES, RemoteFile, shown
from dat_cli.errors import DataError

_MOST_SHARDS = 1_000_000
_LONGEST_NUMBER = 18  # digits
_BRACES = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?\}|\{([a-zA-Z])\.\.([a-zA-Z])(?:\.\.-?\d+)?\}|[{},]")


def is_remote(address: str) -> bool:
    """Whether it is an address of a web server."""
    return address.partition("://")[0].lower() in SCHEMES and "://" in address


def is_pattern(source: str) -> bool:
    """Whether it names shards themselves, not a folder of them."""
    return any(part.partition("?")[0].endswith(".tar") for part in _split(source))


def expand(source: str) -> list[str]:
    """The addresses that a pattern means, in order.

    Raises:
        DataError: A brace is not closed, there are too many, or one is neither a file's nor a web server's.
    """
    from braceexpand import braceexpand

    addresses: list[str] = []
    for part in _split(source):
        _check_count(part)
        try:
            addresses += islice(braceexpand(part), _MOST_SHARDS + 1 - len(addresses))
        except ValueError as error:
            raise DataError(f"{shown(part)} has a brace that is not closed", hint="as in data-{00..99}.tar") from error
        if len(addresses) > _MOST_SHARDS:
            raise DataError(f"{shown(source)} names more than {_MOST_SHARDS} shards", hint="make larger shards")
    for address in addresses:
        _check_address(address)
    if len(set(addresses)) < len(addresses):
        twice = next(address for address, times in Counter(addresses).items() if times > 1)
        raise DataError(f"{shown(twice)} is named twice", hint="name each shard once")
    return addresses


def joined(folder: str, name: str) -> str:
    """The address of a file in a folder."""
    if not is_remote(folder):
        return str(Path(folder) / name)
    parts = urlsplit(folder)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{name}", parts.query, ""))


def parted(address: str) -> tuple[str, str]:
    """The folder and the name of a file."""
    if not is_remote(address):
        return str(Path(address).parent), Path(address).name
    parts = urlsplit(address)
    folder, _, name = parts.path.rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, folder, parts.query, "")), name


def _split(source: str) -> list[str]:
    """At commas that stand outside of braces."""
    parts, depth = [""], 0
    for sign in source:
        depth = max(0, depth + (sign == "{") - (sign == "}"))
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _check_count(pattern: str) -> None:
    """Refuse what fills the memory, or takes for ever, when it is written out."""
    open_braces = [(0, 1)]  # how many things their done alternatives mean, and the one that is read
    for sign in _BRACES.finditer(pattern):
        done, here = open_braces.pop()
        if sign[0] == "{":
            open_braces += [(done, here), (0, 1)]
        elif sign[0] == "," and open_braces:
            open_braces.append((done + here, 1))
        elif sign[0] == "}" and open_braces:
            before, outer = open_braces.pop()
            open_braces.append((before, outer * (done + here)))
        else:
            open_braces.append((done, here * _length(sign)))
        if sum(open_braces[-1]) > _MOST_SHARDS:
            raise DataError(f"{shown(pattern)} names more than {_MOST_SHARDS} shards", hint="make larger shards")


def _length(of: re.Match[str]) -> int:
    """How many things a range means, or more where it has steps; 1 for what is no range."""
    first, last, letter, other = of.groups()
    if letter:
        return abs(ord(other) - ord(letter)) + 1
    if not first:
        return 1
    is_long = max(len(first), len(last)) > _LONGEST_NUMBER
    return _MOST_SHARDS + 1 if is_long else abs(int(last) - int(first)) + 1


def _check_address(address: str) -> None:
    scheme, separator, _ = address.partition(":")
    if is_remote(address):
        RemoteFile(address)  # refuses what is no address
    elif separator and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and not Path(address).is_file():
        raise DataError(
            f"{shown(address)} is neither a file nor an address of http or https",
            hint="copy the shards here, or mount where they lie",
        )
    if not address.partition("?")[0].endswith(".tar"):
        raise DataError(f"{shown(address)} is no .tar", hint="unpack what is compressed: gunzip FILE.tar.gz")
