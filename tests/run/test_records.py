"""What is written of each image, in every form."""

from __future__ import annotations

import csv
import io
import json

import pytest

from dat_cli.run.records import Format, Guess, Record, RecordWriter, is_failure, line_begins

RECORDS = (
    Record(0, 'a "b",\n.jpg', (Guess("cat", 1, 0.75), Guess("犬", 0, 0.25))),
    Record(1, "caf\udce9.png", error="cannot read caf\udce9.png"),
    Record(2, "long-name.png", (Guess("a", 2, 1.0), Guess("cat", 1, 0.0))),
)


def written(format: Format, *batches: tuple[Record, ...]) -> str:  # noqa: A002 - the option's name
    stream = io.StringIO()
    writer = RecordWriter(stream, format)
    for batch in batches:
        writer.write(batch)
    writer.finish()
    stream.getvalue().encode()  # raises for what is not valid Unicode
    return stream.getvalue()


def test_json_is_one_document_however_many_batches() -> None:
    records = json.loads(written("json", RECORDS[:1], RECORDS[1:]))
    assert records[0] == {
        "path": 'a "b",\n.jpg',
        "predictions": [
            {"label": "cat", "index": 1, "probability": 0.75},
            {"label": "犬", "index": 0, "probability": 0.25},
        ],
    }
    assert records[1] == {"path": r"caf\xe9.png", "error": r"cannot read caf\xe9.png"}
    assert len(records) == 3


def test_json_of_nothing_is_an_empty_list() -> None:
    assert json.loads(written("json")) == []


def test_json_lines_are_one_object_a_line() -> None:
    lines = written("jsonl", RECORDS).splitlines()
    assert [json.loads(line)["path"] for line in lines] == ['a "b",\n.jpg', r"caf\xe9.png", "long-name.png"]


def test_csv_has_one_row_a_guess() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", RECORDS))))
    assert rows[1] == {"path": 'a "b",\n.jpg', "rank": "2", "label": "犬", "probability": "0.25"}
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]


def test_csv_has_one_row_a_guess_whatever_is_in_a_name() -> None:
    for name in ("a\rb.png", "a\nb.png", "a\r\nb.png", "a,b.png", 'a"b.png', "b\r"):
        text = written("csv", (Record(0, name, (Guess("cat", 1, 1.0),)),))
        (row,) = csv.DictReader(io.StringIO(text, newline=""))
        assert (row["path"], row["label"]) == (name, "cat")
        assert text.endswith(",cat,1.0\n")


def test_the_table_is_aligned_and_one_line_a_guess() -> None:
    assert written("table", RECORDS).splitlines() == [
        "image          class             probability",
        r'a "b",\n.jpg   cat                    75.0 %',
        "               犬                     25.0 %",
        r"caf\xe9.png    (cannot be read)",
        "long-name.png  a                     100.0 %",
        "               cat                     0.0 %",
    ]


def test_an_image_without_a_probable_class_stays_in_every_format() -> None:
    none = (Record(0, "a.png"),)
    assert json.loads(written("json", none)) == [{"path": "a.png", "predictions": []}]
    assert json.loads(written("jsonl", none)) == {"path": "a.png", "predictions": []}
    (row,) = csv.DictReader(io.StringIO(written("csv", none)))
    assert row == {"path": "a.png", "rank": "", "label": "", "probability": ""}
    assert written("table", none).splitlines()[1] == "a.png  (no class is probable enough)"


def test_a_line_of_json_gives_its_record_back_and_is_known_by_its_path_and_failure() -> None:
    paths = [*(record.path for record in RECORDS), '", "error": "']
    records = [*RECORDS, Record(3, paths[3], (Guess('", "error": "', 0, 1.0),))]
    for record, path, line in zip(records, paths, written("jsonl", tuple(records)).encode().splitlines(), strict=True):
        found = Record.from_line(record.number, line)
        assert found.to_dict() == record.to_dict()
        assert line.startswith(line_begins(path))
        assert not line.startswith(line_begins(path[:-1]))
        assert is_failure(line) == (record.error is not None)


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
def test_failures_are_counted(format: Format) -> None:  # noqa: A002 - the option's name
    writer = RecordWriter(io.StringIO(), format)
    writer.write(RECORDS)
    assert (writer.written, writer.failed) == (3, 1)
