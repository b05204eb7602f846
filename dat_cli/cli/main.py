"""The command ``dat``: finds the command that is meant, and imports only what that one needs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from dat_cli import __version__
from dat_cli.cli.logs import quiet_libraries
from dat_cli.cli.wall import guard
from dat_cli.errors import UsageError, did_you_mean


class Command(NamedTuple):
    """A command of the table: the module whose ``main(argv) -> int`` runs it, and what ``--help`` says."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "fit": Command("dat_cli.cli.lightning", "train a network on images"),
    "validate": Command("dat_cli.cli.lightning", "measure trained weights on validation images"),
    "test": Command("dat_cli.cli.lightning", "measure trained weights on test images"),
    "predict": Command("dat_cli.cli.lightning", "name what is in pictures"),
    "explain": Command("dat_cli.cli.commands.explain", "draw what a network looks at in pictures"),
    "embed": Command("dat_cli.cli.lightning", "turn pictures into vectors, for search and clustering"),
    "calibrate": Command("dat_cli.cli.lightning", "make probabilities of trained weights say how often they are right"),
    "benchmark": Command("dat_cli.cli.commands.benchmark", "measure how fast networks are, beside others"),
    "models": Command("dat_cli.cli.commands.models", "list the published networks"),
    "info": Command("dat_cli.cli.commands.info", "say what weights are, without loading them"),
    "pull": Command("dat_cli.cli.commands.pull", "download weights from the Hugging Face Hub"),
    "push": Command("dat_cli.cli.commands.push", "share weights on the Hugging Face Hub"),
    "shard": Command("dat_cli.cli.commands.shard", "write a folder of images as shards for training at scale"),
    "convert": Command("dat_cli.cli.commands.convert", "turn the authors' weights into ours, or back"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command and its options; by default what was typed. A command's module is given all of it,
            its own name included.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 wrong usage or bad input, 3 Hub or network, 130 and 143
        interrupted and terminated.
    """
    return guard(lambda: _dispatch(sys.argv[1:] if argv is None else argv))


def _dispatch(argv: list[str]) -> int:
    if not argv:
        sys.stderr.write(help_text())
        return 2
    name, *rest = argv
    if name == "help":
        if not rest:
            name = "--help"
        else:
            argv = [rest[0], "--help"]
            name = rest[0]
    if name in ("-h", "--help"):
        sys.stdout.write(help_text())
        return 0
    if name in ("-V", "--version"):
        sys.stdout.write(f"dat {__version__}\n")
        return 0
    if name not in COMMANDS:
        raise _unknown(name, rest)
    _require_here()
    quiet_libraries()
    return int(import_module(COMMANDS[name].module).main(argv))


def help_text() -> str:
    """What ``dat --help`` prints."""
    width = max(map(len, (*COMMANDS, "--version"))) + 2
    commands = "".join(f"  {name:{width}}{command.help}\n" for name, command in COMMANDS.items())
    return (
        "usage: dat COMMAND [options]\n\n"
        "Deformable Attention Transformers (DAT, DAT++): train, measure and predict from one command.\n\n"
        f"commands:\n{commands}\n"
        "options:\n"
        f"  {'--help':{width}}this text; 'dat COMMAND --help' has the options of a command\n"
        f"  {'--version':{width}}the version\n\n"
        "start with: dat fit --config tiny\n"
    )


def _require_here() -> None:
    """Refuse a current folder that is gone: MKL would end the process with words that nobody understands."""
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(
            "the current folder does not exist any more", hint="change to another and try again"
        ) from error


def _unknown(name: str, rest: list[str]) -> UsageError:
    if name.startswith("-"):
        given = next((word for word in rest if word in COMMANDS), None)
        hint = f"options come after the command: dat {given} {name} ..." if given else "see dat --help"
        return UsageError(f"{name!r} is not a command", hint=hint)
    hint = did_you_mean(name, COMMANDS) or f"there are {', '.join(COMMANDS)}; see dat --help"
    return UsageError(f"unknown command {name!r}", hint=hint)
