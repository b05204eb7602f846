"""The argument parser of every command that runs a network: one line for what is wrong, and no surprises."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn, get_args

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # exported, but not by name
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.configs import check_config, config_names, find_config, packaged_configs
from dat_cli.cli.wording import describe, nearest_key, one_line, quote
from dat_cli.errors import UsageError

__all__ = ["DatArgumentParser", "NamedConfig", "config_names", "packaged_configs"]

_reading: ContextVar[str | None] = ContextVar("reading", default=None)  # the config file that is being parsed


class DatArgumentParser(LightningArgumentParser):
    """A LightningArgumentParser that raises a one-line UsageError instead of printing its usage and exiting.

    Options cannot be abbreviated, and no environment variable changes a value, so that a command line
    means the same everywhere and tomorrow.
    """

    _default_env = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("prog", "dat")
        kwargs.setdefault("usage", "%(prog)s [--config NAME] [options]")  # else fifty lines of options
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    @property
    def prog(self) -> str:
        """Name of the command in help and messages."""
        return self._prog

    @prog.setter
    def prog(self, value: str) -> None:
        self._prog = value.replace(" [options]", "")  # jsonargparse: "dat [options] fit"

    @property
    def default_env(self) -> bool:
        """Whether environment variables are read: never, whatever JSONARGPARSE_DEFAULT_ENV says."""
        return False

    @default_env.setter
    def default_env(self, value: bool) -> None:
        """Ignored, because a base class sets it."""

    def add_subcommands(self, *args: Any, **kwargs: Any) -> Any:
        """As in the base class, with the program's bare name before that of the subcommand."""
        kwargs.setdefault("prog", self.prog)
        return super().add_subcommands(*args, **kwargs)

    def known_keys(self) -> list[str]:
        """Dotted names of everything that a config file may set."""
        return [
            action.dest
            for action in self._actions
            if action.option_strings
            and action.dest != argparse.SUPPRESS
            and not isinstance(action, ActionConfigFile)
            and action.metavar != "CONFIG"  # a whole section, such as --data FILE
            and not action.dest.endswith(".help")
            and action.dest != "help"
        ]

    def refuse_empty(self, given: Mapping[str, object]) -> None:
        """Refuse keys without a value where null is none: jsonargparse takes it for any type.

        Args:
            given: What the command line and its configs say, by dotted names.

        Raises:
            UsageError: Names the first.
        """
        for key, value in given.items():
            action = _action(self, key)
            typehint = getattr(action, "_typehint", None)
            if value is None and typehint is not None and type(None) not in get_args(typehint):
                raise UsageError(f"{key} has no value", hint=f"give {describe(typehint)}, or leave it out")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what jsonargparse says about a command line or a config as one line.

        Raises:
            UsageError: Always.
        """
        if not self.exit_on_error:  # an inner parser, of one way to read a value: the outer one goes on trying
            super().error(message, ex)
        raise _translate(self, str(message)) from ex


class NamedConfig(ActionConfigFile):
    """``--config``: the path of a YAML file, or the name of one that comes with the package."""

    @staticmethod
    def apply_config(parser: Any, cfg: Any, dest: str, value: str) -> None:
        """Find the file, check its keys, then let jsonargparse check the values."""
        path = find_config(value)
        check_config(path, shown=value, known=parser.known_keys())
        token = _reading.set(value)
        try:
            ActionConfigFile.apply_config(parser, cfg, dest, str(path))
        except RecursionError as error:
            raise UsageError(f"{value}: nested too deeply") from error
        finally:
            _reading.reset(token)


def _translate(parser: DatArgumentParser, message: str) -> UsageError:
    for pattern, translate in _TRANSLATIONS:
        if found := pattern.search(message):
            return translate(parser, found)
    return UsageError(_prefixed(one_line(message)))


def _wrong_value(parser: DatArgumentParser, found: re.Match[str]) -> UsageError:
    key, detail = _own_key(parser, found["key"]), found["detail"]
    shown = key if _reading.get() else f"--{key}"
    action = _action(parser, key)
    if action is not None and action.metavar == "CONFIG":
        hint = nearest_key(f"{key}.source", parser.known_keys(), option=True) if key == "data" else None
        return UsageError(_prefixed(f"{shown} takes a file with the keys of that section"), hint=hint)
    problem = re.search(r"Problem with given class_path '(?P<path>.*?)':\s*(?P<what>.*)", detail)
    if problem:
        name = problem["path"].rpartition(".")[2]
        return UsageError(_prefixed(f"{shown}: {name}: {one_line(problem['what'])}"))
    given = next((match for pattern in _GIVEN if (match := pattern.search(detail))), None)
    typehint = getattr(action, "_typehint", None)
    if given and typehint is not None:
        return UsageError(_prefixed(f"{shown} must be {describe(typehint)}; got {quote(given[1])}"))
    return UsageError(_prefixed(f"{shown}: {one_line(detail)}"))


def _unknown_option(parser: DatArgumentParser, found: re.Match[str]) -> UsageError:
    first, _, _ = found["args"].partition(" ")
    if not first.startswith("-"):
        return UsageError(f"unexpected argument {first!r}", hint=f"every option has a name; see {parser.prog} --help")
    name = first.partition("=")[0]
    near = nearest_key(name.lstrip("-"), parser.known_keys(), option=True)
    return UsageError(f"unknown option {name}", hint=near or f"see {parser.prog} --help")


def _unknown_key(parser: DatArgumentParser, found: re.Match[str]) -> UsageError:
    key = _own_key(parser, found["key"])
    known = _subparser(parser).known_keys()
    return UsageError(_prefixed(f"unknown key {key!r}"), hint=nearest_key(key, known))


def _needs_value(parser: DatArgumentParser, found: re.Match[str]) -> UsageError:
    option = found["option"].rpartition("/")[2]
    typehint = getattr(_action(parser, option.lstrip("-")), "_typehint", None)
    wanted = f": {describe(typehint)}" if typehint is not None else ""
    return UsageError(f"{option} needs a value{wanted}")


def _missing(parser: DatArgumentParser, found: re.Match[str]) -> UsageError:
    names = [_own_key(parser, name) for name in found["names"].split(", ")]
    return UsageError(f"missing {', '.join(f'--{name}' for name in names)}")


def _action(parser: DatArgumentParser, key: str) -> argparse.Action | None:
    """What parses the option of that key, here or in the subcommand in use."""
    return _subparser(parser)._option_string_actions.get(f"--{key}")


def _own_key(parser: DatArgumentParser, key: str) -> str:
    """The key without the name of the subcommand, which nobody types with it."""
    action = parser._subcommands_action
    head, _, rest = key.partition(".")
    return rest if action is not None and head in action.choices else key


def _subparser(parser: DatArgumentParser) -> DatArgumentParser:
    action = parser._subcommands_action
    choices = list(action.choices.values()) if action is not None else []
    return choices[0] if choices else parser


def _prefixed(message: str) -> str:
    reading = _reading.get()
    return f"{reading}: {message}" if reading else message


# How jsonargparse tells the value that was given; of a union the last, because each of its types tells one.
_GIVEN = (
    re.compile(r"Given value: (.*)", re.DOTALL),
    re.compile(r"Got value: (.*)", re.DOTALL),
    re.compile(r"Not of type \w+: (.*) (?:does not conform to restriction|not an? (?:number|integer))", re.DOTALL),
    re.compile(r"Not of type \w+: .*(?:with base 10|string to float): '(.*)'", re.DOTALL),
)

# How jsonargparse words things (4.53); whatever is not here is passed on in one line.
_TRANSLATIONS = (
    (re.compile(r'^Parser key "(?P<key>.*?)".*?:\s*(?P<detail>.*)', re.DOTALL), _wrong_value),
    (re.compile(r"unrecognized arguments: (?P<args>.*)", re.DOTALL), _unknown_option),
    (re.compile(r"does not accept option '(?P<key>.*?)'"), _unknown_key),
    (re.compile(r"Option '(?P<key>.*?)' is not accepted"), _unknown_key),
    (re.compile(r"argument (?P<option>\S+): expected (one|at least one) argument"), _needs_value),
    (re.compile(r"the following arguments are required: (?P<names>.*)"), _missing),
)
