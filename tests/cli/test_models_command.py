"""``dat models``: the published figures, for people and for programs."""

import csv
import io
import json

import pytest

from dat_cli.catalog import VARIANTS, list_models
from dat_cli.cli.main import main


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["models", *args]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def test_the_table_has_a_line_for_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    header, *lines = printed(capsys).splitlines()
    assert header.split("  ")[0] == "name"
    assert [line.split()[0] for line in lines] == list_models()
    assert lines[0].split() == ["dat_tiny", "28.32", "4.56", "224", "82.0", "yes"]
    assert lines[list_models().index("dat_p_tiny")].split()[-2:] == ["-", "no"]


def test_the_table_is_plain_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = printed(capsys)
    assert text.isascii()
    assert "\x1b" not in text
    assert "dat_pp_base_384           94.12     49.50   384       85.9  yes" in text


def test_json_has_numbers_and_null(capsys: pytest.CaptureFixture[str]) -> None:
    records = {record["name"]: record for record in json.loads(printed(capsys, "--format", "json"))}
    assert list(records) == list_models()
    for name, record in records.items():
        published = VARIANTS[name].published
        assert (record["parameters_m"], record["macs_g"]) == (published.parameters, published.macs)
        assert (record["top1"], record["weights"]) == (published.top1, published.weights is not None)
        assert record["image_size"] == VARIANTS[name].image_size


def test_csv_says_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "--format", "csv"))))
    records = json.loads(printed(capsys, "--format", "json"))
    for row, record in zip(rows, records, strict=True):
        assert row == {
            key: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in record.items()
        }


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--format", "xml"], "--format: invalid choice: 'xml'"),
        (["--format"], "--format: expected one argument"),
        (["--frmat", "json"], "unknown option --frmat; did you mean --format?"),
        (["--form", "json"], "unknown option --form; did you mean --format?"),
        (["dat_tiny"], "unexpected argument 'dat_tiny'"),
    ],
)
def test_wrong_usage_is_one_line(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *args]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("dat: error: ")
    assert told.err.count("\n") == 1
    assert words in told.err
