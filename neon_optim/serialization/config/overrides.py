"""`--set a.b.c=value`: changes of a config tree from the command line."""

from __future__ import annotations

import re

from neon_optim.errors import Position, shown
from neon_optim.serialization.config.yaml_nodes import (
    INVALID,
    Alias,
    Collector,
    List,
    Map,
    Scalar,
    YamlNode,
)
from neon_optim.serialization.config.yaml_tree import compose, merge_sources

_FORM = "an override is path=value, like optimizer.config.learning_rate=0.01 or layers[0].config.nout=100"
_PART = re.compile(r"([^.\[\]=]+)|\[(-?\d+)\]")


def apply_override(root: Map, text: str, problems: Collector) -> None:
    """Change the tree as `path=value` says; the value is YAML.

    Keys are joined by dots, items of lists are chosen by `[0]` or `.0` (`-1` is the last). Mappings that lack
    on the way are made. Changing the definition of an anchored value changes every use of it; changing a use
    changes only that. Faults go to `problems` with the override as their source.
    """
    source = f"--set {text}"
    path, equals, value_text = text.partition("=")
    parts = _split(path.strip())
    if not equals or not parts:
        problems.add(Position(source), _FORM)
        return
    own = Collector()
    value = compose(value_text, source, own)
    for problem in own.found:
        problems.add(Position(source), problem.message)
    _place(root, parts, _without_lines(value, Position(source)), problems)


def _split(path: str) -> list[str]:
    """The parts of `a.b[0].c`, or nothing if it is not of that form."""
    parts, at = [], 0
    while at < len(path):
        if at and path[at] == ".":
            at += 1
        match = _PART.match(path, at)
        if match is None or (at and match.group(1) and path[at - 1] != "."):
            return []
        parts.append(match.group(1) or match.group(2))
        at = match.end()
    return [] if path.endswith(".") else parts


def _without_lines(node: YamlNode | None, position: Position) -> YamlNode:
    """The nodes of an override, all at the position of the override; nothing is null."""
    if node is None:
        return Scalar(position, None)
    node.position = position
    if isinstance(node, Map):
        for key, value in node.pairs:
            key.position = position
            _without_lines(value, position)
    elif isinstance(node, List):
        for item in node.items:
            _without_lines(item, position)
    return node


def _place(root: Map, parts: list[str], value: YamlNode, problems: Collector) -> None:
    node: YamlNode = root
    for depth, part in enumerate(parts):
        here = ".".join(parts[:depth]) or "the config"
        last = depth == len(parts) - 1
        if isinstance(node, List):
            index = _index(node, part, here, value.position, problems)
            if index is None:
                return
            if last:
                _replace(root, node.items[index], value)
                node.items[index] = value
            else:
                child = _own(node.items[index])
                node.items[index] = child
                node = child
        elif isinstance(node, Map):
            if last:
                _replace(root, node.get(part), value)
                _put(node, part, value)
            else:
                found = _find(node, part)
                child = Map(value.position, []) if found is None or _is_null(found) else _own(found)
                _put(node, part, child)
                node = child
        else:
            if isinstance(node, Scalar) and node.value is not INVALID:
                problems.add(value.position, f"{here} is {shown(node.value)}; there is no '{part}' in it")
            return


def _is_null(node: YamlNode) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _replace(root: YamlNode, old: YamlNode | None, new: YamlNode) -> None:
    """Let the aliases of an anchored value name its replacement."""
    if old is None or not old.used:
        return
    new.anchor, new.used = old.anchor, True
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Alias):
            node.target = new if node.target is old else node.target
        elif isinstance(node, Map):
            waiting += [value for _, value in node.pairs]
        elif isinstance(node, List):
            waiting += node.items


def _own(node: YamlNode) -> YamlNode:
    """The node itself where it is defined here; a copy of what it names where it is an alias."""
    if isinstance(node, Alias):
        target = node.target
        if isinstance(target, Map):
            return Map(target.position, [(key, _reference(value)) for key, value in target.pairs])
        if isinstance(target, List):
            return List(target.position, [_reference(item) for item in target.items])
        return target
    return node


def _reference(node: YamlNode) -> YamlNode:
    return node if isinstance(node, Alias) else Alias(node.position, node)


def _index(node: List, part: str, here: str, position: Position, problems: Collector) -> int | None:
    count = len(node.items)
    if not re.fullmatch(r"-?\d{1,9}", part):
        problems.add(position, f"{here} is a list of {count}: give an item's number, received '{part}'")
        return None
    index = int(part)
    if not -count <= index < count:
        problems.add(position, f"{here} has {count} items, numbered from 0; there is no item {index}")
        return None
    return index


def _find(node: Map, key: str) -> YamlNode | None:
    """The value of a key, merged ones included."""
    seen: set[int] = set()
    waiting: list[YamlNode] = [node]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, Map) or id(current) in seen:
            continue
        seen.add(id(current))
        found = current.get(key)
        if found is not None:
            return found if current is node else _reference(found)
        waiting += [
            item for name, value in current.pairs if name.value == "<<" for item in merge_sources(value)
        ]
    return None


def _put(node: Map, key: str, value: YamlNode) -> None:
    """Set a key; of one that stands twice, all."""
    places = [index for index, (name, _) in enumerate(node.pairs) if name.value == key]
    for index in places:
        node.pairs[index] = (node.pairs[index][0], value)
    if not places:
        node.pairs.append((Scalar(value.position, key), value))
