"""What can be said of a command line before Lightning is imported, which takes seconds: files that are not there.

Whatever is wrong in another way is found by the parser, or later, and said in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dat_cli.errors import UsageError

_HELP = ("-h", "--help")
_OF_IMAGES = ("predict", "embed")
_OF_MEASURING = ("validate", "test", "calibrate")


def refuse_missing(words: Sequence[str]) -> None:
    """Refuse a config, weights, a source of data or images that are named and not there.

    Args:
        words: A command that runs a network by Lightning, then its options; images first (``images_first``).

    Raises:
        DatError: What is wrong, as the command itself would say it.
    """
    if any(word in _HELP or word.endswith(".help") for word in words):
        return
    command, *rest = words
    if command in _OF_IMAGES:
        _check_images(rest)
    else:
        _check_configs([*_given(rest, "-c"), *_given(rest, "--config")])
        _check_sources(_given(rest, "--data.source")[-1:])
    references = _given(rest, "--weights")[-1:]
    if references:
        from dat_cli.run.resolve import refuse_unknown

        refuse_unknown(references[0])
    elif command in _OF_MEASURING and not rest:  # among options there may be a mistyped one, which is told first
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


def _check_sources(sources: Sequence[str]) -> None:
    from dat_cli.data.hub_dataset import PREFIX
    from dat_cli.data.shard_addresses import is_pattern, is_remote
    from dat_cli.data.sources import BUILT_IN, open_source

    for source in sources:
        is_folder = source != BUILT_IN and not (source.startswith(PREFIX) or is_pattern(source) or is_remote(source))
        if is_folder and not _exists(source):
            open_source(source)


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # no path at all, and nothing is there
        return False
