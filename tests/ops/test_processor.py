"""Which processor this is: from what Linux says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dat_cli.ops import processor

FACTS = "processor\t: 0\nvendor_id\t: {maker}\ncpu family\t: {family}\nmodel\t\t: 2\nmodel name\t: X\n" * 2


@pytest.mark.parametrize(
    ("maker", "family", "is_of_intel", "is_zen_5"),
    [
        ("GenuineIntel", 6, True, False),
        ("AuthenticAMD", 25, False, False),
        ("AuthenticAMD", 26, False, True),
        ("HygonGenuine", 24, False, False),
    ],
)
def test_makers_and_families_are_told_apart(
    maker: str, family: int, is_of_intel: bool, is_zen_5: bool, file: Path
) -> None:
    file.write_text(FACTS.format(maker=maker, family=family))
    assert (processor.is_of_intel(), processor.is_of_amd_since_zen_5()) == (is_of_intel, is_zen_5)


@pytest.mark.parametrize("facts", [None, "", "Processor\t: ARMv8\nCPU architecture: 8\n", "cpu family\t: many\n"])
def test_what_does_not_say_so_is_neither(facts: str | None, file: Path) -> None:
    if facts is not None:
        file.write_text(facts)
    assert not processor.is_of_intel()
    assert not processor.is_of_amd_since_zen_5()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processor, "_FACTS", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor, "_maker_and_family", processor._maker_and_family.__wrapped__)
    return tmp_path / "cpuinfo"
