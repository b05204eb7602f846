"""Commands and options that the pages name are those that the program has."""

from __future__ import annotations

import re
import shlex
import shutil
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from dat_cli.cli import measure
from dat_cli.cli.base import DatCLI
from dat_cli.cli.calibrate import Calibrate
from dat_cli.cli.early import images_first
from dat_cli.cli.embed import Embed
from dat_cli.cli.fit import Fit
from dat_cli.cli.main import COMMANDS
from dat_cli.cli.options import PlainParser
from dat_cli.cli.parser import DatArgumentParser, packaged_configs
from dat_cli.cli.predict import Predict
from dat_cli.errors import UsageError

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in SOURCES}
BLOCKS = re.compile(r"^```shell\n(.*?)^```$", re.M | re.S)
LINES = list(
    dict.fromkeys(
        line
        for text in PAGES.values()
        for block in BLOCKS.findall(text)
        for line in block.splitlines()
        if line.startswith("dat ")
    )
)
TORCHRUN = ("--nnodes", "--node_rank", "--nproc_per_node", "--master_addr", "--master_port")
CLASSES: dict[str, type[DatCLI]] = {
    "fit": Fit,
    "validate": measure.Validate,
    "test": measure.Test,
    "predict": Predict,
    "embed": Embed,
    "calibrate": Calibrate,
}


@pytest.fixture(autouse=True)
def folder_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs/photos/version_0"
    run.mkdir(parents=True)
    for config in (run / "config.yaml", tmp_path / "my.yaml"):
        shutil.copy(packaged_configs() / "tiny.yaml", config)
    monkeypatch.chdir(tmp_path)


def test_the_pages_show_commands() -> None:
    assert {shlex.split(line)[1] for line in LINES} >= {"fit", "validate", "test", "predict"}


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_pages_parses(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert words[0] in COMMANDS
    if words[0] not in CLASSES:
        plain_parser(words[0]).parse_intermixed_args(words[1:])
        return
    words = [word for word in words if word not in ("--help", "--print_config")]  # these print and end
    parser(words[0]).parse_args(images_first(words) if words[0] in ("predict", "embed") else words)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_exists(page: str) -> None:
    known = {"--help", "--version", "--print_config", *TORCHRUN}
    known |= {f"--{key}" for name in CLASSES for key in subparser(name).known_keys()}
    for name in COMMANDS.keys() - CLASSES.keys():
        known |= plain_parser(name)._option_string_actions.keys()
    named = set(re.findall(r"`(?:dat \w+ )?(--[a-z][\w.]*)", PAGES[page]))
    assert named - known - {"--config"} == set()


@cache
def plain_parser(command: str) -> PlainParser:
    """The real parser of a command without a network."""
    made: list[PlainParser] = []

    def take(parser: PlainParser, _: object = None) -> None:
        made.append(parser)
        raise UsageError("taken")

    with pytest.MonkeyPatch.context() as patch, suppress(UsageError):
        for method in ("parse_args", "parse_intermixed_args"):
            patch.setattr(PlainParser, method, take)
        import_module(COMMANDS[command].module).main([command])
    return made[0]


@cache
def parser(command: str) -> DatArgumentParser:
    """The real parser, taken at the moment when it would parse."""
    made: list[DatArgumentParser] = []

    def take(_: DatCLI, parser: DatArgumentParser, __: object) -> None:
        made.append(parser)
        raise UsageError("taken")

    with pytest.MonkeyPatch.context() as patch, suppress(UsageError):
        patch.setattr(DatCLI, "parse_arguments", take)
        CLASSES[command]([command])
    return made[0]


def subparser(command: str) -> DatArgumentParser:
    subcommands = parser(command)._subcommands_action
    assert subcommands is not None
    chosen = subcommands.choices[command]
    assert isinstance(chosen, DatArgumentParser)
    return chosen
