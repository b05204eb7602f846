"""``dat push`` as a person types it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import timm
import torch

import dat_cli
import dat_cli.models.timm
from dat_cli.catalog import Preprocessing
from dat_cli.cli.main import main
from dat_cli.hub.card import is_generated
from dat_cli.weights import WeightsConfig, write_weights

if TYPE_CHECKING:
    from tests.conftest import Hub

SECRET = "hf_test"
CONFIG = WeightsConfig(
    "dat_p_tiny",
    ("cat", "dog"),
    Preprocessing(input_size=(3, 64, 64)),
    model_args={"img_size": 64},
    metrics={"val_acc1": 0.875},
    trained_on="/home/alice/photos",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: weights, a picture, and what is nobody else's business."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    network = dat_cli.create_model("dat_p_tiny", num_classes=2, img_size=64)
    write_weights(folder / "best.safetensors", network.half().state_dict(), CONFIG)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "confusion.svg").write_text("<svg/>")
    (folder / "last.ckpt").write_bytes(b"optimizer state")
    (folder / "config.yaml").write_text("data: {source: /home/alice/photos}")
    return folder


class Terminal(io.StringIO):
    """Standard input of somebody who sits there."""

    def isatty(self) -> bool:
        return True


def answer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(text))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


def test_what_is_pushed_can_be_used_from_everywhere(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "tester/cats", "--yes", "--tag", "v1", "--message", "Cats", "--private"]) == 0
    said = capsys.readouterr()
    (head, _) = hub.commits("tester/cats", "v1")
    assert said.out == f"{hub.url}/tester/cats/commit/{head['id']}\n"
    assert head["title"] == "Cats"
    files = hub.files("tester/cats")
    assert files.keys() == {
        ".gitattributes", "README.md", "config.json", "model.safetensors", "pictures/confusion.svg",
    }  # fmt: skip
    for name in files.keys() - {".gitattributes"}:
        assert name in said.err
    for data in (*files.values(), said.out.encode(), said.err.encode()):
        assert SECRET.encode() not in data
        assert b"alice" not in data
        assert b"optimizer" not in data
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = dat_cli.load_model(str(run))[0](images)
        assert torch.equal(dat_cli.load_model("tester/cats")[0](images), expected)
        there = timm.create_model("hf-hub:tester/cats@v1", pretrained=True).eval()
        assert torch.equal(there(images), expected)
    capsys.readouterr()
    assert main(["push", str(run), "tester/cats", "--yes", "--tag", "v1"]) == 0
    again = capsys.readouterr()
    assert again.out == said.out
    assert "no commit was made" in again.err
    assert main(["push", "tester/cats@v1", "tester/copy", "--yes"]) == 0
    assert hub.files("tester/copy")["model.safetensors"] == files["model.safetensors"]


@pytest.mark.usefixtures("logged_out")
def test_a_dry_run_shows_everything_and_asks_the_hub_nothing(
    run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dry_run", "--license", "mit", "--dataset", "owner/set", "--revision", "next"]
    assert main(["push", str(run / "best.safetensors"), "tester/cats", *options]) == 0
    assert hub.log() == []
    said = capsys.readouterr()
    table, _, card = said.out.partition("\n\n")
    sizes = {line.split()[0]: line.split()[1] for line in table.splitlines()[1:]}
    assert sizes.keys() == {"README.md", "config.json", "model.safetensors", "pictures/confusion.svg"}
    assert sizes["README.md"] == f"{len(card.encode()):,}"
    assert sizes["pictures/confusion.svg"] == "6"
    assert is_generated(card)
    assert sha256(card.encode()).hexdigest() in table
    for words in ("license: mit", "- owner/set", "87.50%", "--weights tester/cats@next", "(pictures/confusion.svg)"):
        assert words in card, words
    assert "nothing was sent" in said.err


def test_a_confirmed_push_is_made(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer("y\n", monkeypatch)
    assert main(["push", str(run), "tester/cats"]) == 0
    said = capsys.readouterr()
    assert "Push these 4 files" in said.err
    assert said.out.count("\n") == 1
    assert hub.commits("tester/cats")[0]["title"] == "Upload dat_p_tiny with dat"


@pytest.mark.parametrize("text", ["\n", "", "no\n"])
def test_anything_but_yes_sends_nothing(
    text: str, run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(text, monkeypatch)
    assert main(["push", str(run), "tester/cats"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("dat: nothing was sent\n")
    assert hub.log() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.safetensors"], "the following arguments are required: repository"),
        (["x.safetensors", "cats"], "'cats' is no name of a Hub repository; it looks like owner/name"),
        (["x.safetensors", "../cats"], "is no name of a Hub repository"),
        (["x.safetensors", "a/b\x1b[2J"], r"'a/b\x1b[2J' is no name"),
        (["x.safetensors", "tester/cats", "--yess"], "unknown option --yess; did you mean --yes?"),
        (["x.safetensors", "tester/cats"], "no terminal to confirm on; add --yes"),
        (["x.safetensors", "tester/cats@a", "--revision", "b"], "two branches are given, 'a' and 'b'"),
        (["x.safetensors", "tester/cats", "--revision", "a b"], "'a b' cannot be a revision"),
        (["x.safetensors", "tester/cats", "--revision", "0" * 40], "looks like a commit; give the name of a branch"),
        (["x.safetensors", "tester/cats", "--tag", "-v"], "--tag: expected one argument"),
        (["x.safetensors", "tester/cats", "--tag", "a..b"], "'a..b' cannot be a revision"),
        (["x.safetensors", "tester/cats", "--tag", "main"], "--tag main is the branch itself"),
        (["x.safetensors", "tester/cats", "--message", " "], "--message is empty"),
        (["x.safetensors", "tester/cats", "--message", "a\x1b[2Jb"], "--message holds a control character"),
        (["x.safetensors", "tester/cats", "--revision", "refs/pr/1"], "--revision refs/pr/1 begins with refs/"),
        (["x.safetensors", "tester/cats", "--tag", "refs/tags/v1"], "--tag refs/tags/v1 begins with refs/"),
        (["x.safetensors", "tester/cats", "--tag", "deadbee"], "--tag deadbee looks like a commit"),
        (["x.safetensors", "tester/cats", "--license", "x" * 600], "--license has 600 letters; give its short name"),
        (["x.safetensors", "tester/cats", "--license", "a\x1b[2J"], r"--license 'a\x1b[2J' is no licence's name"),
        (["x.safetensors", "tester/cats", "--dataset", "a b"], "--dataset 'a b' is no data set's name"),
        (["x.safetensors", "tester/cats", "--yes"], "x.safetensors"),
        (["x.safetensors", "tester/cats", "--token", "hf_x"], "unknown option --token"),
    ],
)
def test_wrong_usage_is_one_line_and_no_request(
    arguments: list[str], words: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err
    assert hub.log() == []


@pytest.mark.usefixtures("logged_out")
def test_who_is_not_logged_in_is_told_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "x.safetensors", "tester/cats", "--yes"]) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "not logged in" in told
    assert "hf auth login" in told


def test_a_licence_that_is_misspelt_is_told(run: Path, capsys: pytest.CaptureFixture[str], hub: Hub) -> None:
    del hub
    assert main(["push", str(run), "tester/cats", "--dry_run", "--license", "apache2.0"]) == 0
    said = capsys.readouterr()
    assert "does not know the licence 'apache2.0' and shows it as 'other'; did you mean 'apache-2.0'?" in said.err
    assert "license: other\nlicense_name: apache2.0" in said.out


def test_weights_that_do_not_load_are_not_pushed(
    run: Path, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.safetensors"
    write_weights(broken, {"head.weight": torch.zeros(2, 3)}, CONFIG)
    del run
    assert main(["push", str(broken), "tester/cats", "--yes"]) == 2
    assert "does not fit the network" in capsys.readouterr().err
    assert hub.log() == []


def test_a_refused_push_shows_no_token_even_in_a_traceback(run: Path, hub: Hub, tmp_path: Path) -> None:
    secret = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
    hub.use(HF_TOKEN=secret)
    environment = {**hub.environment, "DAT_DEBUG": "1", "HF_DEBUG": "1"}
    command = [sys.executable, "-m", "dat_cli", "push", str(run), "tester/cats", "--yes"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "does not accept your token" in done.stderr.splitlines()[-1]
    home = Path(os.environ["HF_HOME"])
    written = [path for folder in (home, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert secret not in done.stdout + done.stderr
    for path in written:
        assert secret.encode() not in path.read_bytes()


def test_a_layout_folder_can_be_pushed(run: Path, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "tester/cats", "--yes"]) == 0
    for name, data in hub.files("tester/cats").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README.md").write_text("# Mine \x1b[31m\n")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "label_names": ["lion", "wolf"]}))
    capsys.readouterr()
    assert main(["push", str(tmp_path), "tester/wild", "--dry_run"]) == 0
    assert capsys.readouterr().out.endswith("\n# Mine \\x1b[31m\n")
    assert main(["push", str(tmp_path), "tester/wild", "--yes"]) == 0
    files = hub.files("tester/wild")
    assert json.loads(files["config.json"])["label_names"] == ["lion", "wolf"]
    assert files["README.md"] == b"# Mine \x1b[31m\n"
    assert files["pictures/confusion.svg"] == b"<svg/>"
