"""The page of a run, for somebody who was not there: one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dat_cli.catalog import VARIANTS
from dat_cli.data.walk import printable
from dat_cli.report.canvas import alone, short
from dat_cli.report.confusion import MOST, draw_confusion
from dat_cli.report.curves import draw_all_curves, draw_curves
from dat_cli.report.facts import Facts, interval, read_facts
from dat_cli.report.files import data_address
from dat_cli.report.findings import ClassRow, Findings
from dat_cli.report.mistakes import draw_mistakes
from dat_cli.report.quoting import in_shell
from dat_cli.report.secrets import hide_secrets
from dat_cli.whole import whole_file

REPORT = "report.html"
CURVES, CONFUSION, MISTAKES = "curves.svg", "confusion.svg", "mistakes.png"

_NAMED = 12  # classes that the head of the page names
_SHOWN = 20  # classes of a table that would be longer, and pairs of classes
_SCORES = {"acc1": "top-1", "acc5": "top-5", "f1": "macro F1", "loss": "loss"}
_PARTS = {"val": "validation", "test": "test"}


def write_report(folder: Path) -> Path:
    """Draw ``curves.svg``, ``confusion.svg`` and ``mistakes.png``, and write ``report.html``, from what is there.

    Args:
        folder: Of a run, or of a measurement.

    Returns:
        The page.

    Raises:
        DatError: A file of the folder is damaged.
        OSError: The folder cannot be written, or the disk is full.
    """
    facts = read_facts(folder)
    curves = draw_all_curves(facts.curves) if facts.curves else None
    confusion = draw_confusion(facts.findings) if facts.findings else None
    mistakes = draw_mistakes(facts.findings) if facts.findings else None
    if curves:  # what a measurement finds under this name is somebody else's
        _replace(folder / CURVES, alone(curves).encode())
    _replace(folder / CONFUSION, alone(confusion).encode() if confusion else None)
    _replace(folder / MISTAKES, mistakes)
    _replace(folder / REPORT, render(facts, confusion).encode(errors="backslashreplace"))
    return folder / REPORT


def render(facts: Facts, confusion: str | None) -> str:
    """The page as text.

    Args:
        facts: What it tells.
        confusion: The map of confusions as SVG.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(percent=_percent, printable=printable, short=short, in_shell=in_shell, in_python=repr)
    return pages.get_template("page.html").render(
        facts=facts,
        panels=draw_curves(facts.curves) if facts.curves else [],
        confusion=confusion,
        measured=_measured(facts.findings) if facts.findings and facts.findings.images else None,
        about=_about(facts),
        versions=_versions(facts.environment),
    )


def _about(facts: Facts) -> list[tuple[str, str]]:
    """What was trained on what, as names and values."""
    option = facts.option
    variant = VARIANTS.get(facts.architecture)
    said: dict[str, object] = {}
    if variant is not None:
        paper = "DAT (2022), arXiv 2201.00520" if variant.generation == "dat" else "DAT++ (2023), arXiv 2309.01430"
        said["Network"] = f"{facts.architecture}, a {paper}"
    if facts.findings is not None:
        said["Classes"] = _first(facts.findings.classes)
    if facts.options:
        said["Trained on"] = facts.source
        said["Started from"] = option("weights") or "random numbers"
        said["Image size"] = option("data", "image_size") or option("model", "img_size")
        said["Batch"] = option("data", "batch_size")
        said["Learning rate"] = option("model", "optimizer", "lr")
    if facts.result:
        said["Weights"] = facts.weights
        said["Measured on"] = facts.source
    return [(name, printable(hide_secrets(str(value)))) for name, value in said.items() if value]


def _first(classes: tuple[str, ...]) -> str:
    more = f", and {len(classes) - _NAMED:,} more" if len(classes) > _NAMED else ""
    return ", ".join(short(name, 40) for name in classes[:_NAMED]) + more


def _measured(findings: Findings) -> Mapping[str, Any]:
    """What the page says about a measurement."""
    rows = findings.per_class()
    common = max(rows, key=lambda row: row.images)
    fits = len(rows) <= MOST
    return {
        "part": _PARTS[findings.part],
        "is_val": findings.part == "val",
        "scores": [
            (title, name, findings.scores[name])
            for name, title in _SCORES.items()
            if name in findings.scores and (name != "acc5" or len(rows) > 5)  # of five classes it says nothing
        ],
        "accuracy": findings.correct / findings.images,
        "interval": interval(findings.correct, findings.images),
        "common": common,
        "chance": common.images / findings.images,
        "weakest": [row for row in _by_recall(rows)[:3] if row.recall is not None and row.recall < 1],
        "rows": _by_recall(rows)[: None if fits else _SHOWN],
        "all_rows": [] if fits else rows,
        "empty": sum(row.images == 0 for row in rows),
        "confusions": findings.confusions(_SHOWN if not fits else _SHOWN // 2),
        "is_part": not fits,
        "mistakes": [_card(findings, index) for index in range(len(findings.mistakes))],
        "wrong": findings.images - findings.correct,
    }


def _card(findings: Findings, index: int) -> Mapping[str, Any]:
    mistake = findings.mistakes[index]
    return {
        "picture": data_address(mistake.image),
        "is_small": max(mistake.image.shape[:2]) <= 64,
        "truth": findings.classes[mistake.truth],
        "predicted": findings.classes[mistake.predicted],
        "mistake": mistake,
    }


def _by_recall(rows: list[ClassRow]) -> list[ClassRow]:
    return sorted(rows, key=lambda row: (row.recall is None, row.recall))


def _versions(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the table on where the run took place."""
    if not environment:
        return []
    code, own = (_state(environment.get(name)) for name in ("git", "dat_git"))
    versions = environment.get("versions") or {}
    said = {
        "Command": environment.get("command"),
        "Started": environment.get("started"),
        "Code": code,
        "Code of dat": own if own != code else None,
        "Python": environment.get("python"),
        "Packages": ", ".join(f"{name} {number}" for name, number in versions.items() if number),
        "Devices": ", ".join(environment.get("devices") or []) or f"{environment.get('cpus')} CPU cores",
        "CUDA": environment.get("cuda") if environment.get("devices") else None,
        "System": environment.get("platform"),
    }
    return [(name, printable(str(value))) for name, value in said.items() if value]


def _state(git: Mapping[str, Any] | None) -> str | None:
    if not git or not git.get("commit"):
        return None
    return f"{git['commit']}{' with changes that are in no commit' if git.get('changed') else ''}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _replace(path: Path, data: bytes | None) -> None:
    """Write a file; without data, remove that of an earlier time."""
    if data is None:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
