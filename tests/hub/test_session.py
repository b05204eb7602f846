"""While we use the client it asks once; between our calls it is as it was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import hf_hub_download

from dat_cli.errors import HubError
from dat_cli.hub.client.api import hub_api, hub_errors, patiently

if TYPE_CHECKING:
    from tests.conftest import Hub


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, ours and the client's, in seconds; none of them really."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def fetched(file: str = "model.safetensors") -> str:
    with hub_errors(None, "pull tester/cats"):
        api = hub_api()
        return patiently(lambda: api.hf_hub_download("tester/cats", file))


@pytest.fixture(autouse=True)
def _cats(hub: Hub) -> None:
    hub.plant("tester/cats", "model.safetensors", b"x" * 100, lfs=True)


@pytest.mark.parametrize("match", ["GET /_cdn", "HEAD "])
@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"RateLimit": '"api";r=0;t=3600'}])
def test_nobody_waits_for_an_hour(match: str, headers: dict[str, str], hub: Hub, waited: list[float]) -> None:
    hub.fault(match, "status", status=429, headers=headers)
    with pytest.raises(HubError, match="try again in 3600 seconds"):
        fetched()
    assert waited == []


def test_who_asks_to_wait_a_little_is_obeyed_and_it_is_said(
    hub: Hub, waited: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dat")
    hub.fault("GET /_cdn", "status", status=429, headers={"Retry-After": "9"})
    fetched()
    assert waited == [9.0]
    assert "the server answered 429 and asks to wait 9 seconds" in caplog.text


def test_silence_is_borne_twice(hub: Hub, waited: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dat")
    hub.use(HF_HUB_ETAG_TIMEOUT="2")
    hub.fault("HEAD ", "drop", times=99, after=1)
    start = time.monotonic()
    with pytest.raises(HubError, match="did not answer in time"):
        fetched()
    assert time.monotonic() - start < 9
    assert waited == [0.5]
    assert "no answer; trying again" in caplog.text


def test_a_request_has_an_end_although_the_client_sets_none(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dat_cli.hub.client.session._SILENCE_OF_READS", 0.3)
    hub.fault("GET .*/whoami", "delay", seconds=2)
    with pytest.raises(HubError, match="did not answer in time"), hub_errors(None, "ask"):
        hub_api().whoami()


def test_others_find_the_client_as_it_was(hub: Hub, waited: list[float]) -> None:
    fetched()
    hub.plant("tester/cats", "config.json", b"{}")
    hub.fault("HEAD ", "status", times=3)
    hf_hub_download("tester/cats", "config.json")  # once in haste, and then with patience
    assert waited == [1, 2]
