"""What a tokenizer makes of words and prompts.

Which words are free to name a subject, and where a prompt does not say what it seems to say.

A word that names a subject must be rare, so that its meaning does not mix in. The vocabulary of
CLIP holds thousands of merges that its captions hardly use; T5 has no such tokens and spells a rare
word in pieces, which serve as well, since its states tell words and not tokens.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cones.neurons.tokens import token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words that are known to serve: hardly any caption has them, and each is one token of the CLIP that
# Stable Diffusion reads with.
RARE_TOKENS = (
    "sks", "ohwx", "hta", "ucn", "icz", "uer", "ddu", "eha",
    "iru", "kly", "ecr", "waj", "ylor", "elot", "zas", "ija",
)  # fmt: skip
LATE = 0.75  # rare tokens are of the last quarter of a vocabulary, which is ordered by frequency
MARKS = ("</w>", "▁", "Ġ")  # what vocabularies mark the end or the start of a word with
MAX_SHOWN = 3  # pieces, words or characters named in one line
# Words without a vowel that are words all the same, or that nobody wants to read.
KNOWN = ("brr", "hmm", "nth", "pff", "psst", "shh", "tsk", "fck", "sht", "wtf", "nsfw")
FREE = re.compile(r"(?!.*(.)\1\1)[b-df-hj-np-tv-xz]{3,4}")  # no word of English has no vowel

# What A1111 and its kin read as more than text.
MARKUP = (
    re.compile(r"(?<!\\)\([^()]*[^()\d\s]\s*:\s*\d(?:\.\d+)?\)"),  # (word:1.3)
    re.compile(r"(?<!\\)\(\([^()]+\)\)"),  # ((word))
    re.compile(r"(?<!\\)\[[^\[\]]+\]"),  # [word], [from:to:0.5]
    re.compile(r"\{[^{}]*\|[^{}]*\}"),  # {a|b}
    re.compile(r"<(?:lora|lyco|hypernet|embedding):[^<>]+>", re.IGNORECASE),
    re.compile(r"(?<!\w)__[\w/*-]+__(?!\w)"),  # __wildcard__
)
COMMANDS = re.compile(r"\b(?:BREAK|AND)\b")
QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”")  # what is to be written in the picture
JOINERS = "\u200c\u200d"  # parts of Persian words and of emoji


def rare_tokens(tokenizer: "PreTrainedTokenizerBase", single: bool = True) -> list[str]:
    """Words that are free to name a subject, best first.

    First the words that are known to serve, then the latest merges without a vowel.

    Args:
        tokenizer: of the model.
        single: whether a word must be one token.
    """
    special = {*tokenizer.all_special_ids}
    vocabulary = tokenizer.get_vocab()
    first = LATE * len(vocabulary)
    late = sorted((number, entry) for entry, number in vocabulary.items() if number >= first)
    words = (_bare(entry) for _, entry in reversed(late))
    unspoken = [word for word in words if FREE.fullmatch(word) and word not in KNOWN]
    found: dict[tuple[int, ...], str] = {}
    for word in dict.fromkeys([*RARE_TOKENS, *unspoken]):
        ids = tuple(token_ids(tokenizer, word))
        whole = len(ids) == 1 or (word in RARE_TOKENS and not single)
        if ids and whole and special.isdisjoint(ids):
            found.setdefault(ids, word)
    return [*found.values()]


def token_fault(
    tokenizer: "PreTrainedTokenizerBase", token: str, class_noun: str, single: bool = True
) -> str | None:
    """Why a word cannot carry a subject; None if it can.

    Args:
        tokenizer: of the model.
        token: the word.
        class_noun: of the subject.
        single: whether it must be one token.
    """
    ids = token_ids(tokenizer, token)
    if not ids or (single and len(ids) > 1):
        return f"expected one token, found {len(ids)}{_pieces(tokenizer, token, ids)}"
    if {*ids} & {*tokenizer.all_special_ids}:
        return "is special or unknown to the tokenizer"
    if ids == token_ids(tokenizer, class_noun):
        return "is the class noun itself"
    return None


def ordinary_warning(
    tokenizer: "PreTrainedTokenizerBase", token: str, rare: Sequence[str]
) -> str | None:
    """What to say of a token that seems to be an ordinary word.

    Args:
        tokenizer: of the model.
        token: the word.
        rare: `rare_tokens` of the model.
    """
    if not rare or token.casefold().strip() in rare or len(token_ids(tokenizer, token)) != 1:
        return None
    return (
        f"token {token!r}: if it is an ordinary word, its meaning mixes in; rare words here: "
        f"{', '.join(rare[:MAX_SHOWN])}"
    )


def markup_warning(prompt: str) -> str | None:
    """What to say of weights, LoRAs, wildcards and the like in a prompt, which is read as text."""
    text = QUOTED.sub("", prompt)
    found = [match[0] for pattern in MARKUP for match in pattern.finditer(text)]
    if any(letter.islower() for letter in COMMANDS.sub("", text)):  # else all is in capitals
        found += COMMANDS.findall(text)
    if not found:
        return None
    return (
        f"{_listed(found)}: such markup of other programs is read as plain words here; leave it out"
    )


def character_warning(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str | None:
    """What to say of characters in a prompt that cannot be seen or that the tokenizer loses."""
    hidden = [letter for letter in prompt if _is_hidden(letter)]
    if hidden:
        named = _listed(f"U+{ord(letter):04X}" for letter in hidden)
        return f"{named}: cannot be seen, but is read; remove it"
    if {*token_ids(tokenizer, prompt)} & {*tokenizer.all_special_ids}:
        words = [word for word in prompt.split() if _is_lost(tokenizer, word)]
        named = _listed(words) or "something"
        return f"{named}: is special or unknown to the tokenizer; say it otherwise"
    return None


def unowned_warning(prompt: str, own: Iterable[str], rare: Iterable[str]) -> str | None:
    """What to say of rare words in a prompt that stand for no subject.

    Args:
        prompt: what to draw.
        own: the tokens of the subjects.
        rare: `rare_tokens` of the model.
    """
    said = dict.fromkeys(re.findall(r"\w+", prompt.casefold()))
    strange = {*rare} - {word.casefold() for word in own}
    found = [word for word in said if word in strange]
    if not found:
        return None
    return f"{_listed(found)}: stands for no subject of what is given; give its file too"


def _bare(entry: str) -> str:
    """A whole word of a vocabulary without its mark; else nothing."""
    for mark in MARKS:
        if mark in entry:
            return entry.replace(mark, "", 1)
    return ""


def _pieces(tokenizer: "PreTrainedTokenizerBase", token: str, ids: Sequence[int]) -> str:
    """The pieces of a word that is split, in brackets; nothing where they cannot be read."""
    if not ids or not token.isascii():
        return ""
    pieces = [_bare(entry) or entry for entry in tokenizer.convert_ids_to_tokens([*ids])]
    return f" ({_listed(pieces)})"


def _listed(words: Iterable[str]) -> str:
    """A few different words for a message."""
    several = [*dict.fromkeys(words)]
    more = ["..."] if len(several) > MAX_SHOWN else []
    return ", ".join([*several[:MAX_SHOWN], *more])


def _is_hidden(letter: str) -> bool:
    """Whether a character is a control or formatting one, or stands for a damaged one."""
    kind = unicodedata.category(letter)
    return letter == "\ufffd" or (
        kind in ("Cc", "Cf") and not letter.isspace() and letter not in JOINERS
    )


def _is_lost(tokenizer: "PreTrainedTokenizerBase", word: str) -> bool:
    return bool({*token_ids(tokenizer, word)} & {*tokenizer.all_special_ids})
