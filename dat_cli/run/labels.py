"""Names of classes from a file."""

from __future__ import annotations

import json
from pathlib import Path

from dat_cli.errors import UsageError

_MAX_BYTES = 100_000_000


def read_labels(path: Path) -> tuple[str, ...]:
    """Read one name per line, or a JSON list of names, in the order of the network's outputs.

    Blank lines of a plain text do not count.

    Raises:
        UsageError: There is no such file, or it is no text, or holds no names.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"--labels {path} is not a file")
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"--labels {path} has {path.stat().st_size} bytes; it should be a short text")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"--labels: there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"--labels {path} cannot be read ({error.strerror})") from error
    except ValueError:  # signs that are no UTF-8, or a zero byte in the name
        raise UsageError(f"--labels {path} is not a text in UTF-8") from None
    if text.lstrip().startswith(("[", "{")):
        names = _from_json(path, text)
    else:
        names = [name for line in text.split("\n") if (name := line.strip())]
    if not names:
        raise UsageError(f"--labels {path} holds no names")
    return tuple(names)


def _from_json(path: Path, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"--labels {path} is neither a list in JSON nor one name per line") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"--labels {path} is JSON, but not a list of names")
    return names
