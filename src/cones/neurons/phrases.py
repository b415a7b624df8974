"""How prompts name subjects: "a photo of an ohwx mug and a sks robot"."""

import re
from collections.abc import Iterable

_PLACE = re.compile(r"(?:\b([Aa])n? )?\{\}")  # for words, with the article before it


def fill(template: str, words: str) -> str:
    """A template with words for each `{}`; an article before it becomes "a" or "an" as they need.

    Args:
        template: such as "a photo of a {} in the snow".
        words: such as "ohwx mug", for "a photo of an ohwx mug in the snow". Their first letter
            decides, since nobody knows how a rare token is said.
    """
    n = "n" if words.lower().startswith(tuple("aeiou")) else ""
    return _PLACE.sub(lambda place: f"{place[1]}{n} {words}" if place[1] else words, template)


def join_phrases(phrases: Iterable[str]) -> str:
    """How prompts name several subjects at once: "sks robot and an ohwx mug" for "a {}"."""
    first, *others = [*phrases] or [""]
    return " and ".join([first, *(fill("a {}", each) for each in others)])


def mentions(prompt: str, phrase: str) -> bool:
    """Whether a prompt says a word or phrase, as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", prompt, re.IGNORECASE) is not None
