"""Subjects as folders: which count, in what order, and what class each is of."""

from pathlib import Path

import pytest
from PIL import Image

from cones.errors import InputError
from cones.subjects.folders import class_noun, own_token, photographs_hash, subject_folders


def photograph(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path, "PNG")


def test_a_subject_is_a_folder_with_photographs_directly_in_it(tmp_path: Path) -> None:
    for name in ("toys/robot-10/a.png", "toys/robot-9/a.png", "toys/robot-9/night/b", "cat/c.png"):
        photograph(tmp_path / name)
    photograph(tmp_path / ".hidden" / "a.png")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "LICENSE").write_text("no photograph")
    (tmp_path / "texts" / "notes.txt").write_text("nor this")
    names = [str(folder.relative_to(tmp_path)) for folder in subject_folders(tmp_path)]
    assert names == ["cat", "toys/robot-9", "toys/robot-9/night", "toys/robot-10"]


def test_the_tree_itself_may_be_a_subject(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    photograph(tmp_path / "more" / "a.png")
    assert subject_folders(tmp_path) == [tmp_path, tmp_path / "more"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    photograph(tmp_path / "elsewhere" / "robot" / "a.png")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "robot").symlink_to(tmp_path / "elsewhere" / "robot")
    (tree / "up").symlink_to(tree)
    assert subject_folders(tree) == [tree / "robot"]


def test_a_folder_that_cannot_be_read_is_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph(tmp_path / "cat" / "a.png")
    (tmp_path / "closed").mkdir()
    listed = Path.iterdir

    def guarded(self: Path) -> object:
        if self.name == "closed":
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", guarded)
    assert subject_folders(tmp_path) == [tmp_path / "cat", tmp_path / "closed"]


def test_a_tree_without_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: is no folder; give one that holds a folder per"):
        subject_folders(tmp_path / "none")
    with pytest.raises(InputError, match="expected folders with photographs, such as robot-1"):
        subject_folders(tmp_path)


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        ("robot-1", "robot"),
        ("wooden-chair-2", "wooden chair"),
        ("tea_pot", "tea pot"),
        ("dog6", "dog"),
        ("10_sks robot", "robot"),
        ("10_sks_robot", "robot"),
        ("5_zwx tea pot", "tea pot"),
        ("1_robot", "robot"),
        ("20_tea-pot", "tea pot"),
        ("2024", ""),
    ],
)
def test_a_name_tells_the_class(name: str, noun: str) -> None:
    assert class_noun(Path("photos") / name) == noun


@pytest.mark.parametrize(
    ("name", "token"),
    [("10_sks robot", "sks"), ("10_sks_robot", "sks"), ("1_robot", None), ("wooden-chair-2", None)],
)
def test_kohyas_name_tells_the_token(name: str, token: str | None) -> None:
    assert own_token(Path("img") / name) == token


def test_kohyas_class_images_are_no_subject(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("img/10_sks robot", "reg/1_robot", "reg_images/1_mug", "regular/1_cat"):
        photograph(tmp_path / name / "a.png")
    names = [str(folder.relative_to(tmp_path)) for folder in subject_folders(tmp_path)]
    assert names == ["img/10_sks robot", "regular/1_cat"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and all("--class_data_dir" in line for line in told)
    assert told[0].startswith(f"{tmp_path / 'reg' / '1_robot'}: was left out: kohya's class")


def test_masks_are_no_subject(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("robot-1/a.png", "robot-1/masks/a.png", "masks/mask-1/a.png"):
        photograph(tmp_path / name)
    names = [str(folder.relative_to(tmp_path)) for folder in subject_folders(tmp_path)]
    assert names == ["masks/mask-1", "robot-1"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == f"{tmp_path / 'robot-1' / 'masks'}: was left out: masks, no subject"


def test_metadata_tell_the_class_first(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('\ufeff{"file_name": "0.png"}\n{"class": "tea pot"}\n', encoding="utf-8")
    assert class_noun(tmp_path) == "tea pot"
    path.write_text('{"file_name": "0.png", "text": "a robot"}\n')
    assert class_noun(tmp_path) == class_noun(Path(tmp_path.name))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "expected one JSON object, found what cannot be read as JSON"),
        ('{"class": 3}', 'expected a "class" such as "robot", found 3'),
        ('{"class": null}', 'expected a "class" such as "robot", found null'),
        ('{"class": ["robot"]}', 'expected a "class" such as "robot", found a list'),
        ('{"class": ""}', 'expected a "class" such as "robot", found \'\''),
        ('{"class": "3"}', 'expected a "class" such as "robot", found \'3\''),
        ('{"class": "a robot"}', "found 'a robot', with an article"),
        ('{"class": "robot "}', "found 'robot ', with spaces too many"),
        ('{"class": "\\u001b[2J"}', r"found '\x1b[2J'"),
        ('{"class": "' + "x" * 9999 + '"}', "found 9,999 characters"),
        ('{"class": "mug"}', "expected the class 'robot', as before, found 'mug'"),
    ],
)
def test_a_class_that_is_none_is_refused_with_its_line(
    tmp_path: Path, line: str, found: str
) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"class": "robot"}\n' + line)
    with pytest.raises(InputError) as caught:
        class_noun(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: line 2: expected") and message.isprintable()
    assert found in message and message.endswith("; mend it or remove the file")


def test_the_hash_is_of_the_photographs_alone(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    before = photographs_hash(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert photographs_hash(tmp_path) == before
    photograph(tmp_path / "a.png", "blue")
    assert photographs_hash(tmp_path) != before
