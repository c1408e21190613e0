"""The nodes of a YAML tree, which know where they stand, and the faults found in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from neon_optim.errors import ConfigError, Position, Problem

MAX_CHARACTERS = 262_144
MAX_DEPTH = 40
MAX_NODES = 20_000  # aliases expanded
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # those of PyYAML, which counts lines by them


class _Invalid:
    """Stands for a value that has already been complained about."""

    def __repr__(self) -> str:
        return "<invalid>"


INVALID = _Invalid()


@dataclass
class YamlNode:
    position: Position
    anchor: str | None = field(default=None, kw_only=True)
    used: bool = field(default=False, kw_only=True)  # an alias refers to it


@dataclass
class Scalar(YamlNode):
    value: Any
    quoted: bool = False


@dataclass
class List(YamlNode):
    items: list[YamlNode]


@dataclass
class Map(YamlNode):
    """`pairs` in the order of the text; keys are strings. Resolved maps hold each key once, the root aside."""

    pairs: list[tuple[Scalar, YamlNode]]

    def get(self, key: str) -> YamlNode | None:
        return next((value for name, value in self.pairs if name.value == key), None)

    def key(self, key: str) -> Scalar:
        return next(name for name, value in self.pairs if name.value == key)

    def keys(self) -> list[str]:
        return [name.value for name, value in self.pairs]


@dataclass
class Alias(YamlNode):
    target: YamlNode


class Collector:
    """Collects what is wrong in a source, with positions; `text` is what the source holds."""

    def __init__(self, text: str = "") -> None:
        self.found: list[Problem] = []
        self.lines = _LINE_BREAK.split(text)
        self._lines_of: dict[str, list[str]] = {}
        self._told: set[tuple[Position, str]] = set()

    def take(self, other: Collector, source: str) -> None:
        """Take what another has found in its own source."""
        self._lines_of[source] = other.lines
        self.found += other.found

    def add(self, position: Position, message: str, path: str = "") -> None:
        # A fault in an anchored value is met again at every alias; it is one fault.
        same = (position, message.removeprefix(path))
        if same not in self._told:
            self._told.add(same)
            self.found.append(self.problem(position, message, path))

    def problem(self, position: Position, message: str, path: str = "") -> Problem:
        """A problem with the text of its line."""
        number = position.line or 0
        lines = self._lines_of.get(position.source, self.lines)
        return Problem.at(position, message, path, "".join(lines[number - 1 : number]))

    def fail(self, position: Position, message: str) -> NoReturn:
        """Add a fault that leaves nothing to go on with, and raise."""
        self.add(position, message)
        self.raise_if_any()
        raise NotImplementedError  # never reached

    def raise_if_any(self) -> None:
        if self.found:
            raise ConfigError.listing(sorted(self.found, key=place_order))


def place_order(problem: Problem) -> tuple[bool, str, int, int]:
    """Where a problem stands among others: those without a line are the last."""
    source, line, column = problem.place or Position()
    return line is None, "" if line is None else source, line or 0, column or 0


def to_plain(node: YamlNode) -> Any:
    """The plain value of a resolved node: dicts, lists, strings, numbers, booleans, None."""
    if isinstance(node, Map):
        return {key.value: to_plain(value) for key, value in node.pairs}
    if isinstance(node, List):
        return [to_plain(item) for item in node.items]
    return node.value if isinstance(node, Scalar) else to_plain(node.target)  # type: ignore[attr-defined]


def holds_used_anchor(node: YamlNode) -> bool:
    """Is there, in the unresolved `node`, an anchor that an alias refers to?"""
    if node.used:
        return True
    if isinstance(node, Map):
        return any(key.used or holds_used_anchor(value) for key, value in node.pairs)
    return isinstance(node, List) and any(holds_used_anchor(item) for item in node.items)
