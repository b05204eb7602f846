"""Configuration files: found by name or path, and checked before anything is built from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from dat_cli.cli.wording import nearest, nearest_key
from dat_cli.errors import UsageError

_SUFFIX = ".yaml"
_MAX_BYTES = 1_000_000
_MAX_NODES = 100_000  # aliases counted as often as they are used, so that a small file cannot grow without end
_MERGE = "tag:yaml.org,2002:merge"


class Entry(NamedTuple):
    """One key of a file: its dotted name, the line it stands in, and its value."""

    key: str
    line: int
    value: yaml.Node


def packaged_configs() -> Path:
    """The folder of the configs that come with the package.

    A checkout has it beside the package, and that one is never stale; a wheel has it inside.
    """
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent
    return checkout / "configs" if (checkout / "pyproject.toml").is_file() else package / "configs"


def config_names() -> list[str]:
    """Names that ``--config`` takes from any directory, such as ``tiny`` or ``imagenet/dat_tiny``."""
    folder = packaged_configs()
    found = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{_SUFFIX}"))
    return sorted(found, key=lambda name: (name.count("/"), name))


def find_config(name: str) -> Path:
    """The file that ``name`` means: a local file, or else a packaged config of that name.

    Raises:
        UsageError: There is no such file; lists those that come with the package.
    """
    if not name:
        raise UsageError("no config named ''", hint=f"there are {_shown_names()}, or give the path of a file")
    try:
        local = Path(name).expanduser()
        packaged = packaged_configs() / name
        inside = not local.is_absolute() and ".." not in local.parts
        candidates = [local, *([packaged, packaged.with_name(packaged.name + _SUFFIX)] if inside else [])]
        candidates.append(local.with_name(local.name + _SUFFIX) if local.name else local)
        for path in candidates:
            if path.is_file():
                return path.absolute()
        if local.is_dir():
            raise UsageError(f"config {name!r} is a folder", hint="give the file in it")
        if local.exists():
            raise UsageError(f"config {name!r} is not a regular file")
    except (ValueError, RuntimeError, OSError) as error:  # a NUL byte, an unknown ~user, a name too long
        raise UsageError(f"config {name!r} cannot be a file's name ({error})") from error
    near = _nearest_name(name.removesuffix(_SUFFIX))
    hint = f"did you mean {near!r}? " if near else ""
    raise UsageError(f"no config {name!r}", hint=f"{hint}there are {_shown_names()}, or give the path of a file")


def check_config(path: Path, *, shown: str, known: Iterable[str]) -> None:
    """Check that a file is YAML of known keys, each given once.

    What the values must be is left to the parser, which knows their types.

    Args:
        path: The file.
        shown: What a message calls it.
        known: Dotted names of all keys; a key below a known one belongs to its value.

    Raises:
        UsageError: Names the file, the line and the nearest valid key.
    """
    leaves = set(known)
    sections = {leaf[:dot] for leaf in leaves for dot, sign in enumerate(leaf) if sign == "."}
    root = _compose(path, shown)
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(
            f"{shown}: not a mapping of keys to values", hint="a config looks like 'data: {batch_size: 32}'"
        )
    _check_size(root, shown)
    for entry in _walk(root, "", shown, sections):
        where = f"{shown}, line {entry.line}"
        if entry.key in leaves:
            continue
        if entry.key not in sections:
            raise UsageError(f"{where}: unknown key {entry.key!r}", hint=nearest_key(entry.key, leaves | sections))
        if not isinstance(entry.value, yaml.MappingNode):
            raise UsageError(
                f"{where}: {entry.key!r} is a section", hint="give its keys indented below it, or leave it out"
            )


def _nearest_name(name: str) -> str | None:
    """A config of that name in a folder, or else one with a name like it."""
    names = config_names()
    return next((known for known in names if known.endswith(f"/{name}")), None) or nearest(name, names)


def _shown_names() -> str:
    """The names, of a folder only the first: a sentence is no place for a table."""
    names = config_names()
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    shown = folders.pop("", [])
    for folder, (first, *others) in folders.items():
        shown.append(f"{first} and {len(others)} more in {folder}/" if others else first)
    return ", ".join(shown)


def _compose(path: Path, shown: str) -> yaml.Node | None:
    """The tree of nodes of a file: unlike the values, nodes know their line and keep duplicates."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{shown}: too large for a config", hint="is it another kind of file?")
        text = path.read_text(encoding="utf-8-sig")
        if not text.strip():
            raise UsageError(f"{shown}: the file is empty")
        # The C loader would end the process, not raise, when brackets are nested a hundred thousand deep.
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise UsageError(f"{shown}: not a text file in UTF-8", hint="a config is YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{shown}{line}: not valid YAML ({error.problem})") from error
    except RecursionError as error:
        raise UsageError(f"{shown}: nested too deeply") from error


def _check_size(root: yaml.Node, shown: str) -> None:
    """Refuse a value that contains itself, or that grows without end by aliases of aliases."""
    stack, seen = [root], 0
    while stack:
        node = stack.pop()
        seen += 1
        if seen > _MAX_NODES:
            raise UsageError(f"{shown}: an alias refers to itself, or there are too many values")
        if isinstance(node, yaml.MappingNode):
            stack.extend(child for pair in node.value for child in pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)


def _walk(node: yaml.MappingNode, prefix: str, shown: str, sections: set[str]) -> Iterator[Entry]:
    """Every key of a mapping and, within sections, of the mappings below it."""
    first: dict[str, int] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == _MERGE:
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(merged, yaml.MappingNode):
                    yield from _walk(merged, prefix, shown, sections)
            continue
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
            name = getattr(key_node, "value", "") if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
            raise UsageError(f"{shown}, line {line}: a key must be a name, not {name!r}")
        key = prefix + key_node.value
        if key in first:
            raise UsageError(f"{shown}, line {line}: {key!r} is given twice", hint=f"first in line {first[key]}")
        first[key] = line
        yield Entry(key, line, value)
        if key in sections and isinstance(value, yaml.MappingNode):
            yield from _walk(value, f"{key}.", shown, sections)
