"""Addresses that the environment sets, the Hub's and a proxy's, shown without the passwords that they may hold."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from dat_cli.errors import HubError
from dat_cli.hub.tokens import hide_token

_VARIABLE = "HF_ENDPOINT"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_USUAL_PORTS = (None, 80, 443)


def endpoint() -> str:
    """Scheme and host of the Hub."""
    return shown(_address())


def check_endpoint() -> None:
    """Refuse an address that can be no Hub's, before it is asked.

    Raises:
        HubError: It is empty, has no scheme or no host, or holds a password, which would be sent in place of the token.
    """
    address = _address()
    if "@" in address:
        hint = "write the address without it; a token goes into HF_TOKEN"
        raise HubError(f"{_VARIABLE} holds the name or the password of a user", hint=hint)
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        told = ascii(os.environ.get(_VARIABLE, address))[:100]
        hint = f"unset {_VARIABLE}, or let it begin with https://"
        raise HubError(f"{_VARIABLE} is {told}, which is no address of a Hub", hint=hint)


def is_of_hub(address: str) -> bool:
    """Whether an address is the Hub's own, and not that of the storage where it keeps large files."""
    return _place(address) == _place(_address())


def proxy_of(address: str) -> tuple[str, str] | None:
    """The variable that sends requests to ``address`` through a proxy, and the proxy; None when they go directly."""
    parts = urlsplit(address)
    if proxy_bypass(parts.netloc):
        return None
    found = proxies()
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if variable in found:
                return variable, found[variable]
    return None


def proxies() -> dict[str, str]:
    """Variables that name a proxy, and the proxies."""
    names = (spelling for name in _PROXIES for spelling in (name, name.upper()))
    return {name: shown(os.environ[name]) for name in names if os.environ.get(name)}


def shown(address: str) -> str:
    """Scheme and host of any address, as ASCII of bounded length."""
    scheme, separator, rest = address.partition("://")
    host = (rest if separator else address).rpartition("@")[2].partition("/")[0]
    return ascii(hide_token(f"{scheme if separator else ''}{separator}{host}"))[1:-1][:100]


def _address() -> str:
    loaded = sys.modules.get("huggingface_hub.constants")
    return str(loaded.ENDPOINT) if loaded else os.environ.get(_VARIABLE, "https://huggingface.co")


def _place(address: str) -> tuple[str | None, int | None]:
    """Host and port, the same for both schemes because http is answered with a redirection to https."""
    try:
        parts = urlsplit(address)
        return parts.hostname, None if parts.port in _USUAL_PORTS else parts.port
    except ValueError:
        return None, None
