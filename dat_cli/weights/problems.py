"""What is wrong with a weights file, in one line."""

from __future__ import annotations

from pathlib import Path

from dat_cli.errors import WeightsError

_LISTED = 3


def existing_file(path: Path | str) -> Path:
    """The path of a file that is there.

    Raises:
        WeightsError: It is missing, a folder or no ordinary file.
    """
    path = Path(path)
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, not a weights file")
    if not path.is_file():
        raise WeightsError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
    return path


def unreadable(path: Path, error: Exception) -> WeightsError:
    """One line that says what the file is instead, as far as its first bytes tell."""
    if isinstance(error, PermissionError):
        return WeightsError(f"{path} may not be read: permission denied")
    try:
        with path.open("rb") as opened:
            start = opened.read(16)
    except OSError as failed:
        return WeightsError(f"{path} cannot be read: {failed.strerror}")
    if not start:
        return WeightsError(f"{path} is empty")
    if start.lstrip().startswith(b"<"):
        return WeightsError(f"{path} is a web page, not a weights file", hint="download it again")
    pickled = start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    if path.suffix.lower() != ".ckpt":
        if pickled:
            return WeightsError(f"{path} is a pickle, not safetensors", hint="give the .ckpt of a run of dat")
        return WeightsError(f"{path} is damaged or not safetensors ({_first_line(error)})")
    if pickled and "weights only" in str(error).lower():
        return WeightsError(f"{path} holds more than tensors and plain values, which could run code on loading")
    return WeightsError(f"{path} is damaged or not a checkpoint")


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line[:120]


def some(names: list[str]) -> str:
    """The first few names as ASCII, and how many more there are."""
    shown = ", ".join(ascii(name)[1:-1][:100] for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, and {len(names) - _LISTED} more"
