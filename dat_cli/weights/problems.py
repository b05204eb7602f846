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
    """Why a file cannot be read as safetensors, as far as its first bytes tell what it is instead."""
    start = _start(path, error)
    if isinstance(start, WeightsError):
        return start
    if _is_pickle(start):
        hint = f"if it is the authors', name it {path.stem}.pth and convert it: dat convert {path.stem}.pth OUT"
        return WeightsError(f"{path} is a pickle, not safetensors", hint=hint)
    return WeightsError(f"{path} is damaged or not safetensors ({_first_line(error)})")


def unreadable_checkpoint(path: Path, error: Exception) -> WeightsError:
    """Why a file cannot be read as a checkpoint."""
    start = _start(path, error)
    if isinstance(start, WeightsError):
        return start
    if _is_safetensors(start):
        return WeightsError(f"{path} is safetensors, not a pickle", hint=f"name it {path.stem}.safetensors")
    return WeightsError(f"{path} is damaged or not a checkpoint")


def some(names: list[str], most: int = _LISTED) -> str:
    """The first few names as ASCII, and how many more there are."""
    shown = ", ".join(ascii(name)[1:-1][:100] for name in names[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"


def _start(path: Path, error: Exception) -> bytes | WeightsError:
    """The first bytes, or what is wrong whatever the file should have been."""
    if isinstance(error, PermissionError):
        return WeightsError(f"{path} may not be read: permission denied")
    try:
        with path.open("rb") as opened:
            start = opened.read(512)
    except OSError as failed:
        return WeightsError(f"{path} cannot be read: {failed.strerror}")
    if not start:
        return WeightsError(f"{path} is empty")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return WeightsError(f"{path} is a web page, not a weights file", hint="download it again")
    if start.startswith(b"version https://git-lfs"):
        hint = "get the file itself, by 'git lfs pull' or 'dat pull'"
        return WeightsError(f"{path} only says where Git LFS keeps the file", hint=hint)
    return start


def _is_pickle(start: bytes) -> bool:
    return start.startswith((b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6))))


def _is_safetensors(start: bytes) -> bool:
    return len(start) > 9 and int.from_bytes(start[:8], "little") < 1 << 32 and start[8:9] == b"{"


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line[:120]
