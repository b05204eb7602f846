"""Commands that run a network by Lightning's command line, which is imported once nothing obvious is wrong."""

from __future__ import annotations

from importlib import import_module

from dat_cli.cli.early import images_first, refuse_missing

_COMMANDS = {
    "fit": ("dat_cli.cli.fit", "Fit"),
    "validate": ("dat_cli.cli.measure", "Validate"),
    "test": ("dat_cli.cli.measure", "Test"),
    "predict": ("dat_cli.cli.predict", "Predict"),
    "embed": ("dat_cli.cli.embed", "Embed"),
    "calibrate": ("dat_cli.cli.calibrate", "Calibrate"),
}
_OF_IMAGES = ("predict", "embed")


def main(args: list[str]) -> int:
    """Run one of these commands.

    Args:
        args: The command's name and its options, in any order.

    Returns:
        0; whatever goes wrong is raised.

    Raises:
        DatError: Something cannot be done, or images could not be read (exit code 1).
    """
    words = images_first(args) if args[0] in _OF_IMAGES else args
    refuse_missing(words)
    module, name = _COMMANDS[args[0]]
    command = getattr(import_module(module), name)
    command(words)
    return 0
