"""The argument parser of commands that need no torch: argparse with our errors."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from dat_cli.cli.wording import nearest_key
from dat_cli.errors import UsageError


class PlainParser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that raises a one-line UsageError."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse says, with the nearest option where one is unknown.

        Raises:
            UsageError: Always.
        """
        hint = f"see {self.prog} --help"
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            word = found[1].partition("=")[0]
            if not word.startswith("-"):
                raise UsageError(f"unexpected argument {word!r}", hint=hint)
            known = [option.lstrip("-") for option in self._option_string_actions]
            raise UsageError(f"unknown option {word}", hint=nearest_key(word.lstrip("-"), known, option=True) or hint)
        message = re.sub(r"^argument (?:-\w/)?(--\S+):", r"\1:", message)
        raise UsageError(message, hint=hint)
