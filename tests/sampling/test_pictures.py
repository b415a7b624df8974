"""Pictures keep where they come from, overwrite nothing, and make readable sheets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cones.errors import InputError
from cones.sampling.pictures import Picture, contact_sheet, read_provenance, save_pictures


def picture(prompt: str = "a photo of a robot", seed: int = 0, **more: str) -> Picture:
    text = {"prompt": prompt, "seed": str(seed), "cones": "0.1.0", **more}
    return Picture(Image.new("RGB", (8, 8), "red"), prompt, seed, text)


@pytest.mark.parametrize("prompt", ["a robot", "ein Bär, naïve", "ロボット\n\t🤖", "é́", "a\0b", ""])
def test_provenance_is_read_back(tmp_path: Path, prompt: str) -> None:
    saved = picture(prompt, parameters=f"{prompt}\nSteps: 3")
    (path,) = save_pictures([saved], tmp_path)
    assert read_provenance(path) == saved.provenance
    assert Image.open(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("prompt", "seed", "name"),
    [
        ("a photo of a robot", 0, "0000-seed0-a-photo-of-a-robot.png"),
        ('A "sks" robot: ../../etc/CON?*|<>', 7, "0000-seed7-a-sks-robot-etc-con.png"),
        ("ein Bär", 1, "0000-seed1-ein-bar.png"),
        ("ロボット", 1, "0000-seed1.png"),
        ("a " * 200, 1, "0000-seed1" + "-a" * 30 + ".png"),
    ],
)
def test_names_suit_every_file_system(tmp_path: Path, prompt: str, seed: int, name: str) -> None:
    assert save_pictures([picture(prompt, seed)], tmp_path) == [tmp_path / name]


def test_numbers_go_on_and_nothing_is_overwritten(tmp_path: Path) -> None:
    first = save_pictures([picture(), picture()], tmp_path / "new" / "out")
    second = save_pictures([picture()], tmp_path / "new" / "out")
    assert [path.name[:5] for path in (*first, *second)] == ["0000-", "0001-", "0002-"]
    assert sorted((tmp_path / "new" / "out").iterdir()) == [*first, *second]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("mine")
    with pytest.raises(InputError) as error:
        save_pictures([picture()], path)
    assert str(error.value) == (
        f"{path}: is no folder that can be written (File exists); name another place"
    )
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"is no folder that can be written \(Not a directory\)"):
        save_pictures([picture()], tmp_path / "file" / "out")


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:  # root may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cones.files.writing.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"is no folder that can be written \(Permission denied\)"):
        save_pictures([picture()], tmp_path)


def test_what_has_no_provenance_is_refused(tmp_path: Path) -> None:
    plain, text = tmp_path / "plain.png", tmp_path / "text.png"
    Image.new("RGB", (8, 8)).save(plain)
    text.write_text("no picture")
    for path, reason in (
        (plain, "expected a picture that cones has drawn, found none of its text in it"),
        (text, "cannot be read (no PNG file, or a damaged one)"),
        (tmp_path / "none.png", "cannot be read (No such file or directory)"),
        (tmp_path, "cannot be read (Is a directory)"),
    ):
        with pytest.raises(InputError) as error:
            read_provenance(path)
        assert str(error.value).startswith(f"{path}: {reason}")


def test_a_sheet_shows_every_picture(tmp_path: Path) -> None:
    colours = [["red", "lime"], ["blue"]]
    rows = [[Image.new("RGB", (10, 8), colour) for colour in row] for row in colours]
    sheet = contact_sheet(rows, ["photographs", "base model"], ["beach", "forest"], scale=4)
    pixels = np.asarray(sheet).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert (pixels == colour).all(1).sum() == 40 * 32
    assert (pixels == 0).all(1).any()  # the labels
    assert sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (255, 255, 255)


def test_a_sheet_of_one_picture_without_labels() -> None:
    sheet = contact_sheet([[Image.new("RGB", (10, 10), "red")]], scale=1)
    assert sheet.size == (22, 22)
    assert sheet.crop((6, 6, 16, 16)).getcolors() == [(100, (255, 0, 0))]


@pytest.mark.parametrize(("side", "cell"), [(16, 128), (200, 200), (512, 256)])
def test_a_sheet_is_large_enough_and_not_too_large(side: int, cell: int) -> None:
    assert contact_sheet([[Image.new("RGB", (side, side))]]).size == (cell + 12, cell + 12)


def test_long_labels_are_wrapped() -> None:
    row = [Image.new("RGB", (64, 64))]
    words = "a photo of a sks robot in the snow at night"
    wrapped = contact_sheet([row], column_labels=[words], scale=1)
    plain = contact_sheet([row], column_labels=["snow"], scale=1)
    assert wrapped.width == plain.width and wrapped.height > plain.height + 30


def test_a_sheet_of_many_pictures_can_be_opened() -> None:
    row = [Image.new("RGB", (64, 64))] * 100
    width, height = contact_sheet([row] * 20, scale=1000).size
    assert width * height < 89_000_000 and width > 100 * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "expected at least one picture, found none"),
        (([[]],), "expected at least one picture, found none"),
        (([[Image.new("RGB", (4, 4))]], ["a", "b"]), "expected 1 row labels or none, found 2"),
        (([[Image.new("RGB", (4, 4))]], [], [], 0), "scale: expected more than 0, found 0"),
    ],
)
def test_an_impossible_sheet_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError) as error:
        contact_sheet(*arguments)  # type: ignore[arg-type]
    assert str(error.value) == f"contact sheet: {message}"
