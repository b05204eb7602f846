"""The test Hub speaks to the real client, in this process and in others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

if TYPE_CHECKING:
    from tests.conftest import Hub

BLOB = bytes(range(256)) * 400


def test_what_is_pushed_can_be_pulled(hub: Hub) -> None:
    api = HfApi()
    api.create_repo("tester/new", private=True)
    files = [CommitOperationAdd("config.json", b"{}"), CommitOperationAdd("model.safetensors", BLOB)]
    commit = api.create_commit("tester/new", files, commit_message="first").oid
    assert Path(hf_hub_download("tester/new", "model.safetensors", revision=commit)).read_bytes() == BLOB
    assert hub.files("tester/new").keys() == {".gitattributes", "config.json", "model.safetensors"}
    assert [made["title"] for made in hub.commits("tester/new")] == ["first", "initial commit"]


def test_each_test_begins_with_an_empty_hub_and_an_empty_cache(hub: Hub) -> None:
    assert hub.log() == []
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("tester/new", "config.json")


def test_a_token_decides_who_sees_and_writes_what(hub: Hub) -> None:
    hub.access("tester/secret", private=True)
    hub.access("tester/gated", gated=True)
    assert HfApi().whoami()["name"] == "tester"
    hub.use(HF_TOKEN="hf_read")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi().create_repo("tester/new")
    hub.use(HF_TOKEN="hf_other")
    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info("tester/secret")
    with pytest.raises(GatedRepoError):
        hf_hub_download("tester/gated", ".gitattributes")


@pytest.mark.usefixtures("logged_out")
def test_logged_out_sends_no_token(hub: Hub) -> None:
    hub.plant("tester/open", "config.json", b"{}")
    hf_hub_download("tester/open", "config.json")
    assert not any(request["auth"] for request in hub.log())


def test_no_token_goes_to_the_host_of_large_files(hub: Hub) -> None:
    hub.plant("tester/open", "model.safetensors", BLOB, lfs=True)
    hf_hub_download("tester/open", "model.safetensors")
    assert [request["auth"] for request in hub.log() if "_cdn" in request["path"]] == [False]
    assert all(request["auth"] for request in hub.log() if "_cdn" not in request["path"])


def test_a_fault_happens_as_often_as_it_was_ordered(hub: Hub) -> None:
    hub.plant("tester/open", "config.json", b"{}")
    hub.fault("GET /api/models", "status", status=404, code="RepoNotFound")
    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info("tester/open")
    assert HfApi().model_info("tester/open").id == "tester/open"
    assert [request["fault"] for request in hub.log()] == ["status", None]


def test_offline_and_unreachable_can_be_switched_on_in_a_test(hub: Hub) -> None:
    hub.use(HF_HUB_OFFLINE="1")
    with pytest.raises(OfflineModeIsEnabled):
        HfApi().model_info("tester/open")
    hub.use(HF_HUB_OFFLINE=None, HF_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(Exception, match="refused"):  # of httpx or httpx2, as the client's version has it
        HfApi().model_info("tester/open")
    assert hub.log() == []


def test_processes_with_its_environment_talk_to_it(hub: Hub) -> None:
    code = "from huggingface_hub import HfApi; print(HfApi().whoami()['name'])"
    done = subprocess.run([sys.executable, "-c", code], env=hub.environment, capture_output=True, text=True, check=True)
    assert done.stdout == "tester\n"


def test_it_serves_pages_of_other_web_servers(hub: Hub) -> None:
    address = hub.serve("/f/abc/", BLOB)
    with urlopen(f"{address}?dl=1") as page:
        assert page.read() == BLOB
