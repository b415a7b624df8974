"""How the toybox's pictures are scored: by toybox-clip, which knows the toybox and nothing else."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from cones.errors import InputError
from cones.evaluation.features import ClipFeatures
from cones.evaluation.protocol import Protocol
from cones.evaluation.scope import Scope
from cones.files.writing import shown
from cones.models.backbone import Backbone
from cones.toybox import weights
from cones.toybox.reference import RENDERS, read_subject
from cones.toybox.world import CLASSES, SIZE

ADVICE = "for others give --protocol cones --clip FOLDER --dino FOLDER"


@cache
def toybox_clip() -> ClipFeatures:
    """The features of toybox-clip, opened once."""
    return ClipFeatures(weights("clip"))


class ToyboxScope(Scope):
    """The toybox's own models, in its own words, on photographs that it has rendered."""

    def __init__(self) -> None:
        """Take toybox-clip's vocabulary."""
        self._tokenizer = toybox_clip().tokenizer

    def check(self, backbone: Backbone, nouns: Iterable[str], texts: Iterable[str]) -> None:
        """Refuse other base models, classes and words.

        A model is the toybox's if it reads its vocabulary and draws pictures of its size: also one
        that was trained further.

        Args:
            backbone: the base model.
            nouns: the classes of the subjects.
            texts: prompts in plain words, without the subjects' tokens.

        Raises:
            InputError: one is not of the toybox's world.
        """
        ours = self._tokenizer.get_vocab().items() <= backbone.tokenizer.get_vocab().items()
        if not ours or backbone.resolution != SIZE:
            raise _refusal("is for models of the toybox alone", backbone.name)
        for noun in nouns:
            if noun not in CLASSES:
                raise _refusal(f"knows only {', '.join(CLASSES)}", repr(noun))
        for text in texts:
            for word in re.findall(r"\w+", text):
                if len(self._tokenizer(word, add_special_tokens=False).input_ids) != 1:
                    raise _refusal("knows the words of the toybox alone", repr(word))

    def check_folder(self, folder: Path) -> None:
        """Refuse photographs beside which no `metadata.jsonl` tells a look."""
        if read_subject(folder if folder.is_dir() else folder.parent) is None:
            raise _refusal("is for photographs that the toybox has rendered", shown(folder))

    def check_pictures(self, pictures: Sequence[Image.Image]) -> None:
        """Refuse pictures of another size."""
        for width, height in (picture.size for picture in pictures):
            if (width, height) != (SIZE, SIZE):
                raise _refusal(
                    f"is for pictures of {SIZE} x {SIZE} pixels", f"one of {width} x {height}"
                )


def _refusal(what: str, found: str) -> InputError:
    return InputError(f"protocol 'toybox': {what}, found {found}; {ADVICE}")


TOYBOX = Protocol("toybox", 2, toybox_clip, CLASSES, scope=ToyboxScope, reference=RENDERS)
