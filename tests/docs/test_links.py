from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_link_of_the_readme_into_the_repository_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_every_file_that_the_pages_name_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"`((?:dat_cli|docs|configs|tests)/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8"))
    }
    assert named
    assert sorted((page, path) for page, path in named if not (ROOT / path).is_file()) == []


def test_every_file_of_the_layout_on_the_design_page_exists() -> None:
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    layout = page[page.index("```\ndat_cli/") :].split("```")[1].strip().splitlines()
    folders: list[str] = []
    missing = []
    for line in layout:
        name, _, said = line.strip().partition(" ")
        folders[(len(line) - len(line.lstrip())) // 2 :] = [name]
        beside = ROOT.joinpath(*folders) if name.endswith("/") else ROOT.joinpath(*folders[:-1])
        files = [name, *re.findall(r"[a-z_]+\.(?:py|yaml)", said)]
        missing += [str(beside / file) for file in files if not (beside / file).exists() and file != name]
        missing += [] if ROOT.joinpath(*folders).exists() else [line]
    assert missing == []
