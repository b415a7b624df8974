"""What the scores of a protocol mean something for: base models, words, photographs.

Features give a number for whatever they are shown. Those of toybox-clip know the toybox's world and
nothing else, so that its protocol refuses all else.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from cones.errors import InputError
from cones.evaluation.ceiling import read_subject
from cones.evaluation.features import ClipFeatures
from cones.files.writing import shown
from cones.models.backbone import Backbone
from cones.toybox.world import CLASSES, SIZE

ADVICE = "for others give --protocol cones --clip FOLDER --dino FOLDER"


class Scope:
    """Everything: the features know photographs and words of all kinds."""

    def check(self, backbone: Backbone, nouns: Iterable[str], texts: Iterable[str]) -> None:
        """Refuses a base model, the subjects' classes, or prompts in plain words."""

    def check_folder(self, folder: Path) -> None:
        """Refuses a folder of photographs."""

    def check_pictures(self, pictures: Sequence[Image.Image]) -> None:
        """Refuses pictures, drawn ones or photographs."""


class ToyboxScope(Scope):
    """The toybox's own models, in its own words, on photographs that it has rendered."""

    def __init__(self, features: ClipFeatures) -> None:
        """For toybox-clip."""
        self._tokenizer = features.tokenizer

    def check(self, backbone: Backbone, nouns: Iterable[str], texts: Iterable[str]) -> None:
        """Refuses other base models, classes and words.

        A model is the toybox's if it reads its vocabulary and draws pictures of its size: also one
        that was trained further.

        Raises:
            InputError: one is not of the toybox's world.
        """
        ours = self._tokenizer.get_vocab().items() <= backbone.tokenizer.get_vocab().items()
        if not ours or backbone.resolution != SIZE:
            raise self._refusal("is for models of the toybox alone", backbone.name)
        for noun in nouns:
            if noun not in CLASSES:
                raise self._refusal(f"knows only {', '.join(CLASSES)}", repr(noun))
        for text in texts:
            for word in re.findall(r"\w+", text):
                if len(self._tokenizer(word, add_special_tokens=False).input_ids) != 1:
                    raise self._refusal("knows the words of the toybox alone", repr(word))

    def check_folder(self, folder: Path) -> None:
        """Refuses photographs beside which no `metadata.jsonl` tells a look."""
        if read_subject(folder if folder.is_dir() else folder.parent) is None:
            raise self._refusal("is for photographs that the toybox has rendered", shown(folder))

    def check_pictures(self, pictures: Sequence[Image.Image]) -> None:
        """Refuses pictures of another size."""
        for width, height in (picture.size for picture in pictures):
            if (width, height) != (SIZE, SIZE):
                raise self._refusal(
                    f"is for pictures of {SIZE} x {SIZE} pixels", f"one of {width} x {height}"
                )

    @staticmethod
    def _refusal(what: str, found: str) -> InputError:
        return InputError(f"protocol 'toybox': {what}, found {found}; {ADVICE}")
