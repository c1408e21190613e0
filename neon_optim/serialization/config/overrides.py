"""`--set a.b.c=value`: changes of a config tree from the command line."""

from __future__ import annotations

import re

from neon_optim.errors import Position, shown
from neon_optim.serialization.config.yaml_edit import find, own, put, replace
from neon_optim.serialization.config.yaml_nodes import INVALID, Collector, List, Map, Scalar, YamlNode
from neon_optim.serialization.config.yaml_tree import compose

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
    parts = split_path(path.strip())
    if not equals or not parts:
        problems.add(Position(source), _FORM)
        return
    own = Collector()
    value = compose(value_text, source, own)
    for problem in own.found:
        problems.add(Position(source), problem.message)
    _place(root, parts, _without_lines(value, Position(source)), problems)


def split_path(path: str) -> list[str]:
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
                replace(root, node.items[index], value)
                node.items[index] = value
            else:
                child = own(node.items[index])
                node.items[index] = child
                node = child
        elif isinstance(node, Map):
            if last:
                replace(root, node.get(part), value)
                put(node, part, value)
            else:
                found = find(node, part)
                child = Map(value.position, []) if found is None or _is_null(found) else own(found)
                put(node, part, child)
                node = child
        else:
            if isinstance(node, Scalar) and node.value is not INVALID:
                problems.add(value.position, f"{here} is {shown(node.value)}; there is no '{part}' in it")
            return


def _is_null(node: YamlNode) -> bool:
    return isinstance(node, Scalar) and node.value is None


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
