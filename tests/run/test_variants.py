"""Weights of a variant by its name alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dat_cli.catalog import Preprocessing
from dat_cli.errors import HubError, UsageError, WeightsError
from dat_cli.models import create_model
from dat_cli.run import published
from dat_cli.run.resolve import find_weights
from dat_cli.weights import WeightsConfig, write_weights
from dat_cli.weights.layout import write_layout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that call themselves a DAT-Tiny's, in Hub layout."""
    folder = tmp_path_factory.mktemp("repository")
    config = WeightsConfig("dat_tiny", ("a", "b"), Preprocessing((3, 32, 32)), {"img_size": 32}, trained_on="the Hub")
    write_layout(folder, create_model("dat_tiny", num_classes=2, img_size=32).half().state_dict(), config)
    return folder


@pytest.fixture
def owned(hub: Any, repository: Path) -> str:
    """The commit of tester/dat_tiny on the Hub."""
    for file in repository.iterdir():
        commit = hub.plant("tester/dat_tiny", file.name, file.read_bytes(), lfs=file.suffix == ".safetensors")
    return str(commit)


@pytest.fixture
def cached_authors(hub: Any) -> Path:
    """The authors' weights as an earlier download has left them in the cache."""
    hub.use(DAT_HUB_OWNER=None)
    path = published.cache_path("dat_tiny")
    config = WeightsConfig("dat_tiny", ("a", "b"), Preprocessing((3, 32, 32)), {"img_size": 32}, trained_on="ImageNet")
    write_weights(path, create_model("dat_tiny", num_classes=2, img_size=32).half().state_dict(), config)
    return path


@pytest.mark.usefixtures("cached_authors")
@pytest.mark.parametrize("said_by", ["option", "environment"])
def test_an_owners_repository_is_taken(said_by: str, owned: str, hub: Any) -> None:
    hub.use(DAT_HUB_OWNER="tester" if said_by == "environment" else None)
    found = find_weights("dat_tiny", owner="tester" if said_by == "option" else None)
    assert found.name == f"tester/dat_tiny@{owned}"
    assert found.config.trained_on == "the Hub"


def test_another_network_under_the_name_of_a_variant_is_refused(hub: Any, repository: Path) -> None:
    for file in repository.iterdir():
        hub.plant("tester/dat_base", file.name, file.read_bytes(), lfs=file.suffix == ".safetensors")
    with pytest.raises(WeightsError, match=r"tester/dat_base@\w+ holds a dat_tiny, not a dat_base"):
        find_weights("dat_base", owner="tester")


def test_a_folder_without_weights_does_not_hide_a_variant(
    owned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dat_tiny/version_0").mkdir(parents=True)
    assert find_weights("dat_tiny", owner="tester").name == f"tester/dat_tiny@{owned}"


def test_a_cache_that_cannot_be_is_one_line(hub: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hub.use(HF_HOME=str(tmp_path / "file"))
    with pytest.raises(UsageError, match="the cache cannot be used"):
        find_weights("dat_tiny")


def test_the_cache_comes_before_the_hub(owned: str, hub: Any) -> None:
    hub.use(DAT_HUB_OWNER="tester")
    find_weights("dat_tiny")
    hub.clear()
    assert find_weights("dat_tiny").name == f"tester/dat_tiny@{owned}"
    assert hub.log() == []


def test_without_an_owner_the_authors_weights_are_taken_from_the_cache(cached_authors: Path, hub: Any) -> None:
    found = find_weights("dat_tiny")
    assert (found.path, found.name, found.place) == (cached_authors, "dat_tiny", "authors")
    assert hub.log() == []


def test_an_owner_without_the_repository_leaves_the_authors_weights_and_a_warning(
    cached_authors: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_weights("dat_tiny", owner="tester").path == cached_authors
    assert "tester/dat_tiny" in caplog.text
    assert "taking the authors' weights" in caplog.text


def test_out_of_reach_names_three_ways_on(hub: Any) -> None:
    hub.use(HF_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(HubError) as caught:
        find_weights("dat_tiny", owner="tester")
    message = str(caught.value)
    assert "no weights of dat_tiny within reach" in message
    for way in ("--weights PATH", "--owner OWNER", "dat convert FILE OUT"):
        assert way in message
    assert "\n" not in message


@pytest.mark.usefixtures("hub")
def test_a_variant_without_published_weights_says_so() -> None:
    with pytest.raises(HubError, match="published no weights of dat_p_tiny"):
        find_weights("dat_p_tiny")


@pytest.mark.parametrize("owner", ["a/b", "..", "a b", "@"])
def test_an_owner_that_cannot_be_is_refused(owner: str, hub: Any) -> None:
    with pytest.raises(UsageError, match="--owner"):
        find_weights("dat_tiny", owner=owner)
    assert hub.log() == []
