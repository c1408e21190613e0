"""Every exception class of the package. All derive from `NeonOptimError`."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

_LONGEST_REPR = 80
_LONGEST_LINE = 70
_MOST_LISTED = 50
_WORD = re.compile(r"""'[^']*'|"[^"]*"|[^\s,:{}\[\]'"]+|.""")
MISSING = inspect.Parameter.empty


def shown(value: object, limit: int = _LONGEST_REPR) -> str:
    """`repr(value)` on one line, cut to `limit` characters, whatever the value's own `repr` does.

    >>> shown("0.01x")
    "'0.01x'"
    >>> shown("a" * 1000, limit=12)
    "'aaaaaaaa..."
    """
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} object>"
    text = " ".join(text.split("\n"))
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Position(NamedTuple):
    """A place in a file or override; line and column count from 1."""

    source: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in self if part not in (None, ""))


class Problem(NamedTuple):
    """One thing that is wrong with an argument; or, where it has a `place`, with a config.

    Of an argument: `path` leads from it to the value inside it, `allowed` says what must be, `received` is MISSING
    where nothing was given, `hint` (it starts with its own punctuation) names the likely fix.

    In a config: `argument` is the path to the value, as far as there is one, `allowed` all that there is to say, and
    `line` the text of the line. Where objects do not go together, `subject` is the one with the argument.
    """

    argument: str
    received: object
    allowed: str
    path: tuple[str | int, ...] = ()
    wrong_type: bool = False
    hint: str = ""
    place: Position | None = None
    line: str = ""
    subject: object = None

    @property
    def message(self) -> str:
        """What is wrong, without the place."""
        if self.place is not None:
            return self.allowed
        received = "" if self.received is MISSING else f", received {shown(self.received)}"
        return f"{self.where()} {self.allowed}{received}{self.hint}"

    def __str__(self) -> str:
        place = str(self.place or "")
        return f"{place}: {self.message}" if place else self.message

    def where(self) -> str:
        """The argument and the path inside it: `step_config[2]`."""
        return self.argument + "".join(f"[{part!r}]" for part in self.path)

    @classmethod
    def at(cls, place: Position, message: str, path: str = "", line: str = "") -> Problem:
        """A problem in a config."""
        return cls(path, MISSING, message, place=place, line=line)

    @classmethod
    def about(cls, argument: str, message: str, subject: object = None) -> Problem:
        """A problem that shows when objects meet: of an argument of one of them, or of a setting of the run."""
        return cls(argument, MISSING, message, place=Position(), subject=subject)

    def excerpt(self) -> list[str]:
        """The line of the config and, below it, a mark at the place; nothing where there is none.

        >>> problem = Problem.at(Position("m.yaml", 2, 9), "rate must be a number", line="  rate: 'x'  # slow")
        >>> print("\\n".join(problem.excerpt()))
           2 |   rate: 'x'  # slow
             |         ^~~
        """
        if not self.line.strip() or self.place is None or not self.place.column:
            return []
        at = self.place.column - 1
        found = _WORD.match(self.line, at)
        end = found.end() if found else at
        before, word, after = (
            printable(self.line[max(0, at - _LONGEST_LINE) : at]),
            printable(self.line[at : min(end, at + _LONGEST_LINE)])[: _LONGEST_LINE // 2],
            printable(self.line[end : end + _LONGEST_LINE]),
        )
        room = _LONGEST_LINE - len(word) - min(len(after), 16)
        if len(before) > room:
            before = "..." + before[3 - room :]
        text = before + word + after
        text = text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 3] + "..."
        mark = " " * _columns(before) + "^" + "~" * (_columns(word) - 1)
        number = f"{self.place.line:4} | "
        return [(number + text).rstrip(), " " * (len(number) - 2) + "| " + mark]


_Error = TypeVar("_Error", bound="NeonOptimError")


class NeonOptimError(Exception):
    """Base of every error that this package raises on purpose; `problems` are its parts, where it has such."""

    def __init__(self, message: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)

    @classmethod
    def listing(cls: type[_Error], problems: Sequence[Problem]) -> _Error:
        """The error whose message lists `problems` (the first 50), each with its line of the config."""
        if len(problems) == 1:
            return cls("\n".join([str(problems[0]), *problems[0].excerpt()]), problems)
        lines = [f"{len(problems)} problems:"]
        for problem in problems[:_MOST_LISTED]:
            lines += [f"  {line}" for line in (str(problem), *problem.excerpt())]
        if len(problems) > _MOST_LISTED:
            lines.append(f"  and {len(problems) - _MOST_LISTED} more")
        return cls("\n".join(lines), problems)


class ArgumentError(NeonOptimError, ValueError):
    """Constructor or function arguments outside what is allowed; `problems` lists all of them."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An `ArgumentError` where at least one argument has the wrong type, is missing or is unknown."""


class RegistryError(NeonOptimError, ValueError):
    """A name that stands for no class, or for several; or a plug-in that does not load."""


class NeonInstalledError(NeonOptimError, ImportError):
    """Another package answers to the name 'neon'."""


class NeonMissingError(NeonOptimError, ImportError):
    """Intel's neon is needed, and is not there."""


class ConfigError(NeonOptimError, ValueError):
    """A config that cannot be used; `problems` holds each with its place."""


class ConfigWarning(UserWarning):
    """Something in a config that works and is probably not meant."""


class CheckpointWarning(UserWarning):
    """A checkpoint was left out, or could not be tidied away; the run itself goes on."""


class CheckpointError(NeonOptimError):
    """A checkpoint that is damaged, of another kind, or does not fit what it is loaded into."""


class BackendError(NeonOptimError, RuntimeError):
    """A backend that is not there, cannot be set up, or cannot do what is asked."""


class ModelError(NeonOptimError, RuntimeError):
    """A model that is not ready for what is asked of it."""


class StateError(NeonOptimError, ValueError):
    """State of a layer that does not fit the optimizer: wrong number, shape or dtype of its slots."""


class DataError(NeonOptimError, ValueError):
    """Data that is not there, cannot be read, or does not fit what it is used for."""


class DataWarning(UserWarning):
    """Data that can be used, though not all of it means something to the model."""


class RunError(NeonOptimError):
    """A run folder that cannot be used: not writable, taken by another run, or by another process."""


class DistributedError(NeonOptimError, RuntimeError):
    """Processes that should train together, and cannot: one has failed, does not answer, or does not fit the others."""


class NonFiniteError(NeonOptimError, FloatingPointError):
    """A NaN or an infinity where the computation needs finite numbers."""


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal could take for a command: control characters, line breaks,
    marks that turn the direction of writing.

    >>> printable("fc\\x1b[31m/W\\u202e")
    'fc\\\\x1b[31m/W\\\\u202e'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _columns(text: str) -> int:
    """How wide a terminal shows a text."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


class PrecisionWarning(UserWarning):
    """A number or a type with which training cannot work: a divisor that is 0 in it, say."""
