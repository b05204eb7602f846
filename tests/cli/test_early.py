"""What is looked for before there is a parser is found and told as the parser would have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dat_cli.cli.early import refuse_missing
from dat_cli.cli.main import main


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("validate", "validate: no weights to measure; pass them, such as dat validate --weights"),
        ("validate --wieghts runs", "unknown option --wieghts; did you mean --weights?"),
        ("validate --weights --format json", "--weights needs a value"),
        ("validate --weights there --weights runs/gone.ckpt", "there are no weights 'runs/gone.ckpt'"),
        ("calibrate --weights=runs/gone.ckpt", "there are no weights 'runs/gone.ckpt'"),
        ("test --weights dat_tinny", "there are no weights 'dat_tinny'; did you mean 'dat_tiny'?"),
        ("fit -c tiny --config tinny", "no config 'tinny'; did you mean 'tiny'?"),
        ("fit --config tiny --data.source gone", "data.source not found: gone"),
        ("fit --config mine.yaml --data.source gone --print_config --config gone.yaml", "no config 'gone.yaml'"),
        ("fit --config mine.yaml --data.source digits --data.source=gone", "data.source not found: gone"),
        ("fit --data {} --weights runs/gone.ckpt", "there are no weights 'runs/gone.ckpt'"),
        ("validate --weights runs/gone.ckpt --config mine.yaml", "there are no weights 'runs/gone.ckpt'"),
        ("fit --data.source ~nobody-of-that-name/x", "is no path"),
        ("predict photo.png gone.jpg", "there is no 'gone.jpg'"),
        ("predict --top_k 3 gone.jpg --flip true", "there is no 'gone.jpg'"),
        ("predict photo.png --weights hf-hub:no-name", "names no Hub repository"),
        ("embed empty --output v.npy", "no images in 'empty'"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.yaml").write_text("data: {source: digits}")
    assert main(line.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err.splitlines()[-1]


def test_help_comes_before_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "gone.jpg", "--help"]) == 0
    assert "usage: dat predict" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "fit --config tiny --data.source gone --print_config",
        "fit --weights gone.ckpt --print_config=skip_default",
        "validate --weights gone.ckpt --print_config",
        "fit --data.source gone --config mine.yaml",
        "fit --data.source gone --config=mine.yaml",
        "fit --data.source gone -c mine.yaml",
        "fit --data.source gone -cmine.yaml",
        "fit --data.source gone --data {source:digits}",
        "fit --data.source=gone --data={source:digits}",
        "fit --data.source gone --data.source digits",
        "fit --weights gone.ckpt --config mine.yaml",
        "fit --weights gone.ckpt --weights null",
        "fit --weights None",
        "predict photo.png --weights null",
        "embed photo.png --output v.npy --weights=null",
        "fit --weights gone.ckpt --trainer.help",
        "fit --config gone -h",
    ],
)
def test_what_something_later_changes_is_not_looked_at(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").touch()
    (tmp_path / "mine.yaml").write_text("data: {source: digits}")
    refuse_missing(line.split())


def test_a_config_is_printed_whatever_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "tiny", "--data.source", "gone", "--weights", "gone.ckpt", "--print_config"]) == 0
    assert "source: gone" in capsys.readouterr().out
