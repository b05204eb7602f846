"""A push is one commit or none, whatever the network does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from huggingface_hub import HfApi

from dat_cli.catalog import Preprocessing
from dat_cli.errors import HubError, UsageError
from dat_cli.hub.card import is_generated
from dat_cli.hub.names import RepoName
from dat_cli.hub.push import Pushed, push
from dat_cli.hub.push.plan import Plan, plan_push
from dat_cli.weights import WeightsConfig
from dat_cli.weights.layout import write_layout

if TYPE_CHECKING:
    from tests.conftest import Hub

REPO = RepoName("tester", "cats")
CONFIG = WeightsConfig("dat_tiny", ("cat", "dog"), Preprocessing(), metrics={"val_acc1": 0.5})
SENT = {".gitattributes", "README.md", "config.json", "model.safetensors"}


@contextmanager
def planned(folder: Path, repo: RepoName = REPO, value: float = 1.0, config: WeightsConfig = CONFIG) -> Iterator[Plan]:
    tensors = {"weight": torch.full((2, 3), value)}
    with plan_push(tensors, config, repo, folder=folder, parameters=6) as plan:
        yield plan


def pushed(folder: Path, *, repo: RepoName = REPO, value: float = 1.0, **options: Any) -> Pushed:
    with planned(folder, repo, value) as plan:
        return push(plan, message="Upload", **options)


@contextmanager
def somebody_else(hub: Hub, path: str, does: Callable[[], object]) -> Iterator[None]:
    """Somebody who does something as soon as the Hub has answered a request for such a path."""

    def wait_and_do() -> None:
        while not any(path in request["path"] for request in hub.log()):
            time.sleep(0.02)
        does()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two attempts."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


def titles(hub: Hub, revision: str = "main") -> list[str]:
    return [commit["title"] for commit in hub.commits(REPO.id, revision)]


def test_a_push_is_one_commit_with_everything(hub: Hub, tmp_path: Path) -> None:
    with planned(tmp_path) as plan:
        done = push(plan, message="Cats\n\nand dogs\n")
        files = hub.files(REPO.id)
        assert files.keys() == SENT
        for file in plan.files:
            sent = file.content.read_bytes() if isinstance(file.content, Path) else file.content
            assert files[file.path] == sent
    head, first = hub.commits(REPO.id)
    assert (head["title"], head["message"], head["parent"]) == ("Cats", "and dogs", first["id"])
    assert done == Pushed(head["id"], f"{hub.url}/tester/cats/commit/{head['id']}", unchanged=False, kept_card=False)
    assert HfApi().model_info(REPO.id).private is False


def test_pushing_the_same_again_makes_no_commit(hub: Hub, tmp_path: Path) -> None:
    first = pushed(tmp_path)
    hub.clear()
    again = pushed(tmp_path)
    assert again == replace(first, unchanged=True)
    assert titles(hub) == ["Upload", "initial commit"]
    assert not any("/commit/" in request["path"] or "lfs" in request["path"] for request in hub.log())


def test_only_what_changed_is_sent(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    before = hub.files(REPO.id)
    hub.clear()
    assert not pushed(tmp_path, value=2.0).unchanged
    after = hub.files(REPO.id)
    assert {name for name in after if after[name] != before[name]} == {"model.safetensors"}
    assert len(titles(hub)) == 3


def test_write_access_is_asked_before_anything_is_sent(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    asked = [f"{request['method']} {request['path']}" for request in hub.log()]
    first_upload = next(index for index, line in enumerate(asked) if "preupload" in line)
    assert any("auth-check/write" in line for line in asked[:first_upload])


@pytest.mark.usefixtures("logged_out")
def test_who_is_not_logged_in_learns_it_without_a_request(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"not logged in.*hf auth login.*HF_TOKEN"):
        pushed(tmp_path)
    assert hub.log() == []


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_read", "your token is read-only; you are logged in as tester"),
        ("hf_other", "it belongs to somebody else; you are logged in as other; push to other/cats"),
        ("hf_wrong", "does not accept your token"),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_who_may_not_write_sends_nothing(token: str, words: str, is_there: bool, hub: Hub, tmp_path: Path) -> None:
    if is_there:
        hub.plant(REPO.id, "config.json", b"{}")
    hub.clear()
    hub.use(HF_TOKEN=token)
    with planned(tmp_path) as plan, pytest.raises(HubError, match=words) as caught:
        push(plan, message="Upload")
    assert not any("digest" in vars(file) for file in plan.files)  # that would take long
    assert token not in str(caught.value)
    assert not any("preupload" in request["path"] for request in hub.log())


@pytest.mark.parametrize(
    ("about_me", "words"),
    [
        ({"name": "me", "orgs": [{"name": "Tester"}], "auth": {"accessToken": {"role": "read"}}}, "token is read-only"),
        ({"name": "me", "orgs": [], "auth": {"accessToken": {"role": "read"}}}, "you are logged in as me"),
        ({"name": "tester", "orgs": [], "auth": {"accessToken": {"role": "fineGrained"}}}, "your token may not write"),
        ([], "your token may not write"),
    ],
)
def test_why_writing_is_forbidden_is_asked_as_the_hub_answers_it(
    about_me: object, words: str, hub: Hub, tmp_path: Path
) -> None:
    hub.serve("/api/whoami-v2", json.dumps(about_me).encode())
    hub.use(HF_TOKEN="hf_read")
    with pytest.raises(HubError, match=words):
        pushed(tmp_path)


def test_no_network_and_offline_mode_are_said(hub: Hub, tmp_path: Path) -> None:
    hub.use(HF_HUB_OFFLINE="1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        pushed(tmp_path)
    hub.use(HF_HUB_OFFLINE=None, HF_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"127\.0\.0\.1:9 cannot be reached"):
        pushed(tmp_path)


def test_a_lost_answer_to_the_commit_is_not_an_error(hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST .*/commit/", "lost")
    done = pushed(tmp_path)
    assert done.commit == hub.commits(REPO.id)[0]["id"]
    assert not done.unchanged
    assert titles(hub) == ["Upload", "initial commit"]


def test_who_pushes_on_top_of_a_lost_answer_gets_neither_our_address_nor_our_tag(hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST .*/commit/", "lost")
    hub.fault("GET .*/revision/main", "delay", seconds=1.0)  # we look at the head after

    with somebody_else(hub, "/commit/", lambda: hub.plant(REPO.id, "notes.txt", b"mine")):
        done = pushed(tmp_path, tag="v1")
    assert titles(hub) == ["plant", "Upload", "initial commit"]
    assert done.commit == hub.commits(REPO.id)[1]["id"] == hub.commits(REPO.id, "v1")[0]["id"]


def test_somebody_elses_commit_is_not_taken_for_ours(hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST .*/commit/", "status", status=412)
    hub.fault("GET .*/revision/main", "delay", seconds=1.0)
    meanwhile = somebody_else(hub, "/commit/", lambda: hub.plant(REPO.id, "notes.txt", b"mine"))
    with meanwhile, pytest.raises(HubError, match="somebody else has changed"):
        pushed(tmp_path)
    assert titles(hub) == ["plant", "initial commit"]


@pytest.mark.usefixtures("hasty")
def test_after_an_answer_that_was_lost_altogether_a_second_push_makes_no_commit(hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST .*/commit/", "lost")
    hub.fault("POST .*/commit/", "drop", times=9)
    hub.fault("GET .*/revision/main", "drop", times=99)
    with pytest.raises(HubError, match="broke"):
        pushed(tmp_path)
    hub.clear()
    assert pushed(tmp_path).unchanged
    assert titles(hub) == ["Upload", "initial commit"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", ["drop", "status"])
def test_a_commit_that_failed_changed_nothing(kind: str, hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST .*/commit/", kind, times=9)
    with pytest.raises(HubError, match="cannot push to tester/cats"):
        pushed(tmp_path)
    assert titles(hub) == ["initial commit"]
    hub.clear()
    assert not pushed(tmp_path).unchanged


def test_who_pushes_meanwhile_is_not_overwritten(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    hub.clear()
    hub.fault("POST .*/preupload/", "delay", seconds=1.0)

    meanwhile = somebody_else(hub, "/revision/", lambda: hub.plant(REPO.id, "notes.txt", b"mine"))
    with meanwhile, pytest.raises(HubError, match="somebody else has changed the repository meanwhile"):
        pushed(tmp_path, value=2.0)
    assert titles(hub) == ["plant", "Upload", "initial commit"]
    pushed(tmp_path, value=2.0)
    assert titles(hub)[0] == "Upload"
    assert hub.files(REPO.id)["notes.txt"] == b"mine"


@pytest.mark.parametrize(
    "match",
    [
        "POST /api/repos/create",
        "GET .*/auth-check/write",
        "GET .*/refs",
        "GET .*/revision/",
        "POST .*/preupload/",
        "PUT /_lfs/",
        "POST .*/commit/",
        "POST .*/tag/",
        "POST .*/branch/",
    ],
)
@pytest.mark.parametrize("kind", ["status", "lost"])
@pytest.mark.usefixtures("hasty")
def test_a_passing_fault_is_waited_for(match: str, kind: str, hub: Hub, tmp_path: Path) -> None:
    hub.fault(match, kind, status=503)
    repo = replace(REPO, revision="next")
    done = pushed(tmp_path, repo=repo, tag="v1")
    assert any(request["fault"] for request in hub.log())
    assert titles(hub, "v1") == ["Upload", "initial commit"]
    assert hub.commits(REPO.id, "next")[0]["id"] == done.commit


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "the storage behind the Hub refused the request (400)"),
        (403, "the storage behind the Hub refused the request (403)"),
        (429, "the storage behind the Hub answers no more requests for now"),
        (503, "the storage behind the Hub answered 503"),
    ],
)
def test_an_upload_that_the_storage_refuses(status: int, words: str, hub: Hub, tmp_path: Path) -> None:
    hub.fault("PUT /_lfs/", "status", status=status)
    pushed(tmp_path)  # a new link is asked for
    hub.fault("PUT /_lfs/", "status", times=99, status=status)
    with pytest.raises(HubError, match=re.escape(words)):
        pushed(tmp_path, value=2.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", ["drop", "lost"])
def test_an_upload_whose_connection_breaks(kind: str, hub: Hub, tmp_path: Path) -> None:
    hub.fault("PUT /_lfs/", kind)
    pushed(tmp_path)
    hub.fault("PUT /_lfs/", "drop", times=99)
    with pytest.raises(HubError, match=r"the connection to the storage behind the Hub at .* broke"):
        pushed(tmp_path, value=2.0)


@pytest.mark.usefixtures("hasty")
def test_an_upload_whose_arrival_is_doubted(hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST /_lfs/", "status", status=503)
    pushed(tmp_path)
    hub.fault("POST /_lfs/", "status", status=404)
    with pytest.raises(HubError, match=r"the Hub answered 404 \(Injected fault\)"):
        pushed(tmp_path, value=2.0)


@pytest.mark.parametrize("match", ["POST .*/preupload/", "HEAD .*README.md", "PUT /_lfs/", "POST .*/lfs/objects/batch"])
def test_what_fails_for_good_is_told_soon(
    match: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dat")
    hub.plant(REPO.id, "README.md", b"# Mine")
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    hub.fault(match, "status", times=99)
    with pytest.raises(HubError, match="answered 500"):
        pushed(tmp_path)
    assert sum(waited) < 10
    assert len([request for request in hub.log() if request["fault"]]) == len(waited) + 1
    assert caplog.text.count("the server answered 500; trying again") == len(waited)


@pytest.mark.usefixtures("hub")
def test_a_new_repository_can_be_private(tmp_path: Path) -> None:
    pushed(tmp_path, private=True)
    assert HfApi().model_info(REPO.id).private is True
    assert pushed(tmp_path, private=True).unchanged


def test_private_weights_do_not_go_to_a_public_repository(hub: Hub, tmp_path: Path) -> None:
    hub.plant(REPO.id, "config.json", b"{}")
    with pytest.raises(HubError, match="is public"):
        pushed(tmp_path, private=True)
    assert hub.files(REPO.id).keys() == {".gitattributes", "config.json"}


def test_a_new_branch_begins_at_main(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    branch = replace(REPO, revision="next/try")
    pushed(tmp_path, repo=branch, value=2.0)
    assert titles(hub, "next/try") == ["Upload", "Upload", "initial commit"]
    assert len(titles(hub)) == 2
    assert b"tester/cats@next/try" in hub.files(REPO.id, "next/try")["README.md"]
    pushed(tmp_path, repo=branch, value=3.0)
    assert len(titles(hub, "next/try")) == 4


def test_a_tag_names_the_commit(hub: Hub, tmp_path: Path) -> None:
    done = pushed(tmp_path, tag="v1")
    assert hub.commits(REPO.id, "v1")[0]["id"] == done.commit
    assert pushed(tmp_path, tag="v1").unchanged
    assert pushed(tmp_path, tag="v2").unchanged
    assert hub.commits(REPO.id, "v2")[0]["id"] == done.commit


def test_a_tag_that_stands_elsewhere_is_refused_before_anything_is_sent(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path, tag="v1")
    hub.clear()
    with pytest.raises(HubError, match=r"has a tag 'v1' already, .*nothing was sent"):
        pushed(tmp_path, value=2.0, tag="v1")
    with pytest.raises(HubError, match="'main' is a branch"):
        pushed(tmp_path, value=2.0, repo=replace(REPO, revision="next"), tag="main")
    with pytest.raises(HubError, match="'v1' is a tag"):
        pushed(tmp_path, value=2.0, repo=replace(REPO, revision="v1"))
    asked = [request for request in hub.log() if request["method"] not in ("GET", "HEAD")]
    assert {request["path"] for request in asked} == {"/api/repos/create"}


@pytest.mark.usefixtures("hasty")
def test_a_tag_that_cannot_be_set_does_not_hide_the_push(hub: Hub, tmp_path: Path) -> None:
    hub.fault("POST .*/tag/", "status", times=9, status=500)
    with pytest.raises(HubError, match=r"cannot set the tag 'v1' on [0-9a-f]{40}, which has been pushed"):
        pushed(tmp_path, tag="v1")
    hub.clear()
    assert pushed(tmp_path, tag="v1").unchanged
    assert titles(hub, "v1") == ["Upload", "initial commit"]


def test_a_tag_or_a_branch_that_is_not_there_though_it_was_acknowledged(hub: Hub, tmp_path: Path) -> None:
    hub.serve(f"/api/models/{REPO.id}/branch/next", b"{}")
    with pytest.raises(HubError, match="says that tester/cats has a new branch 'next', but it has none"):
        pushed(tmp_path, repo=replace(REPO, revision="next"))
    commit = pushed(tmp_path).commit
    hub.serve(f"/api/models/{REPO.id}/tag/{commit}", b"{}")
    with pytest.raises(HubError, match=f"{commit} was pushed to tester/cats, but it has no tag 'v1'"):
        pushed(tmp_path, tag="v1")


def test_a_tag_that_somebody_sets_meanwhile(hub: Hub, tmp_path: Path) -> None:
    first = hub.plant(REPO.id, "config.json", b"{}")
    hub.fault("POST .*/commit/", "delay", seconds=0.5)
    api = HfApi()
    meanwhile = somebody_else(hub, "preupload", lambda: api.create_tag(REPO.id, tag="v1", revision=first))
    with meanwhile, pytest.raises(HubError, match=f"somebody has set the tag 'v1' on {first[:12]}"):
        pushed(tmp_path, tag="v1")


def test_a_card_that_somebody_wrote_there_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.plant(REPO.id, "README.md", b"# My cats\n")
    assert pushed(tmp_path).kept_card
    assert hub.files(REPO.id).keys() == SENT
    assert hub.files(REPO.id)["README.md"] == b"# My cats\n"
    assert pushed(tmp_path).unchanged
    assert not pushed(tmp_path, overwrite_card=True).kept_card
    assert is_generated(hub.files(REPO.id)["README.md"].decode())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * 1_100_000, b""])
def test_a_readme_that_is_no_card_of_ours_is_kept(content: bytes, hub: Hub, tmp_path: Path) -> None:
    hub.plant(REPO.id, "README.md", content)
    assert pushed(tmp_path).kept_card
    assert hub.files(REPO.id)["README.md"] == content


def test_a_card_of_ours_is_replaced_until_somebody_edits_it(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    better = replace(CONFIG, metrics={"val_acc1": 0.75})
    with planned(tmp_path, config=better) as plan:
        assert not push(plan, message="Better").kept_card
    card = hub.files(REPO.id)["README.md"]
    assert b"75.00%" in card
    hub.plant(REPO.id, "README.md", card.replace(b"75.00%", b"99.99%"))
    assert pushed(tmp_path).kept_card
    assert b"99.99%" in hub.files(REPO.id)["README.md"]


def test_a_card_damaged_on_the_way_is_read_again(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    hub.use(HF_HOME=str(tmp_path / "fresh"))
    hub.fault("GET .*README.md", "corrupt", times=1)
    better = replace(CONFIG, metrics={"val_acc1": 0.75})
    with planned(tmp_path, config=better) as plan:
        assert not push(plan, message="Better").kept_card


def test_my_own_card_goes_where_there_is_none_or_one_of_ours(hub: Hub, tmp_path: Path) -> None:
    pushed(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_layout(folder, {"weight": torch.zeros(1)}, CONFIG)
    (folder / "README.md").write_text("# Mine\n")
    pushed(folder)
    assert hub.files(REPO.id)["README.md"] == b"# Mine\n"
    (folder / "README.md").write_text("# Mine, again\n")
    assert pushed(folder).kept_card
    assert not pushed(folder, overwrite_card=True).kept_card
    assert hub.files(REPO.id)["README.md"] == b"# Mine, again\n"


def test_a_card_that_the_hub_refuses_is_named(hub: Hub, tmp_path: Path) -> None:
    write_layout(tmp_path, {"weight": torch.zeros(1)}, CONFIG)
    (tmp_path / "README.md").write_text("---\na: [\n---\n# Mine\n")
    with pytest.raises(HubError, match=r"refuses the header of README\.md .*correct"):
        pushed(tmp_path)
    assert titles(hub) == ["initial commit"]


def test_weights_of_another_layout_are_removed_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    strangers = ("model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name in (*strangers, "pytorch_model.bin", "onnx/model.safetensors", "notes.txt"):
        hub.plant(REPO.id, name, name.encode(), lfs=name.endswith("safetensors"))
    pushed(tmp_path)
    assert hub.files(REPO.id).keys() == {*SENT, "pytorch_model.bin", "onnx/model.safetensors", "notes.txt"}


def test_a_message_with_the_token_is_refused(hub: Hub, tmp_path: Path) -> None:
    with planned(tmp_path) as plan, pytest.raises(UsageError, match="holds your token") as caught:
        push(plan, message="made with hf_test")
    assert "hf_test" not in str(caught.value)
    assert hub.log() == []
