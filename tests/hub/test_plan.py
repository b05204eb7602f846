"""What a push would send is decided before anything is sent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dat_cli.catalog import Preprocessing
from dat_cli.errors import UsageError
from dat_cli.hub.card import is_generated, render_card
from dat_cli.hub.names import RepoName
from dat_cli.hub.push.plan import Plan, plan_push
from dat_cli.weights import WeightsConfig, read_config
from dat_cli.weights.layout import write_layout

REPO = RepoName("tester", "cats")
CONFIG = WeightsConfig("dat_tiny", ("cat", "dog"), Preprocessing(), trained_on="/home/alice/photos", license="mit")
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}
PICTURE = b"\x89PNG picture"


@contextmanager
def planned(folder: Path, config: WeightsConfig = CONFIG, **options: Any) -> Iterator[Plan]:
    with plan_push(TENSORS, config, REPO, folder=folder, parameters=6, **options) as plan:
        yield plan


def content(plan: Plan, path: str) -> bytes:
    (file,) = (file for file in plan.files if file.path == path)
    data = file.content.read_bytes() if isinstance(file.content, Path) else file.content
    assert (file.size, file.digest.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert file.digest.git == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return data


def test_card_configuration_and_weights_are_sent(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"the state of an optimizer")
    (tmp_path / "config.yaml").write_text("data: {source: /home/alice/photos}")
    with planned(tmp_path, dataset="owner/set") as plan:
        assert [file.path for file in plan.files] == ["README.md", "model.safetensors", "config.json"]
        assert content(plan, "README.md").decode() == plan.card
        assert is_generated(plan.card)
        assert "owner/set" in plan.card
        assert json.loads(content(plan, "config.json"))["dat"]["trained_on"] == "photos"
        for file in plan.files:
            assert b"alice" not in content(plan, file.path), file.path
        weights = next(file.content for file in plan.files if file.path == "model.safetensors")
        assert isinstance(weights, Path)
        assert read_config(weights) == replace(CONFIG, trained_on="photos")
    assert not weights.exists()


def test_the_same_weights_are_the_same_files(tmp_path: Path) -> None:
    with planned(tmp_path) as first, planned(tmp_path) as second:
        assert [file.digest for file in first.files] == [file.digest for file in second.files]


def test_pictures_beside_the_weights_are_sent_and_shown(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    for name in ("confusion.PNG", "curves.svg", "notes.txt", ".hidden.png"):
        (pictures / name).write_bytes(PICTURE)
    (pictures / "link.png").symlink_to(tmp_path / "secret.png")
    (pictures / "folder.png").mkdir()
    os.mkfifo(pictures / "pipe.png")
    with planned(tmp_path) as plan:
        assert [file.path for file in plan.files][3:] == ["pictures/confusion.PNG", "pictures/curves.svg"]
        assert content(plan, "pictures/confusion.PNG") == PICTURE
        assert "![curves](pictures/curves.svg)" in plan.card


def layout(folder: Path, card: str | bytes) -> Path:
    write_layout(folder, TENSORS, CONFIG)
    (folder / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    return folder


def test_a_card_that_somebody_wrote_is_sent_as_it_is(tmp_path: Path) -> None:
    with planned(layout(tmp_path, "# My cats\r\n")) as plan:
        assert content(plan, "README.md") == b"# My cats\r\n"
        assert not plan.card_is_generated


def test_a_generated_card_is_made_anew(tmp_path: Path) -> None:
    other = render_card(CONFIG, RepoName("other", "name"), dataset=None, pictures=[], parameters=1)
    with planned(layout(tmp_path, other)) as plan:
        assert plan.card_is_generated
        assert "other/name" not in plan.card


def test_a_readme_of_something_else_is_not_taken_for_a_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    with planned(tmp_path) as plan:
        assert plan.card_is_generated


@pytest.mark.parametrize(("card", "words"), [(b"\xff\xfe", "is not UTF-8"), (b"x" * 1_000_001, "1000001 bytes")])
def test_a_card_that_is_no_text_is_refused(card: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words), planned(layout(tmp_path, card)):
        pass


TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (replace(CONFIG, classes=("cat", f"x{TOKEN}")), "config.json"),
        (replace(CONFIG, metrics={TOKEN: 1.0}), "README.md"),
    ],
)
def test_a_text_with_the_token_is_refused(
    config: WeightsConfig, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(UsageError, match="would hold your token") as caught, planned(tmp_path, config):
        pass
    assert where in caught.value.message
    assert TOKEN not in str(caught.value)


def test_a_picture_or_card_with_the_token_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.svg").write_text(f"<svg>{TOKEN}</svg>")
    with pytest.raises(UsageError, match=r"pictures/a\.svg would hold your token"), planned(tmp_path):
        pass
    (tmp_path / "pictures" / "a.svg").unlink()
    with pytest.raises(UsageError, match=r"README\.md would hold your token"), planned(layout(tmp_path, TOKEN)):
        pass
