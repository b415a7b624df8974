"""What the README and the documents say: their commands, code, links and names are true.

The quick tests read every command line as the program would. The slow one runs all code blocks of
README and guide, from the first to the last, with few steps of a small random model.
"""

import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from command_line import passes
from tiny import tiny_pipeline
from typer.main import get_command

import cones
from cones.cli.program import app
from cones.toybox import render

pytest_plugins = ("quick_methods",)

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "docs" / "guide.md"]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
GROUP = get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands  # type: ignore[attr-defined]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
MODEL = ("--model", "--pretrained_model_name_or_path")
# What makes a command short, where it has such an option.
FEW = {
    "--steps": "1",
    "--batch": "1",
    "--prior_images": "1",
    "--num_images": "1",
    "--num_renders": "2",
    "--groups": "1",
    "--height": "64",
    "--width": "64",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def lines_of(text: str) -> list[list[str]]:
    """The words of each command line of a block, without comments."""
    joined = text.replace("\\\n", " ").splitlines()
    return [words for line in joined if (words := shlex.split(line, comments=True))]


def lines(page: Path) -> list[list[str]]:
    """The words of each command line in a page's blocks."""
    return [
        words
        for language, text in blocks(page)
        if language in ("sh", "")
        for words in lines_of(text)
    ]


def command(words: list[str]) -> list[str] | None:
    """The words after `cones`, if a line runs it, also by accelerate."""
    if words[0] == "cones":
        return words[1:]
    if words[0] == "accelerate":
        return words[words.index("cones") + 1 :]
    return None


ALL_LINES = [(page, words) for page in PAGES for words in lines(page)]


@pytest.mark.parametrize(
    ("page", "words"), ALL_LINES, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(ALL_LINES)]
)
def test_every_command_line_is_one(
    page: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in words[1:]:
        if word.endswith((".safetensors", ".png")):
            Path(word).parent.mkdir(exist_ok=True)
            Path(word).touch()
    if (found := command(words)) is not None:
        assert found[0] in COMMANDS
        COMMANDS[found[0]].make_context(
            found[0], found[1:], parent=GROUP.make_context("cones", found)
        )
    elif words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert {*targets} <= {*TARGETS} or words == ["make"]
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None
    else:
        assert words[0] in ("pip", "python", ".venv/bin/python") or page.stem == "exports"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_is_there(page: Path) -> None:
    """Modules, what they hold and the repository's files; the changelog tells of older names."""
    if page.name == "CHANGELOG.md":
        return
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:cones|benchmarks)(?:\.\w+)+)(?:\(.*?\))?`", text):
        assert exists(name), name
    for path in re.findall(r"`((?:src|tests|benchmarks|docs|examples)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    module, *rest = name.split(".")
    found: Any = importlib.import_module(module)
    for part in rest:
        try:
            found = importlib.import_module(f"{found.__name__}.{part}")
        except ImportError:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_python_compiles(page: Path) -> None:
    for language, text in blocks(page):
        assert language in ("sh", "python", "bibtex", "json", "toml", "text", "")
        if language == "python":
            compile(text, str(page), "exec")


def test_the_readme_is_short() -> None:
    assert len(GUIDES[0].read_text(encoding="utf-8").splitlines()) <= 130


# -- running them ----------------------------------------------------------------------------------


@cache
def options(name: str) -> dict[str, Any]:
    return {each: option for option in COMMANDS[name].params for each in option.opts}


def quickened(words: list[str], model: Path) -> list[str]:
    """The words of a command with few steps of a small model, and its patterns filled in."""
    known, kept = options(words[0]), [words[0]]
    few = {known[name].name: value for name, value in FEW.items() if name in known}
    rest = iter(words[1:])
    for word in rest:
        option = known.get(word)
        if option is not None and (option.name in few or word in MODEL):
            next(rest)
        elif "*" in word:
            kept += sorted(str(path) for path in Path().glob(word))
        else:
            kept.append(word)
    needs_none = words[0] == "combine" and "--images" not in words  # it only unites files
    if words[0] == "tokens" or (MODEL[0] in known and not needs_none):
        kept += [MODEL[0], str(model)]
    return kept + [each for name, value in FEW.items() if name in known for each in (name, value)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a small random model that reads and draws as the toybox does."""
    from diffusers import AutoencoderTiny

    pipeline = tiny_pipeline()
    pipeline.tokenizer = cones.load_backbone("toybox").tokenizer
    pipeline.vae = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 3,
        decoder_block_out_channels=(8,) * 3,
        num_encoder_blocks=(1,) * 3,
        num_decoder_blocks=(1,) * 3,
    )
    pipeline.unet.register_to_config(sample_size=16)
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def few_steps(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's searches and tunings have one step, and its toybox is the small model."""
    opened = cones.load_backbone
    monkeypatch.setattr(cones, "load_backbone", lambda _: opened(model))
    monkeypatch.setattr(cones, "find", shortened(cones.find, cones.FindConfig()))
    monkeypatch.setattr(cones, "tune", shortened(cones.tune, cones.TuneConfig()))


def shortened(call: Callable[..., Any], usual: Any) -> Callable[..., Any]:
    """A function that takes a configuration, with few steps in it."""

    def short(*given: Any, **more: Any) -> Any:
        before = [each for each in given if not isinstance(each, type(usual))]
        (config,) = [each for each in given if isinstance(each, type(usual))] or [usual]
        few = replace(config, steps=1, batch=1, prior_batch=1, prior_images=1)
        return call(*before, few, **more)

    return short


@pytest.mark.slow
@pytest.mark.usefixtures("fitted", "few_steps")
def test_all_code_of_readme_and_guide_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = render.look_from_seed(7)
    render.save_subject(render.render_subject("mug", look, 5, 7), tmp_path / "mug")
    namespace: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    for page in GUIDES:
        for language, text in blocks(page):
            if language == "python":
                exec(compile(text, str(page), "exec"), namespace)
            for words in lines_of(text) if language == "sh" else ():
                monkeypatch.setattr(sys, "argv", words[2:])
                run(words, model)


def run(words: list[str], model: Path) -> None:
    """Runs a command line; what installs and tests is not for here."""
    if (found := command(words)) is not None:
        passes(*quickened(found, model), "--quiet")
    elif words[:3] == ["python", "-m", "cones.toybox.render"]:
        render.main()
