"""``dat fit``, ``dat validate`` and ``dat test``: Lightning's command line with our two options for weights."""

from __future__ import annotations

from dat_cli.cli.fit import Fit
from dat_cli.cli.measure import Test, Validate

_COMMANDS = {"fit": Fit, "validate": Validate, "test": Test}


def main(args: list[str]) -> int:
    """Run one of the three commands.

    Args:
        args: The command's name and its options.

    Returns:
        0; whatever goes wrong is raised.
    """
    command = _COMMANDS[args[0]]
    command(args)
    return 0
