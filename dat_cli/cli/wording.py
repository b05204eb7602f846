"""Plain words for what a parser says: nearest names, types, values."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

_SIMPLE = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` most likely means, or None.

    Dotted names are also compared by their last part, because the section is what people leave out:
    ``batch_size`` means ``data.batch_size``.
    """
    names = list(known)
    name = name.replace("-", "_")
    leaf = _leaf(name)
    same_leaf = [key for key in names if _leaf(key) == leaf and key != leaf]
    if same_leaf:
        return (get_close_matches(name, same_leaf, n=1, cutoff=0.0) or same_leaf)[0]
    section = name.rpartition(".")[0]
    if section:
        leaves = {_leaf(key): key for key in names if key.rpartition(".")[0] == section}
        if near := get_close_matches(leaf, leaves, n=1, cutoff=0.6):
            return leaves[near[0]]
    if near := get_close_matches(name, names, n=1, cutoff=0.7):
        return near[0]
    leaves = {_leaf(key): key for key in reversed(names)}
    near = get_close_matches(leaf, leaves, n=1, cutoff=0.7)
    return leaves[near[0]] if near else None


def nearest_key(name: str, known: Iterable[str], *, option: bool = False) -> str | None:
    """A hint with the nearest key, written as a command line option if ``option``."""
    near = nearest(name, known)
    return f"did you mean {'--' if option else ''}{near}?" if near else None


def describe(typehint: Any) -> str:
    """A type in plain words, such as ``a whole number or null``."""
    origin, args = get_origin(typehint), get_args(typehint)
    if typehint in _SIMPLE:
        return _SIMPLE[typehint]
    if origin in (Union, types.UnionType):
        return _describe_union(args)
    if origin is Literal:
        return _one_of(args)
    if origin is tuple:
        return _describe_tuple(args)
    if origin in (list, set) or (origin is not None and issubclass(origin, Iterable) and len(args) == 1):
        return f"a list of {_plural(args[0])}" if args else "a list"
    if origin is dict or typehint is dict:
        return "a mapping"
    if isinstance(typehint, type):
        return _describe_class(typehint)
    return str(typehint)


def one_line(text: str) -> str:
    """Text without line breaks and the indents after them."""
    return " ".join(text.split())


def printable(text: str) -> str:
    """Text on one line, with what a terminal would not show, or would obey, escaped."""
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def quote(value: str) -> str:
    """A given value as a message shows it: on one line, cut when long, in quotes unless it is a list or mapping."""
    short = textwrap.shorten(value, 80, placeholder=" ...") if len(value) > 80 else one_line(value)
    return short if short.startswith(("[", "{")) else repr(short)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _describe_union(args: tuple[Any, ...]) -> str:
    choices = [choice for arg in args if get_origin(arg) is Literal for choice in get_args(arg)]
    words = [describe(arg) for arg in args if get_origin(arg) is not Literal and arg is not type(None)]
    if choices:
        words.insert(0, _one_of(choices))
    if type(None) in args:
        words.append("null")
    return " or ".join(dict.fromkeys(words))


def _one_of(choices: Iterable[Any]) -> str:
    return "one of " + ", ".join(dict.fromkeys(str(choice) for choice in choices))


def _describe_tuple(args: tuple[Any, ...]) -> str:
    if not args or Ellipsis in args:
        return f"a list of {_plural(args[0])}" if args else "a list"
    if len(set(args)) == 1:
        return f"a list of {len(args)} {_plural(args[0])}"
    return f"a list of {len(args)} values ({', '.join(describe(arg) for arg in args)})"


def _plural(typehint: Any) -> str:
    return {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false"}.get(typehint, "values")


def _describe_class(typehint: type) -> str:
    """A class; jsonargparse's restricted numbers say what they are in ``_expression``, such as ``v>0``."""
    restrictions, base = getattr(typehint, "_expression", None), getattr(typehint, "_type", None)
    if isinstance(restrictions, str) and base in (int, float):
        return f"{_SIMPLE[base]} {restrictions.replace('v', '')}"
    return f"a {typehint.__name__}"
