"""Tokens: the words that name subjects, each of one subject alone."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from cones.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANEW = (  # what to do where neurons or another artifact are of a token that is taken
    "find one of them again with another --token: neurons answer only to the word that they were "
    "found with"
)


class Named(Protocol):
    """A subject, as far as its words go."""

    @property
    def token(self) -> str:
        """The rare word that stands for it."""
        ...

    @property
    def class_noun(self) -> str:
        """What kind of thing it is."""
        ...


def token_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """The tokens of a text, without the tokenizer's start, end and padding.

    Raises:
        InputError: the text holds half a character (a surrogate), from a broken encoding.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"text {text!r}: is no valid Unicode; give it as UTF-8")
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def check_distinct_tokens(
    subjects: Iterable[Named],
    tokenizers: Sequence["PreTrainedTokenizerBase"] = (),
    remedy: str = ANEW,
) -> None:
    """Refuses one token of two subjects, also in two spellings.

    Two spellings are one token if a tokenizer makes the same of them, and in any model if they
    differ in case, in the spaces around them or in Unicode's form alone: prompts are searched for
    tokens without regard to these.

    Args:
        subjects: in any order.
        tokenizers: of the model, where there is one.
        remedy: what to do about it.

    Raises:
        InputError: two subjects have one token.
    """
    owners: dict[object, tuple[int, Named]] = {}
    for number, subject in enumerate(subjects):
        folded = unicodedata.normalize("NFKC", subject.token).casefold().strip()
        read = [(k, *token_ids(each, subject.token)) for k, each in enumerate(tokenizers)]
        for key in (folded, *read):
            owner, other = owners.setdefault(key, (number, subject))
            if owner != number:
                raise InputError(f"{_shared(other, subject)}; {remedy}")


def _shared(a: Named, b: Named) -> str:
    tokens = f"token {a.token!r}: stands"
    if a.token != b.token:
        tokens = f"tokens {a.token!r} and {b.token!r}: are one and stand"
    return f"{tokens} for two subjects ({a.class_noun}, {b.class_noun})"
