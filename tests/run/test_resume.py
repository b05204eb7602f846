"""A prediction that was interrupted anywhere gives what it would have given undisturbed, or says why it cannot."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dat_cli.errors import DataError, DatError, UsageError
from dat_cli.run.part import Part
from dat_cli.run.part_note import Note
from dat_cli.run.records import Guess, Record, RecordWriter
from dat_cli.run.resume import Remaining, go_on, refuse_to_overwrite

PATHS = [f"photos/{name}.png" for name in ("a", "ä", "c\n", "d\udce9", '"e"', "f", "g", "h")]
BATCH = 3
MADE_BY: dict[str, object] = {"weights": "0" * 64, "top_k": 5}


def part_in(folder: Path, *, batch_size: int = BATCH, made_by: dict[str, object] = MADE_BY) -> Part:
    return Part.beside(folder / "out.jsonl", batch_size=batch_size, made_by=made_by)


def record(path: str) -> Record:
    if path.endswith("f.png"):
        return Record(0, path, error=f"cannot read {path}")
    return Record(0, path, (Guess(f"the class of {path[:8]}", 1, 0.5),))


def write(part: Part, paths: list[str], *, processes: int = 1) -> None:
    """What the processes of a command do, one after the other, up to the end of their work."""
    part.begin(processes)
    for rank in range(processes):
        remaining = list(Remaining(paths, part))
        size = part.note.batch_size
        batches = [remaining[start : start + size] for start in range(0, len(remaining), size)]
        with part.open(rank, processes) as stream:
            writer = RecordWriter(stream, "jsonl")
            for batch in batches[rank::processes]:
                writer.write([record(path) for path in batch])


def finish(part: Part) -> bytes:
    with part.place.open("r+b") as file:
        part.gather(file)
    output = part.place.with_suffix("")
    part.become(output)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    return output.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    part = part_in(tmp_path_factory.mktemp("whole"))
    write(part, PATHS)
    assert part.count() == (8, 1)
    return finish(part)


def test_a_run_that_is_cut_off_at_any_byte_ends_as_an_undisturbed_one(whole: bytes, tmp_path: Path) -> None:
    for size in (*range(0, len(whole), 29), len(whole) - 1, len(whole)):
        part = part_in(tmp_path)
        part.begin(1)
        part.place.write_bytes(whole[:size])
        resumed = part_in(tmp_path)
        go_on(resumed, PATHS)
        assert resumed.done == whole[:size].count(b"\n") // BATCH * BATCH
        write(resumed, PATHS)
        assert finish(resumed) == whole


@pytest.mark.parametrize("seed", range(20))
def test_several_processes_that_are_cut_off_at_any_byte_are_gone_on_with_by_any_number(
    seed: int, whole: bytes, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    part = part_in(tmp_path, batch_size=1)
    for _ in range(3):
        processes = draw.randint(1, 4)
        write(part, PATHS, processes=processes)
        written = [part.place] if processes == 1 else list(tmp_path.glob("out.jsonl.part.[0-9]"))
        for place in written:
            place.write_bytes(place.read_bytes()[: draw.randint(0, place.stat().st_size)])
        if draw.random() < 0.3:
            written[0].unlink()
            part.place.touch()
        before = part.done
        part = part_in(tmp_path, batch_size=1)
        go_on(part, PATHS)
        assert part.done >= before or processes == 1
    write(part, PATHS, processes=draw.randint(1, 4))
    assert finish(part) == whole


def test_putting_together_can_be_interrupted_too(whole: bytes, tmp_path: Path) -> None:
    write(part_in(tmp_path), PATHS, processes=2)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    go_on(part_in(tmp_path), PATHS)
    for path, data in files.items():  # killed before the shares were removed, but with some of the part written
        if not path.name.endswith(".part"):
            path.write_bytes(data)
    part = part_in(tmp_path)
    go_on(part, PATHS)
    write(part, PATHS)
    assert finish(part) == whole


def test_nothing_is_there_to_go_on_with_at_first(whole: bytes, tmp_path: Path) -> None:
    part = part_in(tmp_path)
    go_on(part, PATHS)
    assert part.done == 0
    write(part, PATHS)
    assert finish(part) == whole


@pytest.mark.parametrize(
    ("made_by", "said"),
    [
        ({"weights": "1" * 64}, f"weights {'0' * 64}, not weights {'1' * 64}; give what it was made with"),
        ({"top_k": 3}, "top_k 5, not top_k 3"),
        ({"crops": 5}, "crops None, not crops 5"),
    ],
)
def test_other_weights_or_options_are_refused(made_by: dict[str, object], said: str, tmp_path: Path) -> None:
    write(part_in(tmp_path), PATHS)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=said):
        go_on(part_in(tmp_path, made_by={**MADE_BY, **made_by}), PATHS)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("paths", [["photos/new.png", *PATHS], PATHS[:4], [*PATHS[:6], *PATHS[7:]]])
def test_other_images_are_refused(paths: list[str], tmp_path: Path) -> None:
    write(part_in(tmp_path), PATHS)
    before = part_in(tmp_path).place.read_bytes()
    with pytest.raises(DataError, match="is another than before"):
        go_on(part_in(tmp_path), paths)
    assert part_in(tmp_path).place.read_bytes() == before


def test_images_that_came_after_those_that_are_done_are_welcome(tmp_path: Path) -> None:
    write(part_in(tmp_path), PATHS)
    part = part_in(tmp_path)
    go_on(part, [*PATHS, "photos/z.png"])
    assert list(Remaining([*PATHS, "photos/z.png"], part)) == [*PATHS[6:], "photos/z.png"]


def test_another_batch_size_may_go_on(whole: bytes, tmp_path: Path) -> None:
    write(part_in(tmp_path, batch_size=4), PATHS[:5])
    part = part_in(tmp_path, batch_size=2)
    go_on(part, PATHS)
    assert part.done == 4
    write(part, PATHS)
    assert finish(part) == whole


@pytest.mark.parametrize("note", [None, "", "[]", "{}", '{"made_by": 3}', '{"batch_size": 0}', '{"other": 1}'])
def test_a_part_of_which_nobody_knows_what_made_it_is_refused(note: str | None, tmp_path: Path) -> None:
    part = part_in(tmp_path)
    write(part, PATHS)
    part.note_place.unlink()
    if note is not None:
        part.note_place.write_text(note)
    with pytest.raises(UsageError):
        go_on(part_in(tmp_path), PATHS)
    assert part.place.stat().st_size


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    refuse_to_overwrite(part_in(tmp_path))
    write(part_in(tmp_path), PATHS)
    with pytest.raises(UsageError, match=r"go on with --resume true, or remove .*out\.jsonl\.part to begin anew"):
        refuse_to_overwrite(part_in(tmp_path))


def test_two_commands_do_not_write_the_same(tmp_path: Path) -> None:
    write(part_in(tmp_path), PATHS)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(part_in(tmp_path).place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for use in (lambda part: go_on(part, PATHS), lambda part: part.begin(1)):
            with pytest.raises(DatError, match="another command is writing"):
                use(part_in(tmp_path))
        other.communicate("\n")
    go_on(part_in(tmp_path), PATHS)


def test_the_note_says_what_made_the_part(tmp_path: Path) -> None:
    part = part_in(tmp_path)
    part.begin(2)
    assert json.loads(part.note_place.read_text())["made_by"] == MADE_BY
    assert Note.read(part.note_place) == Note(MADE_BY, BATCH, 2, 0)
