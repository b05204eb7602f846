"""Addresses of the environment are checked before they are used, and shown without passwords."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import close_session

from dat_cli.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import Hub

PROXY = "http://me:password123@127.0.0.1:9"


@pytest.fixture(autouse=True)
def _new_session() -> Iterator[None]:
    """A session reads the proxies when it is made."""
    close_session()
    yield
    close_session()


def pulled(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line about a pull that fails."""
    assert main(["pull", "tester/cats"]) == 3
    said = capsys.readouterr().err.splitlines()
    assert "password123" not in "".join(said)
    print(said)
    return said[-1]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("huggingface.co", "'huggingface.co'"),
        ("ftp://huggingface.co", "'ftp://huggingface.co'"),
        ("http://", "'http://'"),
        ("http://a:99999", "'http://a:99999'"),
        ("", "''"),
        ("\x1b[2J", r"'\x1b[2J'"),
    ],
)
def test_an_address_that_is_no_hubs(address: str, shown: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.use(HF_ENDPOINT=address)
    assert f"HF_ENDPOINT is {shown}, which is no address of a Hub; unset HF_ENDPOINT" in pulled(capsys)


@pytest.mark.parametrize("address", ["http://me:password123@{}", "http://password123@{}", "me:password123@{}"])
def test_a_password_in_the_address_is_refused(address: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.use(HF_ENDPOINT=address.format(hub.url.removeprefix("http://")))
    assert "HF_ENDPOINT holds the name or the password of a user" in pulled(capsys)
    assert hub.log() == []


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://me:password123@h:1", "ALL_PROXY (socks5://h:1) names needs a package"),
        ("foo://me:password123@h:1", "ALL_PROXY (foo://h:1) names cannot be used"),
        ("http://me:password123@h:x", "ALL_PROXY (http://h:x) names cannot be used"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    proxy: str, words: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.use(ALL_PROXY=proxy)
    assert words in pulled(capsys)


def test_a_proxy_that_cannot_be_reached_is_named(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.use(NO_PROXY=None, HTTP_PROXY=PROXY)
    line = pulled(capsys)
    assert f"the Hub at {hub.url} cannot be reached through the proxy http://127.0.0.1:9 (" in line
    assert line.endswith("check the connection and HF_ENDPOINT and HTTP_PROXY")


def test_a_proxy_that_is_not_used_is_not_named(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.use(HTTPS_PROXY=PROXY, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hub at http://127.0.0.1:9 cannot be reached (" in pulled(capsys)


def test_a_home_folder_that_is_not_known_is_no_fault_of_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    hub.plant("tester/cats", "model.safetensors", b"x", lfs=True)
    hub.use(HF_HUB_CACHE="~nosuchuser/x")
    assert main(["pull", "tester/cats"]) == 2
    assert "the home folder that it means is not known" in capsys.readouterr().err
