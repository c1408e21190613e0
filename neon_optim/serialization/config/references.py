"""`${a.b.c}` and `${env:NAME}` in the values of a config: what they stand for."""

from __future__ import annotations

import os
import re

from neon_optim.described.words import closest
from neon_optim.errors import shown
from neon_optim.serialization.config.overrides import split_path
from neon_optim.serialization.config.yaml_edit import find
from neon_optim.serialization.config.yaml_nodes import INVALID, Alias, Collector, List, Map, Scalar, YamlNode
from neon_optim.serialization.config.yaml_scalars import plain_scalar

__all__ = ["resolve_references"]

_PART = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_FORM = "a reference is ${a.b.c} or ${env:NAME}"
_MOST_IN_A_ROW = 50


def resolve_references(root: Map, problems: Collector) -> None:
    """Put in the place of each reference what it stands for.

    A value that is one reference alone becomes what it names, of whatever kind, as an alias would; one in a longer text
    becomes part of that. `$${` stands for `${`. Faults go to `problems`.
    """
    _References(root, problems).inside(root)


class _References:
    def __init__(self, root: Map, problems: Collector) -> None:
        self.root, self.problems = root, problems
        self.done: dict[
            int, tuple[YamlNode, YamlNode]
        ] = {}  # by id(): what stood there, and what stands for it
        self.open: list[int] = []

    def value(self, node: YamlNode) -> YamlNode:
        """What stands for a node."""
        if isinstance(node, Alias):
            node.target = _target(self.value(node.target))
            return node
        if id(node) not in self.done and id(node) not in self.open:
            if isinstance(node, (Map, List)):
                self.inside(node)
                self.done[id(node)] = node, node
            elif isinstance(node, Scalar) and isinstance(node.value, str) and "${" in node.value:
                self.open.append(id(node))
                made = self.text(node, node.value)
                self.open.pop()
                if node.used:
                    made.anchor, made.used = node.anchor, True
                self.done[id(node)] = node, made
        return self.done[id(node)][1] if id(node) in self.done else node

    def inside(self, node: Map | List) -> None:
        """Resolve what is in a mapping or a list."""
        self.open.append(id(node))
        if isinstance(node, Map):
            node.pairs = [(key, self.value(item)) for key, item in node.pairs]
        else:
            node.items = [self.value(item) for item in node.items]
        self.open.pop()

    def text(self, node: Scalar, text: str) -> YamlNode:
        """What a text with references in it stands for."""
        alone = _PART.fullmatch(text)
        if alone is not None and alone[1] is not None:
            return self.referred(node, alone[1])
        found, end = "", 0
        for part in _PART.finditer(text):
            found += text[end : part.start()]
            end = part.end()
            if part[1] is None:
                found += "${"
                continue
            value = _target(self.referred(node, part[1], as_text=True))
            if not isinstance(value, Scalar) or not isinstance(value.value, (str, int, float)):
                if not isinstance(value, Scalar) or value.value is not INVALID:
                    self.complain(node, f"{part[0]} is no text or number, so it cannot be part of a text")
                return Scalar(node.position, INVALID)
            is_flag = isinstance(value.value, bool)
            found += str(value.value).lower() if is_flag else str(value.value)
        if "${" in _PART.sub("", text):
            self.complain(
                node,
                f"a reference is ${{a.b.c}} or ${{env:NAME}}, received {shown(text)}; $${{ is ${{ itself",
            )
            return Scalar(node.position, INVALID)
        return Scalar(node.position, found + text[end:], True)

    def referred(self, node: Scalar, name: str, as_text: bool = False) -> YamlNode:
        """What a reference stands for; INVALID after a complaint."""
        kind, colon, variable = name.partition(":")
        if colon:
            return self.variable(node, kind.strip(), variable.strip(), as_text)
        target = self.at(node, name.strip())
        if target is None:
            return Scalar(node.position, INVALID)
        if id(_target(target)) in self.open or len(self.open) > _MOST_IN_A_ROW:
            why = (
                "leads back to itself"
                if id(_target(target)) in self.open
                else "leads too far: references in a row"
            )
            self.complain(node, f"${{{name}}} {why}")
            return Scalar(node.position, INVALID)
        made = self.value(target)
        made.used = _target(made).used = True
        return Alias(node.position, _target(made))

    def at(self, node: Scalar, path: str) -> YamlNode | None:
        """The value at a path from the top; None after a complaint."""
        here: YamlNode = self.root
        parts = split_path(path)
        if not parts:
            self.complain(node, f"{_FORM}, received ${{{path}}}")
            return None
        for depth, part in enumerate(parts):
            if id(here) not in self.open:
                here = self.value(here)
                here.used = here.used or isinstance(here, Alias)
            here = _target(here)
            inner: YamlNode | None = None
            names: list[str] = []
            if isinstance(here, Map):
                inner, names = find(here, part), here.keys()
            elif isinstance(here, List) and re.fullmatch(r"-?\d{1,9}", part):
                inner = here.items[int(part)] if -len(here.items) <= int(part) < len(here.items) else None
            if inner is None:
                where = ".".join(parts[:depth]) or "the config"
                known = [name for name in names if isinstance(name, str)]
                self.complain(node, f"${{{path}}}: there is no '{part}' in {where}{closest(part, known)}")
                return None
            here = inner
        return here

    def variable(self, node: Scalar, kind: str, name: str, as_text: bool) -> YamlNode:
        """The value of an environment variable, read as a YAML value unless it is part of a text."""
        if kind != "env" or not name:
            self.complain(node, f"{_FORM}, received ${{{kind}:{name}}}")
        elif name not in os.environ:
            self.complain(node, f"the environment variable {name} is not set{closest(name, os.environ)}")
        else:
            text = os.environ[name]
            try:
                return Scalar(node.position, text if as_text else plain_scalar(text), as_text)
            except ValueError as error:
                self.complain(node, f"the environment variable {name}: {error}")
        return Scalar(node.position, INVALID)

    def complain(self, node: YamlNode, message: str) -> None:
        self.problems.add(node.position, message)


def _target(node: YamlNode) -> YamlNode:
    while isinstance(node, Alias):
        node = node.target
    return node
