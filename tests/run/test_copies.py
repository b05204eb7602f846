"""Where copies go: each image its own, none over anything that is somebody's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from dat_cli.errors import UsageError
from dat_cli.run.batches import Batch, File
from dat_cli.run.copies import Copies
from dat_cli.run.copy_places import MARK, check_copies_folder, copy_name

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here" / "photos" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def picture(path: str | Path, colour: str = "red", size: tuple[int, int] = (200, 150)) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, format=None if Path(path).suffix != ".odd" else "PNG")
    return str(path)


def save(folder: Path, paths: list[str], *, threshold: float = 0.0, errors: tuple[int, ...] = ()) -> Copies:
    """Run the callback as a trainer would, with the first class of 90 % for each image that could be read."""
    files = [File(index, path, "damaged" if index in errors else None) for index, path in enumerate(paths)]
    read = len(files) - len(errors)
    outputs: Tensor = torch.tensor([[0.9, 0.1]]).repeat(read, 1) if read else torch.zeros(0, 0)
    copies = Copies(folder, CLASSES, threshold=threshold)
    trainer: object = None
    copies.on_predict_batch_end(trainer, trainer, outputs, Batch(torch.zeros(read), files), 0)  # type: ignore[arg-type]  # neither is looked at
    copies.teardown(trainer, trainer, "predict")  # type: ignore[arg-type]
    return copies


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_are_kept_and_kinds_that_are_not_written_become_png(here: Path) -> None:
    paths = [picture(f"photos/{name}") for name in ("a.jpg", "sub/a.jpg", "sub/b.PNG", "c.bmp", "d.webp", "e.odd")]
    save(Path("out"), paths)
    assert names(here / "out") == [
        MARK,
        "photos/a.jpg",
        "photos/c.bmp.png",
        "photos/d.webp",
        "photos/e.odd.png",
        "photos/sub/a.jpg",
        "photos/sub/b.PNG",
    ]
    kinds = {name: Image.open(here / "out" / "photos" / name).format for name in ("a.jpg", "c.bmp.png", "d.webp")}
    assert kinds == {"a.jpg": "JPEG", "c.bmp.png": "PNG", "d.webp": "WEBP"}


def test_a_copy_is_upright_and_its_original_unchanged() -> None:
    image = Image.new("RGB", (400, 300), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save("photos/turned.jpg", exif=exif)
    before = Path("photos/turned.jpg").read_bytes()
    save(Path("out"), ["photos/turned.jpg"])
    with Image.open("out/photos/turned.jpg") as copy:
        assert copy.size == (300, 400)
        assert copy.getexif().get(0x0112, 1) == 1
    assert Path("photos/turned.jpg").read_bytes() == before


def test_no_two_images_have_one_name(here: Path) -> None:
    outside = picture(here.parent / "photos" / "a.png")
    inside = picture(Path(str(here) + str(here.parent / "photos" / "a.png")))  # below here, with the other's whole path
    paths = [outside, inside, "../here/photos/a.png", "photos/a.bmp", "photos/a.bmp.png", "-", "standard-input.png"]
    paths += ["http://x.org/a.png?size=1", "http://x.org/a.png?size=2", "https://x.org/../../a.png", "http://x.org"]
    for path in ("photos/a.png", "photos/a.bmp", "photos/a.bmp.png"):
        picture(path)
    found = [copy_name(path) for path in paths]
    assert len(set(found)) == len(paths)
    assert not any(name.is_absolute() or ".." in name.parts for name in found)
    assert copy_name("../here/photos/a.png") == copy_name("photos/a.png") == Path("photos/a.png")
    assert copy_name("http://user:secret@x.org/a/b.jpg").parts[:2] == ("x.org", "a")


def test_images_that_cannot_be_read_have_no_copy(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [picture("photos/a.png"), "photos/damaged.png", picture("photos/b.png")]
    assert save(Path("out"), paths, errors=(1,)).failed == 0
    assert names(here / "out") == [MARK, "photos/a.png", "photos/b.png"]
    assert save(Path("out"), ["photos/gone.png"]).failed == 1
    assert "no copy: cannot read photos/gone.png" in caplog.text


def test_names_as_long_as_the_disk_takes_have_copies_of_their_own(here: Path) -> None:
    long = ["photos/" + "猫" * 82 + ".png", "photos/" + "x" * 246 + "1.bmp", "photos/" + "x" * 246 + "2.bmp"]
    alike = [f"photos/{'y' * 200}{number}.png" for number in range(8)]  # written at once by several threads
    address = "http://x.org/" + "猫" * 150 + "/" + "%E7%8C%AB" * 200 + ".jpg"
    assert save(Path("out"), [picture(path) for path in (*long, *alike)]).failed == 0
    assert {*names(here / "out")} > {long[0], *alike}
    assert len(names(here / "out")) == 1 + len(long) + len(alike)
    parts = [part for path in (*long, address) for part in copy_name(path).parts]
    assert max(len(part.encode()) for part in parts) <= 255


def test_a_copy_that_no_file_can_hold_is_named_and_the_rest_goes_on(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "out" / "photos" / "a.png").mkdir(parents=True)
    (here / "out" / "photos" / "sub").write_text("a file where a folder would be")
    wide = picture("photos/wide.png", size=(16_400, 1))
    Path(wide).rename("photos/wide.webp")  # a kind with a largest size
    paths = [picture("photos/a.png"), picture("photos/sub/b.png"), "photos/wide.webp", picture("photos/c.png")]
    assert save(Path("out"), paths).failed == 3
    assert "no copy: cannot write out/photos/a.png: it is a folder" in caplog.text
    assert "no copy: cannot write out/photos/sub/b.png (" in caplog.text
    assert "no copy: cannot write out/photos/wide.webp (" in caplog.text
    assert Path("out/photos/c.png").is_file()


def test_a_disk_that_takes_nothing_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = picture("photos/a.png")
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(Path("out"), [path])


def test_a_class_below_the_threshold_is_not_named() -> None:
    paths = [picture("photos/a.png")]
    for folder, threshold in (("sure", 0.5), ("just", 0.9), ("unsure", 0.95)):  # the class has 0.9 in single precision
        save(Path(folder), paths, threshold=threshold)
    sure, just, unsure = (Path(name, "photos/a.png").read_bytes() for name in ("sure", "just", "unsure"))
    assert sure == just != unsure


def test_copies_replace_older_copies_and_never_what_a_link_leads_to(here: Path) -> None:
    paths = [picture("photos/a.png"), picture("photos/b.png")]
    save(Path("out"), paths)
    original = Path("photos/b.png").read_bytes()
    Path("out/photos/b.png").unlink()
    Path("out/photos/b.png").symlink_to(here / "photos/b.png")
    save(Path("out"), paths)
    assert Path("photos/b.png").read_bytes() == original
    assert not Path("out/photos/b.png").is_symlink()
    (here / "out" / "elsewhere").symlink_to(here / "photos")
    picture("elsewhere/a.png")
    with pytest.raises(UsageError, match="leads out of the folder of copies"):
        save(Path("out"), ["elsewhere/a.png"])


def test_an_image_in_the_folder_of_copies_is_refused() -> None:
    save(Path("out"), [picture("photos/a.png")])
    with pytest.raises(UsageError, match="lies in the folder of copies"):
        save(Path("out"), ["out/photos/a.png"])


@pytest.mark.parametrize(
    ("folder", "images", "said"),
    [
        ("photos", [], "has files that are no copies of dat"),
        ("photos/a.png", [], "is not a folder"),
        ("new", ["."], "are in one another"),
        ("photos/sub", ["photos"], "are in one another"),
        ("photos/sub", ["photos/sub"], "are in one another"),
    ],
)
def test_a_folder_that_is_not_for_copies_is_refused(folder: str, images: list[str], said: str) -> None:
    picture("photos/a.png")
    with pytest.raises(UsageError) as caught:
        check_copies_folder(Path(folder), images)
    assert said in str(caught.value)


def test_a_new_folder_an_empty_one_and_one_of_copies_will_do() -> None:
    Path("empty").mkdir()
    save(Path("old"), [picture("photos/a.png")])
    for folder in ("new", "empty", "old"):
        check_copies_folder(Path(folder), ["photos", "photos/*.png", "http://x.org/a.png", "-"])
