"""What the scores of a protocol mean something for: base models, words, photographs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from cones.models.backbone import Backbone


class Scope:
    """Everything: the features know photographs and words of all kinds.

    Features give a number for whatever they are shown. Those that know less have a scope of their
    own, whose checks raise an InputError.
    """

    def check(self, backbone: Backbone, nouns: Iterable[str], texts: Iterable[str]) -> None:
        """Refuse a base model, the subjects' classes, or prompts in plain words."""

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder of photographs."""

    def check_pictures(self, pictures: Sequence[Image.Image]) -> None:
        """Refuse pictures, drawn ones or photographs."""
