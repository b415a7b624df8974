"""What people are shown: one printable line, however hostile the text."""

import logging
import re

MAX_MESSAGE = 300

# Letters and marks that `str.isprintable` lets pass though nothing is seen of them.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: object, limit: int = MAX_MESSAGE) -> str:
    r"""A text as one line that shows every character of it and does nothing else.

    Whatever controls a terminal, breaks or turns a line, or cannot be seen is escaped as in a
    Python literal: `\x1b`, `\n`, `\u202e`, `\ud800`. What is too long loses its middle, since a
    message begins with what it is about and ends with what to do.

    Args:
        text: of a file, of the user or of another library.
        limit: the most characters of the result.
    """
    shown = _shortened(str(text), limit)  # first, so that a long text costs nothing
    if not shown.isprintable() or _INVISIBLE.search(shown):
        shown = _shortened("".join(map(_escaped, shown)), limit)
    return shown


def with_error(mean: float | None, error: float | None, form: str, bold: bool = False) -> str:
    """A mean and its standard error: `0.692 ± 0.011`.

    Args:
        mean: None where nothing was measured, which is a dash.
        error: None where it is not known, so that nothing is said of it.
        form: how the numbers are written, as in an f-string; a sign is the mean's alone.
        bold: whether the mean is bold, in Markdown.
    """
    if mean is None:
        return "-"
    text = f"**{mean:{form}}**" if bold else f"{mean:{form}}"
    return text if error is None else f"{text} ± {error:{form.lstrip('+')}}"


def _one_line(record: logging.LogRecord) -> bool:
    """Makes the message of a record printable, whoever prints it."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True


logging.getLogger("cones").addFilter(_one_line)  # all modules log there


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[head + 3 - limit :]}"


def _escaped(letter: str) -> str:
    if letter.isprintable() and not _INVISIBLE.match(letter):
        return letter
    return letter.encode("unicode_escape").decode("ascii")
