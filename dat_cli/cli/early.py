"""What can be said of a command line before Lightning is imported, which takes seconds: files that are not there.

A value is looked at only if nothing after it can change it: a later one of the same option, or an option that sets it
among others, as a config does. So a file that is not there is told before a mistyped option, but nothing is refused
that the command would take. Whatever else is wrong is found by the parser, or later, and said in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dat_cli.errors import UsageError

_HELP = ("-h", "--help")
_PRINT = "--print_config"
_OF_IMAGES = ("predict", "embed")
_OF_MEASURING = ("validate", "test", "calibrate")
_CONFIG = ("-c", "--config")
_NOTHING = ("", "null", "none", "~")


class _Check(NamedTuple):
    """How the value of an option is looked at, and which options set it as well."""

    option: str
    also_set_by: tuple[str, ...]
    check: Callable[[str], None]


def refuse_missing(words: Sequence[str]) -> None:
    """Refuse a config, weights, a source of data or images that are named and not there.

    Args:
        words: A command that runs a network by Lightning, then its options; images first (``images_first``).

    Raises:
        DatError: What is wrong, as the command itself would say it.
    """
    command, *rest = words
    if any(word in _HELP or word.endswith(".help") for word in rest):
        return
    if command not in _OF_IMAGES:
        _check_configs([value for option in _CONFIG for value in _given(rest, option)])
    if any(word.partition("=")[0] == _PRINT for word in rest):  # shows what is asked for, and uses none of it
        return
    if command in _OF_IMAGES:
        _check_images(rest)
    for option, also_set_by, check in _checks(command):
        value = _settled(rest, option, also_set_by)
        if value is not None and value.lower() not in _NOTHING:
            check(value)
    if command in _OF_MEASURING and not rest:  # what else is wrong among options is told by the parser
        raise no_weights(command)


def no_weights(command: str) -> UsageError:
    """What is wrong where there is nothing to measure."""
    hint = f"pass them, such as dat {command} --weights runs/tiny/version_0"
    return UsageError(f"{command}: no weights to measure", hint=hint)


def images_first(args: Sequence[str]) -> list[str]:
    """Bring images and options, given in any order, into the one that argparse takes: it ends positionals at an option.

    Every option but help has exactly one value; after ``--`` all are images.

    Args:
        args: ``predict``, then what was typed.
    """
    images: list[str] = []
    options: list[str] = []
    rest = iter(args[1:])
    for arg in rest:
        if arg == "--":
            images.extend(f"./{name}" if name.startswith("-") else name for name in rest)
        elif not arg.startswith("-") or arg == "-":
            images.append(arg)
        else:
            options.append(arg)
            if "=" not in arg and arg not in _HELP:
                options.extend(value for value in [next(rest, None)] if value is not None)
    return [args[0], *images, *options]


def last_value(words: Sequence[str], option: str) -> str | None:
    """Value of an option before there is a parser; None where it lacks one, which the parser will say."""
    return next(reversed(list(_values(words, option))), None)


def _checks(command: str) -> Iterator[_Check]:
    if command not in _OF_IMAGES:
        yield _Check("--data.source", (*_CONFIG, "--data"), _check_source)
    # Measuring takes weights from the command line alone.
    yield _Check("--weights", _CONFIG if command == "fit" else (), _check_weights)


def _settled(words: Sequence[str], option: str, also_set_by: Sequence[str]) -> str | None:
    """The last value of an option, if it has one and none of the others comes after it."""
    setting = [index for index, word in enumerate(words) if _name(word) in (option, *also_set_by)]
    if not setting or _name(words[setting[-1]]) != option:
        return None
    return next(iter(_given(words[setting[-1] :], option)), None)


def _name(word: str) -> str:
    """Of the option, whose value may follow in the same word: ``--config=tiny``, ``-ctiny``."""
    return word[:2] if word.startswith("-c") else word.partition("=")[0]


def _values(words: Sequence[str], option: str) -> Iterator[str | None]:
    """All values of an option, in their order."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            yield value if equals else next(iter(words[index + 1 : index + 2]), None)


def _given(words: Sequence[str], option: str) -> list[str]:
    """The same, without those that lack their value, which the parser will say."""
    return [value for value in _values(words, option) if value is not None and not value.startswith("-")]


def _check_images(words: Sequence[str]) -> None:
    count = next((index for index, word in enumerate(words) if word.startswith("-") and word != "-"), len(words))
    images = words[:count]
    if "-" in images or (words and not images):  # what comes on standard input is read once, and later
        return
    from dat_cli.run.images import ImagePaths

    ImagePaths(images)


def _check_configs(names: Sequence[str]) -> None:
    from dat_cli.cli.configs import find_config

    for name in names:
        find_config(name)


def _check_source(source: str) -> None:
    from dat_cli.data.hub_dataset import PREFIX
    from dat_cli.data.shard_addresses import is_pattern, is_remote
    from dat_cli.data.sources import BUILT_IN, open_source

    is_folder = source != BUILT_IN and not (source.startswith(PREFIX) or is_pattern(source) or is_remote(source))
    if is_folder and not _exists(source):
        open_source(source)


def _check_weights(reference: str) -> None:
    from dat_cli.run.resolve import refuse_unknown

    refuse_unknown(reference)


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # no path at all, and nothing is there
        return False
