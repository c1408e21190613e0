"""YAML text → a tree of nodes that know where they stand; capped, strict, and never more than plain data.

`compose` reads text into nodes, with aliases and merge keys kept as written (so that an override of a
definition reaches all its uses); `resolve` expands them.
"""

from __future__ import annotations

import re
from typing import Any

from yaml import MarkedYAMLError, events
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from neon_optim.errors import ConfigError, Position, shown
from neon_optim.serialization.config.yaml_nodes import (
    INVALID,
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    Alias,
    Collector,
    List,
    Map,
    Scalar,
    YamlNode,
    to_plain,
)
from neon_optim.serialization.config.yaml_scalars import (
    is_plain_tag,
    plain_scalar,
    refused_tag,
    tagged_scalar,
)

_COLON = re.compile(r":(\s|$)")


class _Events(Reader, Scanner, Parser):
    """PyYAML's reader, scanner and parser; its composer and constructors, which build objects, stay out."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


def compose(text: str, source: str, problems: Collector) -> YamlNode | None:
    """The tree of a text that holds one YAML document; None where it holds nothing.

    Faults that leave the rest readable go to `problems`; errors of syntax and exceeded caps raise
    `ConfigError`.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"too large: {len(text):,} characters, at most {MAX_CHARACTERS:,} are read"
        problems.fail(Position(source), message)
    composer = _Composer(source, problems)
    stream: _Events | None = None
    try:
        stream = _Events(text)
        while stream.check_event():
            composer.take(stream.get_event())
    except ConfigError:
        raise
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        message = f"the character {_character(error.character)} is no text; is this a binary file?"
        problems.fail(Position(source, line, column), message)
    except MarkedYAMLError as error:
        without = [Position(source, *place) for place in _keys_without_colon(problems.lines, error)]
        if isinstance(composer.root, Scalar) and "<document start>" in str(error.problem):
            without = [composer.root.position]
        for position in without:
            problems.add(position, "a key without ': ' behind it")
        problems.raise_if_any()
        mark = error.problem_mark or error.context_mark
        position = Position(source, mark.line + 1, mark.column + 1) if mark else Position(source)
        problems.fail(position, _about_reference(problems.lines, mark) or _advice(error))
    except Exception as error:  # PyYAML lets IndexError, ValueError and others out on odd input
        position = Position(source, stream.line + 1, stream.column + 1) if stream else Position(source)
        problems.fail(position, f"cannot be read as YAML ({type(error).__name__}: {shown(str(error))})")
    return composer.root


def _character(character: Any) -> str:
    number = ord(character) if isinstance(character, str) else int(character)
    return f"U+{number:04X}"


def _advice(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "cannot be read as YAML")
    if "'\\t'" in problem:
        return "a tab cannot indent a line or start a value; use spaces"
    if "mapping values are not allowed" in problem:
        return "a second ': ' in one line, or a line indented too far; quote a value that holds ': '"
    if "but found '<document start>'" in problem or "expected '<document start>'" in problem:
        return "this does not belong to the document that ended before"
    if "block end" in problem:
        return "this line does not fit the indentation of those before it"
    return f"{error.context}: {problem}" if error.context else problem


def _about_reference(lines: list[str], mark: Any) -> str:
    """The advice where it is a reference that YAML stumbles over."""
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    at_reference = mark is not None and line[max(0, mark.column - 1) : mark.column + 1] == "${"
    return 'quote a reference that stands within { } or [ ]: "${...}"' if at_reference else ""


def _keys_without_colon(lines: list[str], error: MarkedYAMLError) -> list[tuple[int, int]]:
    """Where the keys begin that lack their colon, if that is what is wrong: a later line is where YAML stumbles."""
    key, mark = error.context_mark, error.problem_mark
    if "could not find expected ':'" in str(error.problem) and key is not None:
        return [(key.line + 1, key.column + 1)]
    found: list[tuple[int, int]] = []
    if "mapping values are not allowed" not in str(error.problem) or mark is None:
        return found
    if _COLON.search(lines[mark.line][: mark.column]):
        return found
    for number in range(mark.line - 1, -1, -1):
        text = lines[number].partition(" #")[0]
        if _COLON.search(text) or text.startswith("---"):
            break
        if text.strip(" -"):
            found.append((number + 1, len(text) - len(text.lstrip(" -")) + 1))
    return found[::-1]


