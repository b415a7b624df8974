"""Prompts name subjects with the right article, in the order given."""

import pytest

from cones.neurons.phrases import fill, join_phrases, mentions


@pytest.mark.parametrize(
    ("template", "words", "prompt"),
    [
        ("a photo of a {}", "sks robot", "a photo of a sks robot"),
        ("a photo of a {}", "ohwx mug", "a photo of an ohwx mug"),
        ("A {} and an {}", "umbrella", "An umbrella and an umbrella"),
        ("an {} at night", "robot", "a robot at night"),
        ("the {}, a panda {}", "Ohwx mug", "the Ohwx mug, a panda Ohwx mug"),
        ("a {other}", "ohwx mug", "a {other}"),
        ("a {}", r"\1 mug", r"a \1 mug"),
        ("a robot", "ohwx mug", "a robot"),
        ("a {}", "", "a "),
    ],
)
def test_the_article_fits_the_words(template: str, words: str, prompt: str) -> None:
    assert fill(template, words) == prompt


def test_several_subjects_have_an_article_each() -> None:
    assert join_phrases(["ohwx mug", "sks robot", "icz car"]) == (
        "ohwx mug and a sks robot and an icz car"
    )
    assert join_phrases(["mug"]) == "mug" and join_phrases([]) == ""


@pytest.mark.parametrize(
    ("prompt", "phrase", "named"),
    [
        ("a sks robot", "sks", True),
        ("A SKS Robot.", "sks robot", True),
        ("a sksy robot", "sks", False),
        ("a sks\u0301 robot", "robot", True),
        ("a robot", "sks robot", False),
        ("a c++ mug", "c++", True),
        ("", "sks", False),
    ],
)
def test_a_prompt_mentions_whole_words(prompt: str, phrase: str, named: bool) -> None:
    assert mentions(prompt, phrase) is named
