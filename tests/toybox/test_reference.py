"""Fresh renders of subjects whose look a folder tells."""

from pathlib import Path

import numpy as np
import pytest

from cones.errors import InputError
from cones.toybox.reference import fresh_renders, named_classes, named_place, read_subject
from cones.toybox.render import look_from_seed, render_subject


def test_places_and_classes_are_read_from_a_prompt() -> None:
    assert named_place("in the forest, a robot in the snow") == "forest"
    assert named_place("a robot at night") == "night"
    assert named_place("a robot") is None
    assert named_classes("there is a mug and a robot, a carpet and a mug") == ["mug", "robot"]


def test_fresh_renders_show_what_the_prompt_asks_for_and_no_photograph(photos: Path) -> None:
    known = read_subject(photos)
    assert known is not None and known == ("robot", look_from_seed(3))
    texts = ["a robot in the snow", "a robot and a mug at night", "a robot"]
    pictures = fresh_renders([known], texts, range(4))
    assert len(pictures) == 12
    assert [p.tobytes() for p in pictures] == [
        p.tobytes() for p in fresh_renders([known], texts, range(4))
    ]
    assert len({p.tobytes() for p in pictures}) == 12
    snow, night = (np.mean([np.asarray(p) for p in pictures[k : k + 4]]) for k in (0, 4))
    assert snow > night + 60
    kept = {photo.tobytes() for photo in render_subject(*known, 20, 3).images}
    assert not kept & {p.tobytes() for p in pictures}


def test_metadata_without_a_look_gives_no_ceiling(tmp_path: Path) -> None:
    assert read_subject(tmp_path) is None
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a robot"}\n')
    assert read_subject(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "nonsense", '{"class": "robot", "look": {}}', '{"look": {"main_rgb": 3}}']
)
def test_damaged_metadata_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"metadata\.jsonl"):
        read_subject(tmp_path)