class _Composer:
    """Builds nodes from parser events, without recursion."""

    def __init__(self, source: str, problems: Collector) -> None:
        self.source, self.problems = source, problems
        self.root: YamlNode | None = None
        self.documents = self.count = 0
        self.anchors: dict[str, YamlNode] = {}
        self.open: list[List | Map] = []
        self.keys: list[Scalar | None] = []

    def take(self, event: events.Event) -> None:
        mark: Any = event.start_mark
        position = Position(self.source, mark.line + 1, mark.column + 1)
        if isinstance(event, events.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.problems.fail(position, "a second document begins here; a config is one document")
        elif isinstance(event, events.AliasEvent):
            self.attach(self.alias(event.anchor, position))
        elif isinstance(event, events.ScalarEvent):
            self.attach(self.anchored(self.scalar(event, position), event.anchor))
        elif isinstance(event, (events.SequenceStartEvent, events.MappingStartEvent)):
            self.start(event, position)
        elif isinstance(event, (events.SequenceEndEvent, events.MappingEndEvent)):
            self.open.pop()
            self.keys.pop()

    def start(self, event: Any, position: Position) -> None:
        is_list = isinstance(event, events.SequenceStartEvent)
        if not is_plain_tag(event.tag, "seq" if is_list else "map"):
            self.problems.add(position, refused_tag(event.tag))
        node: List | Map = List(position, []) if is_list else Map(position, [])
        self.attach(self.anchored(node, event.anchor))
        self.open.append(node)
        self.keys.append(None)
        if len(self.open) > MAX_DEPTH:
            self.problems.fail(position, f"nested too deep (at most {MAX_DEPTH} levels)")

    def scalar(self, event: events.ScalarEvent, position: Position) -> Scalar:
        try:
            if event.tag is not None:
                return Scalar(position, tagged_scalar(event.tag, event.value), True)
            if event.implicit[0]:
                return Scalar(position, plain_scalar(event.value))
            return Scalar(position, event.value, True)
        except ValueError as error:
            self.problems.add(position, str(error))
            return Scalar(position, INVALID)

    def anchored(self, node: YamlNode, anchor: str | None) -> YamlNode:
        if anchor is not None:
            node.anchor = anchor
            self.anchors[anchor] = node
        return node

    def alias(self, name: str | None, position: Position) -> YamlNode:
        target = self.anchors.get(name or "")
        if target is None:
            self.problems.add(position, f"the alias *{name} names no anchor defined before it")
        elif any(node is target for node in self.open):
            self.problems.add(position, f"the alias *{name} stands inside the value it names")
        else:
            target.used = True
            return Alias(position, target)
        return Scalar(position, INVALID)

    def attach(self, node: YamlNode) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            self.problems.fail(node.position, f"too many values (at most {MAX_NODES:,})")
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if isinstance(parent, List):
            parent.items.append(node)
        elif (key := self.keys[-1]) is None:
            self.keys[-1] = self.as_key(node)
        else:
            parent.pairs.append((key, node))
            self.keys[-1] = None

    def as_key(self, node: YamlNode) -> Scalar:
        if isinstance(node, Scalar) and (isinstance(node.value, str) or node.value is INVALID):
            return node
        what = shown(node.value) if isinstance(node, Scalar) else "a list, a mapping or an alias"
        self.problems.add(
            node.position, f"a key must be a string, received {what}; quote it if it is meant as one"
        )
        return Scalar(node.position, INVALID)


def resolve(root: YamlNode, problems: Collector) -> YamlNode:
    """The tree with aliases replaced by what they name and merge keys (`<<`) merged.

    A key that stands twice goes to `problems`; too deep or too many expanded values raise `ConfigError`.
    """
    return _Resolver(problems).node(root, 0)[0]


def resolve_map(root: Map, problems: Collector) -> Map:
    """As `resolve`, but a key that stands twice at the top is kept twice, for the caller to judge."""
    resolver = _Resolver(problems, keep_duplicates_at_top=True)
    return Map(root.position, [(key, value) for key, (value, _, _) in resolver.checked_pairs(root)])


_Measured = tuple[YamlNode, int, int]
_Pair = tuple[Scalar, _Measured]


def merge_sources(value: YamlNode) -> list[YamlNode]:
    """The nodes that the value of a merge key (`<<`) names, first come first served."""
    value = value.target if isinstance(value, Alias) else value
    items = value.items if isinstance(value, List) else [value]
    return [item.target if isinstance(item, Alias) else item for item in items]


class _Resolver:
    def __init__(self, problems: Collector, keep_duplicates_at_top: bool = False) -> None:
        self.problems, self.keep_duplicates_at_top = problems, keep_duplicates_at_top
        self.done: dict[int, _Measured] = {}
        self.done_pairs: dict[int, list[_Pair]] = {}

    def node(self, node: YamlNode, depth: int) -> _Measured:
        """A resolved node, the number of values in it and its height."""
        if isinstance(node, Alias):
            return self.node(node.target, depth)
        if id(node) in self.done:
            result = self.done[id(node)]
        elif isinstance(node, List):
            items = [self.node(item, depth + 1) for item in node.items]
            resolved: YamlNode = List(node.position, [item for item, _, _ in items])
            result = self.measured(resolved, items)
        elif isinstance(node, Map):
            pairs = self.pairs(node, depth)
            resolved = Map(node.position, [(key, value) for key, (value, _, _) in pairs])
            result = self.measured(resolved, [value for _, value in pairs])
        else:
            result = node, 1, 1
        self.done[id(node)] = result
        if depth + result[2] > MAX_DEPTH + 1:
            self.stop(node, f"nested too deep once aliases are expanded (at most {MAX_DEPTH} levels)")
        return result

    def checked_pairs(self, node: Map) -> list[_Pair]:
        """The pairs of the root, with the caps checked."""
        pairs = self.pairs(node, 0)
        self.measured(node, [value for _, value in pairs])
        return pairs

    def measured(self, node: YamlNode, inner: list[_Measured]) -> _Measured:
        size = 1 + sum(count for _, count, _ in inner)
        if size > MAX_NODES:
            self.stop(node, f"aliases expand to too many values (at most {MAX_NODES:,})")
        return node, size, 1 + max((height for _, _, height in inner), default=0)

    def stop(self, node: YamlNode, message: str) -> None:
        self.problems.fail(node.position, message)

    def pairs(self, node: Map, depth: int) -> list[_Pair]:
        if id(node) not in self.done_pairs:
            self.done_pairs[id(node)] = self.new_pairs(node, depth)
        return self.done_pairs[id(node)]

    def new_pairs(self, node: Map, depth: int) -> list[_Pair]:
        keep = self.keep_duplicates_at_top and depth == 0
        own: list[_Pair] = []
        merged: list[_Pair] = []
        seen: dict[str, Scalar] = {}
        for key, value in node.pairs:
            if key.value == "<<" and not key.quoted:
                merged += self.merged(value, depth)
            elif key.value is INVALID:
                self.node(value, depth + 1)
            elif key.value in seen and not keep:
                first = seen[key.value].position
                self.problems.add(
                    key.position, f"the key '{key.value}' stands twice, first at line {first.line or '?'}"
                )
            else:
                seen[key.value] = key
                own.append((key, self.node(value, depth + 1)))
        for key, result in merged:
            if key.value not in seen:
                seen[key.value] = key
                own.append((key, result))
        return own

    def merged(self, value: YamlNode, depth: int) -> list[_Pair]:
        found: dict[str, _Pair] = {}
        for item in merge_sources(value):
            if isinstance(item, Map):
                for key, result in self.pairs(item, depth + 1):
                    found.setdefault(key.value, (key, result))
            elif not (isinstance(item, Scalar) and item.value is INVALID):
                self.problems.add(item.position, "'<<' merges a mapping or a list of mappings, nothing else")
        return list(found.values())


def parse_yaml(text: str, source: str = "<text>") -> Any:
    """The plain value of a YAML text; `ConfigError` lists everything that is wrong with it.

    >>> parse_yaml("{rate: 1e-8, base: &b {x: 1}, also: {<<: *b, y: .5}}")
    {'rate': 1e-08, 'base': {'x': 1}, 'also': {'y': 0.5, 'x': 1}}
    """
    problems = Collector(text)
    root = compose(text, source, problems)
    resolved = None if root is None else resolve(root, problems)
    problems.raise_if_any()
    return None if resolved is None else to_plain(resolved)
