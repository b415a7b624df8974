"""Words that name subjects, and prompts that do not say what they seem to say."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from clip_vocabulary import clip_tokenizer
from command_line import passes
from tiny import tiny_clip, tiny_pipeline
from tiny_families import t5_tokenizer, tiny_sdxl_pipeline

from cones.errors import InputError
from cones.methods.controls import random_neurons
from cones.models.backbone import Backbone
from cones.models.prompts import (
    RARE_TOKENS,
    character_warning,
    markup_warning,
    rare_tokens,
    token_fault,
    unowned_warning,
)
from cones.neurons.concept_neurons import SubjectInfo
from cones.neurons.tokens import check_distinct_tokens
from cones.sampling.generate import generate
from cones.search.interference import combine
from cones.search.objective import check_subjects
from cones.subjects.subject import Subject
from cones.toybox.world import CLASSES

ROOT = Path(__file__).parents[2]
NAMED = re.compile(rf"\b(?:an?|the|my) (\w+) ({'|'.join(CLASSES)})\b")


@pytest.fixture(scope="module")
def real() -> Backbone:
    """A small random Stable Diffusion with the real vocabulary."""
    pipeline = tiny_pipeline()
    pipeline.tokenizer = clip_tokenizer()
    pipeline.text_encoder = tiny_clip(width=32, tokenizer=clip_tokenizer())
    return Backbone(pipeline, "real")


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return Backbone(tiny_pipeline(), "tiny")


# -- rare tokens -----------------------------------------------------------------------------------


def test_the_rare_tokens_of_stable_diffusion(real: Backbone) -> None:
    rare = real.rare_tokens(1000)
    assert rare[:16] == [*RARE_TOKENS]
    assert len(rare) > 100
    ids = [real.token_ids(word) for word in rare]
    assert all(len(each) == 1 for each in ids)
    assert len({each[0] for each in ids}) == len(ids)
    assert min(ids) > [36000]
    assert all(re.fullmatch("[a-z]{3,4}", word) for word in rare)
    assert not {"dog", "kohl", "shh", "fck"} & {*rare}
    assert rare == rare_tokens(clip_tokenizer())


def test_t5_spells_the_known_words_in_pieces() -> None:
    rare = rare_tokens(t5_tokenizer(), single=False)
    assert {*rare} == {*RARE_TOKENS}
    assert rare_tokens(t5_tokenizer()) == [
        word for word in RARE_TOKENS if token_fault(t5_tokenizer(), word, "robot") is None
    ]


def test_the_command_lists_them() -> None:
    assert passes("tokens").stdout.split() == [*RARE_TOKENS]
    assert passes("tokens", "--num", "2", "--model", "toybox").stdout == "sks\nohwx\n"
    assert json.loads(passes("tokens", "--num", "3", "--json").stdout) == [*RARE_TOKENS[:3]]


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (
            "zwx",
            r"expected one token, found 2 \(z, wx\); use a rare single token such as sks, ohwx",
        ),
        ("SKS", None),
        ("sks</w>", r"expected one token, found 4 \(sks, </, w, \.\.\.\)"),
        ("ｓｋｓ", "expected one token, found"),
        ("robot", "is the class noun itself"),
    ],
)
def test_what_the_real_vocabulary_makes_of_a_token(
    real: Backbone, token: str, fault: str | None
) -> None:
    if fault is None:
        real.check_token(token, "robot")
        return
    with pytest.raises(InputError, match=fault):
        real.check_token(token, "robot")


def test_a_token_must_be_one_for_both_tokenizers_of_sdxl() -> None:
    pipeline = tiny_sdxl_pipeline()
    Backbone(pipeline, "sdxl").check_token("zas", "robot")
    pipeline.tokenizer_2 = clip_tokenizer()
    both = Backbone(pipeline, "sdxl")
    both.check_token("zas", "robot")
    with pytest.raises(InputError, match=r"token 'nice old'"):
        both.check_token("nice old", "robot")
    pipeline.tokenizer = clip_tokenizer()
    pipeline.tokenizer_2 = tiny_pipeline().tokenizer
    split = Backbone(pipeline, "sdxl")
    with pytest.raises(InputError, match=r"token 'httr': expected one token, found 3 \(ht, t, r\)"):
        split.check_token("httr", "robot")
    assert split.rare_tokens(1000) == [*RARE_TOKENS]
    long = "a " * 40
    assert "has 40 tokens, sdxl reads the first 30" in str(split.check_prompt(long))


# -- two spellings of one token --------------------------------------------------------------------


@pytest.mark.parametrize("other", ["sks", "SKS", " sks ", "ｓｋｓ", "Sks"])
def test_two_spellings_are_one_token(tiny: Backbone, other: str) -> None:
    robot = random_neurons(tiny, SubjectInfo("sks", "robot"), 0.1, seed=0)
    mug = random_neurons(tiny, SubjectInfo(other, "mug"), 0.1, seed=1)
    for work in (
        lambda: combine([robot, mug]),
        lambda: robot | mug,
        lambda: generate(tiny, "a sks robot", neurons=[robot, mug], steps=1),
    ):
        with pytest.raises(InputError, match=r"stands? for two subjects"):
            work()


def test_what_the_tokenizer_makes_the_same_is_one_token() -> None:
    two = [SubjectInfo("cafe\u0301", "robot"), SubjectInfo("café", "mug")]
    with pytest.raises(InputError, match="are one and stand for two subjects"):
        check_distinct_tokens(two)
    tokenizer = clip_tokenizer()
    odd = [SubjectInfo("a\u2003b", "robot"), SubjectInfo("a b", "mug")]
    with pytest.raises(InputError, match="are one"):
        check_distinct_tokens(odd, [tokenizer])
    check_distinct_tokens([SubjectInfo("sks", "robot"), SubjectInfo("ohwx", "robot")], [tokenizer])


def test_searches_and_fits_refuse_them_too(tiny: Backbone) -> None:
    from PIL import Image

    robot = Subject((Image.new("RGB", (16, 16)),), "robot", "sks")
    with pytest.raises(InputError, match="tokens 'sks' and 'SKS': are one"):
        check_subjects(tiny, [robot, replace(robot, class_noun="mug", token="SKS")])
    with pytest.raises(InputError, match="expected a word, such as 'sks'"):
        replace(robot, token=" sks ")


# -- prompts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "markup",
    [
        "(word:1.3)", "[word]", "<lora:name:0.8>", "BREAK", "AND", "{a|b}", "((word))", "[a:b:0.5]",
        "__animal__", "(two words:0.9)", "<hypernet:x:1>",
    ],
)  # fmt: skip
def test_markup_of_other_programs_is_told(markup: str) -> None:
    told = markup_warning(f"a photo of a sks robot {markup} in the snow")
    assert told is not None and told.startswith(f"{markup}: such markup")


@pytest.mark.parametrize(
    "prompt",
    [
        "a sks robot (in the snow)", "at half past ten (10:30)", "A CAT AND A DOG", ":) (old)",
        'a sign that says "BREAK [here]"', "a robot, and a mug", r"a \(word:1.3\)", "scale (1:10)",
        "an android", "{curly}", "a < b > c", "snake_case __ x",
    ],
)  # fmt: skip
def test_ordinary_prompts_are_not_told_of(prompt: str) -> None:
    assert markup_warning(prompt) is None


@pytest.mark.parametrize("letter", ["\x00", "\x1b", "\u200b", "\u202e", "\ufeff", "\ufffd"])
def test_characters_that_cannot_be_seen_are_told(letter: str) -> None:
    told = character_warning(clip_tokenizer(), f"a sks{letter} robot")
    assert told == f"U+{ord(letter):04X}: cannot be seen, but is read; remove it"


def test_words_that_the_tokenizer_loses_are_told() -> None:
    assert character_warning(clip_tokenizer(), "a 👩\u200d🚀 robot\n\tin ロボ") is None
    told = character_warning(clip_tokenizer(), "a <|endoftext|> robot")
    assert told is not None and told.startswith("<|endoftext|>: is special or unknown")
    told = character_warning(t5_tokenizer(), "a ロボ robot")
    assert told is not None and told.startswith("ロボ: is special or unknown")


def test_a_subject_without_a_file_is_told(tiny: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    robot = random_neurons(tiny, SubjectInfo("sks", "robot"), 0.1, seed=0)
    with caplog.at_level(logging.WARNING, "cones"):
        generate(tiny, "a sks robot and an OHWX mug", neurons=robot, steps=1)
    assert [each.getMessage() for each in caplog.records] == [
        "prompt 'a sks robot and an OHWX mug': ohwx: stands for no subject of what is given; give "
        "its file too"
    ]
    assert unowned_warning("a SKS robot", ["sks"], RARE_TOKENS) is None


# -- the documentation -----------------------------------------------------------------------------


def prompts_of_the_docs() -> list[str]:
    """All that is quoted in code blocks and names something."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```.*?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [text for text in re.findall(r'"([^"\n]+)"', block) if NAMED.search(text)]
    return found


def test_the_examples_work_on_stable_diffusion(
    real: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    counts = set()
    for prompt in prompts_of_the_docs():
        subjects = [SubjectInfo(*words) for words in NAMED.findall(prompt)]
        counts.add(len(subjects))
        for subject in subjects:
            real.check_token(subject.token, subject.class_noun)
            assert subject.token in real.rare_tokens(16)
        sets = [random_neurons(real, each, 0.1, seed=0) for each in subjects]
        with caplog.at_level(logging.WARNING, "cones"):
            generate(real, prompt, neurons=sets, steps=1)
        assert not caplog.records
    assert {1, 2} <= counts


def test_the_tokens_of_the_documented_commands_are_free_and_distinct(real: Backbone) -> None:
    pages = (ROOT / "README.md", ROOT / "docs" / "guide.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages).replace("\\\n", " ")
    commands = [re.findall(r"--token (\w+)", line) for line in text.splitlines()]
    assert any(len(tokens) == 2 for tokens in commands)
    for tokens in commands:
        assert {*tokens} <= {*real.rare_tokens(16)}
        check_distinct_tokens([SubjectInfo(each, "robot") for each in tokens], [real.tokenizer])
