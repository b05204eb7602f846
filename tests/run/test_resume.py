"""A prediction that was interrupted anywhere gives what it would have given undisturbed, or says why it cannot."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dat_cli.errors import DataError, DatError, UsageError
from dat_cli.run.part import Part
from dat_cli.run.part_note import Note
from dat_cli.run.records import Guess, Record, RecordWriter
from dat_cli.run.resume import Remaining

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
        remaining = list(Remaining(paths, lambda: part.done))
        size = 1 if processes > 1 else BATCH  # as parts of several have it here
        batches = [remaining[start : start + size] for start in range(0, len(remaining), size)]
        with part.open(rank, processes) as stream:
            writer = RecordWriter(stream, "jsonl")
            for batch in batches[rank::processes]:
                writer.write([record(path) for path in batch])


@contextmanager
def killed(part: Part, paths: list[str] = PATHS, *, resume: bool = False) -> Iterator[Part]:
    """A command that ends in the middle, and leaves the disk as it is then."""
    files: dict[Path, bytes] = {}
    with part.claimed(paths, resume=resume):
        yield part
        files = contents(part.place.parent)
    for path, data in files.items():
        path.write_bytes(data)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


def go_on(part: Part, paths: list[str] = PATHS, *, processes: int = 1) -> bytes:
    """A command that goes on and comes to its end; the bytes of its result."""
    output = part.place.with_suffix("")
    with part.claimed(paths, resume=True):
        write(part, paths, processes=processes)
        part.gather()
        part.become(output)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    return output.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    part = part_in(tmp_path_factory.mktemp("whole"))
    with killed(part):
        write(part, PATHS)
        assert part.count() == (8, 1)
    return go_on(part_in(part.place.parent))


def test_a_run_that_is_cut_off_at_any_byte_ends_as_an_undisturbed_one(whole: bytes, tmp_path: Path) -> None:
    for size in (*range(0, len(whole), 29), len(whole) - 1, len(whole)):
        with killed(part_in(tmp_path)) as part:
            part.begin(1)
            part.place.write_bytes(whole[:size])
        with killed(part_in(tmp_path), resume=True) as part:
            assert part.done == whole[:size].count(b"\n") // BATCH * BATCH
        assert go_on(part_in(tmp_path)) == whole


@pytest.mark.parametrize("seed", range(20))
def test_several_processes_that_are_cut_off_at_any_byte_are_gone_on_with_by_any_number(
    seed: int, whole: bytes, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    done = 0
    for time in range(3):
        processes = draw.randint(1, 4)
        with killed(part_in(tmp_path, batch_size=1), resume=time > 0) as part:
            assert part.done >= done
            write(part, PATHS, processes=processes)
            written = [part.place] if processes == 1 else list(tmp_path.glob("out.jsonl.part.[0-9]"))
            done = part.done if processes > 1 else 0
            for place in written:
                place.write_bytes(place.read_bytes()[: draw.randint(0, place.stat().st_size)])
    assert go_on(part_in(tmp_path, batch_size=1), processes=draw.randint(1, 4)) == whole


def test_putting_together_can_be_interrupted_too(whole: bytes, tmp_path: Path) -> None:
    with killed(part_in(tmp_path, batch_size=1)) as part:
        write(part, PATHS, processes=2)
    files = contents(tmp_path)
    with killed(part_in(tmp_path, batch_size=1), resume=True):
        pass
    for path, data in files.items():  # killed before the shares were removed, but with some of the part written
        if not path.name.endswith(".part"):
            path.write_bytes(data)
    assert go_on(part_in(tmp_path, batch_size=1)) == whole


def test_results_of_a_process_that_are_gone_are_missed(tmp_path: Path) -> None:
    with killed(part_in(tmp_path)) as part:
        write(part, PATHS, processes=2)
        (tmp_path / "out.jsonl.part.1").unlink()
        with pytest.raises(
            DatError, match=r"part\.1, which held a part of the results, is gone; remove .*out\.jsonl\.part"
        ):
            part.gather()


def test_nothing_is_there_to_go_on_with_at_first(whole: bytes, tmp_path: Path) -> None:
    assert go_on(part_in(tmp_path)) == whole


@pytest.mark.parametrize(
    ("made_by", "said"),
    [
        ({"weights": "1" * 64}, f"with weights {'0' * 64}, not with weights {'1' * 64}; give what it was made with"),
        ({"top_k": 3}, "with top_k 5, not with top_k 3"),
        ({"save_images": "copies"}, "without save_images, not with save_images copies"),
    ],
)
def test_other_weights_or_options_are_refused(made_by: dict[str, object], said: str, tmp_path: Path) -> None:
    with killed(part_in(tmp_path)) as part:
        write(part, PATHS)
    refuses(UsageError, said, part_in(tmp_path, made_by={**MADE_BY, **made_by}))


def refuses(kind: type[DatError], said: str, part: Part, paths: list[str] = PATHS, *, resume: bool = True) -> None:
    """It does, and changes nothing."""
    before = {path: data for path, data in contents(part.place.parent).items() if path.suffix != ".lock"}
    with pytest.raises(kind, match=said), part.claimed(paths, resume=resume):
        pytest.fail("the part was given")
    assert {path: data for path, data in contents(part.place.parent).items() if path.suffix != ".lock"} == before


@pytest.mark.parametrize("paths", [["photos/new.png", *PATHS], PATHS[:4], [*PATHS[:6], *PATHS[7:]]])
def test_other_images_are_refused(paths: list[str], tmp_path: Path) -> None:
    with killed(part_in(tmp_path)) as part:
        write(part, PATHS)
    refuses(DataError, "is another than before", part_in(tmp_path), paths)


def test_images_that_came_after_those_that_are_done_are_welcome(tmp_path: Path) -> None:
    with killed(part_in(tmp_path)) as part:
        write(part, PATHS)
    paths = [*PATHS, "photos/z.png"]
    with killed(part_in(tmp_path), paths, resume=True) as part:
        assert list(Remaining(paths, lambda: part.done)) == [*PATHS[6:], "photos/z.png"]


def test_another_batch_size_may_go_on(whole: bytes, tmp_path: Path) -> None:
    with killed(part_in(tmp_path, batch_size=4)) as part:
        write(part, PATHS[:5])
    with killed(part_in(tmp_path, batch_size=2), resume=True) as part:
        assert part.done == 4
    assert go_on(part_in(tmp_path, batch_size=2)) == whole


@pytest.mark.parametrize("note", [None, "", "[]", "{}", '{"made_by": 3}', '{"batch_size": 0}', '{"other": 1}'])
def test_a_part_of_which_nobody_knows_what_made_it_is_refused(note: str | None, tmp_path: Path) -> None:
    with killed(part_in(tmp_path)) as part:
        write(part, PATHS)
    note_place = tmp_path / "out.jsonl.part.json"
    note_place.unlink()
    if note is not None:
        note_place.write_text(note)
    refuses(UsageError, "cannot go on|without top_k", part_in(tmp_path))


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    with killed(part_in(tmp_path)) as part:
        write(part, PATHS)
    said = r"go on with --resume true, or remove .*out\.jsonl\.part to begin anew"
    refuses(UsageError, said, part_in(tmp_path), resume=False)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_command_that_ends_before_its_first_result_leaves_nothing(processes: int, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), part_in(tmp_path).claimed(PATHS, resume=False):
        raise KeyboardInterrupt
    part = part_in(tmp_path)
    with part.claimed(PATHS, resume=False):
        write(part, [], processes=processes)
    assert not list(tmp_path.iterdir())


_OTHER = """
import sys
from pathlib import Path
from dat_cli.errors import DatError
from dat_cli.run.part import Part
for resume in (False, True):
    try:
        with Part.beside(Path(sys.argv[1]), batch_size=3, made_by={}).claimed([], resume=resume):
            print("taken")
    except DatError as error:
        print(error)
"""


def test_a_part_belongs_to_one_command_from_before_its_first_result_to_its_end(whole: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    def other() -> list[str]:
        command = [sys.executable, "-c", _OTHER, str(output)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    busy = [f"another command is writing {output}.part; wait for it, or stop it"] * 2
    part = part_in(tmp_path, batch_size=1)
    with part.claimed(PATHS, resume=False):
        assert other() == busy
        write(part, PATHS, processes=2)
        part.count()
        assert other() == busy
        part.gather()
        part.become(output)
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    (tmp_path / "out.jsonl.part.lock").touch()  # of one that was killed
    assert other() == ["taken", "taken"]


def test_the_note_says_what_made_the_part(tmp_path: Path) -> None:
    with part_in(tmp_path).claimed(PATHS, resume=False):
        part = part_in(tmp_path)
        part.begin(2)
        assert Note.read(tmp_path / "out.jsonl.part.json") == Note(MADE_BY, BATCH, 2, 0)
