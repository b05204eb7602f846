"""Names of Hub repositories."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from dat_cli.errors import UsageError
from dat_cli.hub.names import RepoName, parse_repo


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("me/cats", RepoName("me", "cats")),
        ("hf-hub:me/cats", RepoName("me", "cats")),
        ("me/cats@v1.0", RepoName("me", "cats", "v1.0")),
        ("hf-hub:me/cats@refs/pr/1", RepoName("me", "cats", "refs/pr/1")),
        ("My-Org.x/a_b.c-d", RepoName("My-Org.x", "a_b.c-d")),
    ],
)
def test_names_with_and_without_prefix_and_revision(reference: str, expected: RepoName) -> None:
    found = parse_repo(reference)
    assert found == expected
    assert str(found) == reference.removeprefix("hf-hub:")


@pytest.mark.parametrize(
    "reference",
    [
        "dat_tiny",
        "runs/a/b",
        "./cats",
        "../cats",
        "~/cats",
        "/cats",
        "me/",
        "",
        "me/c--s",
        "me/c..s",
        "me/.cats",
        "me/cats-",
        "me/cats.git",
        "m\u00e9/cats",
        "me/ca ts",
        "me/cats\n",
        "a" * 97 + "/cats",
    ],
)
def test_what_the_hub_would_refuse_is_no_name(reference: str) -> None:
    assert parse_repo(reference) is None
    with pytest.raises(UsageError, match="names no Hub repository"):
        parse_repo(f"hf-hub:{reference}")


@pytest.mark.parametrize("name", ["me/cats", "a/b", "_a/b_", "a" * 96 + "/b", "me/a.gitx", "0/1"])
def test_what_we_take_the_client_takes(name: str) -> None:
    assert parse_repo(name) is not None
    try:
        validate_repo_id(name)
    except HFValidationError as error:  # pragma: no cover
        pytest.fail(str(error))


@pytest.mark.parametrize(
    "revision",
    ["", "../../etc", "a..b", "/a", "a/", "-f", ".hidden", "a/.b", "a b", "a\x1b[2J", "x.lock", "@{1}", "\u202e"],
)
def test_a_revision_that_git_could_not_have_is_refused(revision: str) -> None:
    with pytest.raises(UsageError, match="revision") as caught:
        parse_repo(f"me/cats@{revision}")
    assert str(caught.value).isprintable()


def test_a_name_made_by_hand_is_checked_too() -> None:
    with pytest.raises(UsageError, match="owner/name"):
        RepoName("..", "cats")
