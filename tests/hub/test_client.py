"""What the Hub or the network refuse comes out as one line, and never with the token."""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dat_cli.errors import HubError
from dat_cli.hub.client.api import hub_api, hub_errors, patiently
from dat_cli.hub.names import RepoName
from dat_cli.hub.tokens import hide_token

if TYPE_CHECKING:
    from tests.conftest import Hub

CATS = RepoName("tester", "cats")
SECRET = "hf_thisIsTheSecretOfTheTests"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def refused(call: Callable[[], Any], repo: RepoName = CATS, doing: str = "pull tester/cats") -> str:
    """The whole line that a person is told; it must hold nothing that moves a cursor, and no token."""
    with pytest.raises(HubError) as caught, hub_errors(repo, doing):
        call()
    line = str(caught.value)
    print(line)
    trace = "".join(traceback.format_exception(caught.value))
    assert line.isprintable()
    assert caught.value.exit_code == 3
    assert os.environ.get("HF_TOKEN", SECRET) not in line + trace
    assert "Bearer" not in trace
    return line


def look(repo: str = "tester/cats", **options: Any) -> Callable[[], Any]:
    return lambda: hub_api().model_info(repo, timeout=2, **options)


def write(repo: str = "tester/cats") -> Callable[[], Any]:
    return lambda: hub_api().auth_check(repo, write=True)


def test_six_refusals_are_six_messages(hub: Hub) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    lines = {}
    lines["no repository"] = refused(look("tester/dogs"), RepoName("tester", "dogs"))
    hub.use(HF_TOKEN="hf_read")
    lines["read-only"] = refused(write())
    hub.use(HF_TOKEN="hf_other")
    hub.access("tester/cats", gated="manual")
    lines["gated"] = refused(lambda: hub_api().hf_hub_download("tester/cats", "config.json"))
    hub.use(HF_TOKEN=None)
    lines["not logged in"] = refused(lambda: hub_api().whoami())
    hub.access("tester/cats", gated=False, private=True)
    lines["private"] = refused(look())
    hub.use(HF_ENDPOINT="http://127.0.0.1:9")
    lines["no network"] = refused(look())
    telling = {
        "no repository": "there is no repository tester/dogs",
        "read-only": "your token may not write to tester/cats",
        "gated": "tester/cats is gated",
        "not logged in": "you are not logged in; log in with `hf auth login` or set HF_TOKEN",
        "private": "tester/cats is private or does not exist, and you are not logged in",
        "no network": "the Hub at http://127.0.0.1:9 cannot be reached",
    }
    for case, words in telling.items():
        assert [found for found, line in lines.items() if words in line] == [case]


def test_gated_says_where_to_ask(hub: Hub) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    hub.access("tester/cats", gated="manual")
    hub.use(HF_TOKEN="hf_other")
    line = refused(lambda: hub_api().hf_hub_download("tester/cats", "config.json"))
    assert f"ask for access on {hub.url}/tester/cats" in line


@pytest.mark.usefixtures("logged_out")
def test_who_writes_without_a_login_is_told_to_log_in(hub: Hub) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    assert "you are not logged in" in refused(lambda: hub_api().create_repo("tester/dogs"))
    assert "you are not logged in" in refused(write())


def test_a_token_that_the_hub_does_not_know(hub: Hub) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    hub.use(HF_TOKEN=SECRET)
    assert "does not accept your token" in refused(look())


@pytest.mark.parametrize("token", [f"{SECRET}\u00e9", f"{SECRET}\x07", f"a\x01{SECRET}"])
def test_a_token_that_cannot_be_sent(hub: Hub, token: str) -> None:
    hub.use(HF_TOKEN=token)
    assert "token" in refused(look())


def test_revisions_and_files_that_are_not_there(hub: Hub) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    line = refused(look(revision="v9"), RepoName("tester", "cats", "v9"))
    assert "tester/cats has no revision 'v9'" in line
    assert "no such file" in refused(lambda: hub_api().hf_hub_download("tester/cats", "x.json"))


def test_offline_mode(hub: Hub) -> None:
    hub.use(HF_HUB_OFFLINE="1")
    assert "switched off by HF_HUB_OFFLINE" in refused(look())
    assert "switched off by HF_HUB_OFFLINE" in refused(lambda: hub_api().hf_hub_download("tester/cats", "x.json"))
    assert hub.log() == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "try again in 7 seconds"),
        (503, "answered 503"),
        (500, "answered 500"),
        (418, "answered 418"),
        (412, "changed the repository"),
    ],
)
def test_other_answers(hub: Hub, status: int, words: str) -> None:
    hub.fault("GET /api/models", "status", status=status, headers={"Retry-After": "7"})
    assert words in refused(look())


