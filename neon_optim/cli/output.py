"""What a command writes: lines that fit the terminal, on streams that may fail at any time."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import textwrap
from typing import Any

import click

from neon_optim.errors import printable

__all__ = [
    "columns",
    "discard",
    "open_closed_streams",
    "patient_stdout",
    "say",
    "say_with_excerpts",
    "shown_text",
    "wrapped",
]

_SHOWN_LINE = re.compile(r"( +\d* \| )( *)(.*)")
_MARK = re.compile(r"\^~*")


def say(text: str, err: bool = False, indent: str = "  ") -> None:
    """Write a message, wrapped where the stream is a terminal. A stream that takes nothing is told of, once; the
    command goes on."""
    stream = sys.stderr if err else sys.stdout
    for line in shown_text(text).split("\n"):
        _write(stream, "\n".join(wrapped(line, columns(stream), indent)) + "\n")


def say_with_excerpts(text: str, err: bool = False) -> None:
    """Write a message; on a terminal the lines of a config that it shows are coloured."""
    stream = sys.stderr if err else sys.stdout
    if columns(stream) is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        say(text, err=err)
        return
    for line in text.split("\n"):
        found = _SHOWN_LINE.fullmatch(line)
        if found is None:
            say(line, err=err)
        else:
            number, space, rest = map(shown_text, found.groups())
            rest = click.style(rest, fg="red", bold=True) if _MARK.fullmatch(rest) else rest
            _write(stream, click.style(number, fg="blue") + space + rest + "\n")


def shown_text(text: str) -> str:
    """A text of several lines with everything escaped that a terminal could take for a command."""
    return "\n".join(printable(line) for line in text.split("\n"))


def columns(stream: Any) -> int | None:
    """The width of the terminal; None where the stream is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if stream.isatty():
            return shutil.get_terminal_size().columns
    return None


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """The lines of a text; words (and so paths) stay whole, and later lines are indented, below the first."""
    if width is None or len(text) <= width:
        return [text]
    indent += " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def patient_stdout() -> Any:
    """Standard output as a stream that never fails: what cannot be written is told once and left out."""
    from neon_optim.model.progress import PatientStream

    stream = sys.stdout
    return PatientStream(stream, lambda error: _lost(stream, error))


def discard(stream: Any) -> None:
    """Send what a stream still holds, and all that follows, nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def open_closed_streams() -> None:
    """Give standard streams that are closed (``>&-``) to the null device, or the next file would get their number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _write(stream: Any, text: str) -> None:
    if stream is not None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError) as error:
            _lost(stream, error)


def _lost(stream: Any, error: Exception) -> None:
    """A stream takes nothing more: say so where that is still possible."""
    discard(stream)
    if stream is sys.stdout:
        gone = isinstance(error, OSError) and error.errno == errno.EPIPE
        why = "its reader has gone" if gone else getattr(error, "strerror", None) or str(error)
        say(f"Warning: standard output takes no more text ({why}); training goes on", err=True)
