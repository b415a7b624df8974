"""Text as people save it: UTF-8 is read, with or without a mark; the rest gets advice."""

from pathlib import Path

import pytest

from cones.errors import InputError
from cones.files.textfiles import MAX_LINE, read_json_lines, read_prompts, read_text

PROMPTS = "a {} at night\na {} in the café\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "prompts.txt"


def refusal(path: Path, data: bytes) -> str:
    """The one line that every reader of text refuses a file with."""
    path.write_bytes(data)
    messages = set()
    for read in (read_text, read_prompts, read_json_lines):
        with pytest.raises(InputError) as caught:
            read(path)
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith(str(path)) and message.isprintable() and "; " in message
    return message


@pytest.mark.parametrize(
    "data",
    [
        PROMPTS.encode(),
        PROMPTS.encode("utf-8-sig"),
        PROMPTS.replace("\n", "\r\n").encode("utf-8-sig"),
        PROMPTS.replace("\n", "\r").encode(),
        b"".join(line.encode("utf-8-sig") for line in PROMPTS.splitlines(keepends=True)),
        b"\n\n  " + PROMPTS.encode() + b" \n",
    ],
    ids=["plain", "mark", "windows", "old mac", "joined", "blank"],
)
def test_prompts_are_the_same_however_they_were_saved(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert read_prompts(path) == PROMPTS.splitlines()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_gets_advice(path: Path, encoding: str) -> None:
    assert "found UTF-16 or no text at all; save it as UTF-8" in refusal(
        path, PROMPTS.encode(encoding)
    )


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_latin_1_gets_advice_with_the_line(path: Path, line_end: bytes) -> None:
    data = PROMPTS.encode("latin-1").replace(b"\n", line_end)
    message = refusal(path, data)
    assert "line 2: expected UTF-8 text, found the byte 0xe9" in message
    assert message.endswith("as in Latin-1 or Windows-1252; save it as UTF-8")


def test_only_line_ends_end_a_line(path: Path) -> None:
    path.write_text('{"text": "a\u2028b\x85c"}\n', encoding="utf-8")
    assert read_json_lines(path) == [(1, {"text": "a\u2028b\x85c"})]


def test_what_is_no_text_is_refused(path: Path) -> None:
    assert "no text at all" in refusal(path, b"\x89PNG\r\n\x1a\n\0\0\0\r")
    assert f"line 2: expected at most {MAX_LINE:,} characters" in refusal(
        path, b"a\n" + b"x" * (MAX_LINE + 1)
    )
    with pytest.raises(InputError, match="found more than 16 MB; name another file"):
        read_text(Path("/dev/zero"))
    for name in (".", "none.txt", "a\0b"):
        with pytest.raises(InputError, match=r"cannot be read \(.*\); check the path"):
            read_text(path.parent / name)


def test_a_file_without_prompts_is_refused(path: Path) -> None:
    path.write_text("\n \n")
    with pytest.raises(InputError, match=r"prompts\.txt: holds no prompt; write one on each line"):
        read_prompts(path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "what cannot be read as JSON (Expecting property name"),
        ("[" * 31, "what cannot be read as JSON (Expecting value"),
        ("[" * 995, "what cannot be read as JSON (expected at most 32 levels, found 995)"),
        ("[" * 100_000, "what cannot be read as JSON (expected at most 32 levels"),
        ('{"a":' * 100_000, "what cannot be read as JSON (expected at most 32 levels"),
        ('{"class": "a", "class": "b"}', "what cannot be read as JSON (the key 'class' is there"),
        ('{"look": {"a": 1, "a": 1}}', "what cannot be read as JSON (the key 'a' is there twice"),
        ('{"a": NaN}', "what cannot be read as JSON (expected a finite number, found NaN)"),
        ("3", "3"),
        ("null", "null"),
        ("[[]]", "a list"),
        ('"' + "x" * 9999 + '"', "a text"),
        (
            '{"a": ' + "9" * 9999 + "}",
            "what cannot",
        ),
    ],
)
def test_a_line_that_is_no_entry_is_named(path: Path, line: str, found: str) -> None:
    path.write_text('{"file_name": "0.png"}\n\n' + line + "\n")
    with pytest.raises(InputError) as caught:
        read_json_lines(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: line 3: expected one JSON object, found {found}")
    assert message.endswith("; mend it or remove the file") and len(message) < 400


def test_entries_come_with_their_lines(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": {"b": []}}')
    assert read_json_lines(path) == [(1, {"a": 1}), (3, {"a": {"b": []}})]
    path.write_text(" \n")
    with pytest.raises(InputError, match="line 1: expected one JSON object, found nothing"):
        read_json_lines(path)