def test_a_hub_that_does_not_answer_in_time(hub: Hub) -> None:
    hub.fault("GET /api/models", "delay", seconds=3)
    assert "did not answer in time" in refused(lambda: hub_api().model_info("tester/cats", timeout=0.2))


def test_a_connection_that_breaks(hub: Hub) -> None:
    hub.fault("GET /api/models", "drop")
    assert "the connection to the Hub at" in refused(look())


def test_a_web_page_in_place_of_the_hub(hub: Hub) -> None:
    hub.use(HF_ENDPOINT=hub.serve("/portal", b"<html>Log in to the hotel's network</html>").removesuffix("/portal"))
    hub.serve("/api/models/tester/cats", b"<html>Log in to the hotel's network</html>")
    assert "is not what a Hub answers" in refused(look())


@pytest.mark.parametrize("said", ["\u00e9\u202e" + "word " * 500, "\x1b[2J" * 3, f"your token is {SECRET}"])
def test_words_of_a_server_are_shown_harmless_and_short(hub: Hub, said: str) -> None:
    hub.use(HF_TOKEN=SECRET)
    hub.fault("GET /api/models", "status", status=400, headers={"X-Error-Message": said.encode().decode("latin-1")})
    line = refused(look())
    assert "the Hub answered 400 (" in line
    assert len(line) < 400
    assert line.isascii()


@pytest.mark.parametrize("answer", [b"[]", b'{"id": "a", "siblings": "none"}', b"null"])
def test_an_answer_of_another_shape(hub: Hub, answer: bytes) -> None:
    hub.serve("/api/models/tester/cats", answer)
    assert "the client of the Hub fails with" in refused(look())


def test_errors_of_this_machine_pass_through() -> None:
    with pytest.raises(OSError, match="No space") as caught, hub_errors(CATS, "pull"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match="home directory"), hub_errors(CATS, "pull"):
        Path("~nosuchuser/x").expanduser()


def test_a_bug_is_one_line_and_can_be_found_in_the_traceback() -> None:
    with pytest.raises(HubError, match="the client of the Hub fails with") as caught, hub_errors(CATS, "pull"):
        raise KeyError("a bug")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_storage_behind_the_hub_is_told_from_the_hub(hub: Hub, status: int) -> None:
    hub.plant("tester/cats", "model.safetensors", b"x" * 100, lfs=True)
    hub.use(HF_TOKEN=None)
    hub.fault("GET /_cdn", "status", times=9, status=status)
    line = refused(lambda: hub_api().hf_hub_download("tester/cats", "model.safetensors"))
    assert f"the storage behind the Hub refused the request ({status}); try again" in line


def test_a_link_to_the_storage_that_has_expired_is_asked_for_again(hub: Hub) -> None:
    hub.plant("tester/cats", "model.safetensors", b"x" * 100, lfs=True)
    hub.fault("GET /_cdn", "status", status=403)
    api = hub_api()
    assert Path(patiently(lambda: api.hf_hub_download("tester/cats", "model.safetensors"))).stat().st_size == 100


def test_patience_ends(hub: Hub) -> None:
    hub.plant("tester/cats", "config.json", b"{}")
    hub.fault("GET /api/models", "status", times=2, status=503)
    assert patiently(look()).id == "tester/cats"
    hub.clear()
    hub.fault("GET /api/models", "status", times=9, status=503)
    assert "503" in refused(lambda: patiently(look()))
    assert len(hub.log()) == 3


def test_a_refusal_is_not_asked_again(hub: Hub) -> None:
    assert "no repository" in refused(lambda: patiently(look()))
    assert len(hub.log()) == 1


def test_the_server_says_how_long_to_wait(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dat")
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    hub.plant("tester/cats", "config.json", b"{}")
    hub.fault("GET /api/models", "status", status=429, headers={"Retry-After": "7"})
    patiently(look())
    assert waited == [7.0]
    assert "asks to wait 7 seconds" in caplog.text
    hub.fault("GET /api/models", "status", status=429, headers={"Retry-After": "3600"})
    assert "try again in 3600 seconds" in refused(lambda: patiently(look()))


def test_tokens_are_hidden_wherever_they_come_from(hub: Hub, tmp_path: Path) -> None:
    hub.use(HF_TOKEN=f" {SECRET}1\n", HUGGING_FACE_HUB_TOKEN=f"{SECRET}12", HF_HOME=str(tmp_path))
    (tmp_path / "token").write_text(f"{SECRET}3\n")
    shown = hide_token(f"a {SECRET}1 b {SECRET}12 c {SECRET}3")
    assert shown == "a <token> b <token> c <token>"
    hub.use(HF_TOKEN="a")
    assert hide_token("a banana") == "a banana"
