"""Nodes that describe objects → the objects, with every fault at its position."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from neon_optim.described import registry
from neon_optim.described.arguments import (
    Argument,
    argument_problems,
    closest,
    constructor_arguments,
    suggestion,
)
from neon_optim.described.build import inner_check, object_kinds
from neon_optim.described.checks import Check, Either, Items, Nothing, Table
from neon_optim.errors import ArgumentError, NeonOptimError, Position, Problem, RegistryError, shown
from neon_optim.serialization.config.yaml_nodes import (
    INVALID,
    Collector,
    List,
    Map,
    Scalar,
    YamlNode,
    to_plain,
)
from neon_optim.serialization.config.yaml_scalars import meant

_WORD = re.compile(r"[A-Za-z_]\w*")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def join(path: str, part: str | int) -> str:
    """The path of what `part` leads to: `layers[0].config.init`."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    step = part if _WORD.fullmatch(part) else f"[{shown(part)}]"
    return f"{path}.{step}" if path and not step.startswith("[") else path + step


class Origin(NamedTuple):
    """Where an object was described: its node and the path to that, the node of its arguments and the path to those."""

    node: YamlNode
    path: str
    config: Map | None
    config_path: str


class ObjectBuilder:
    """Builds what resolved nodes describe; faults go to `problems`, and INVALID stands for what was not built."""

    def __init__(self, problems: Collector) -> None:
        self.problems = problems
        self.made: dict[int, tuple[Any, Origin]] = {}  # by id()

    def value(self, node: YamlNode, check: Check | None, path: str) -> Any:
        """The value of a node for an argument with this check, descriptions in it turned into objects."""
        kinds = object_kinds(check)
        if isinstance(node, Scalar):
            return self._scalar(node, check, kinds, path)
        inner = inner_check(check)
        if isinstance(node, List):
            return [self.value(item, inner, join(path, index)) for index, item in enumerate(node.items)]
        if not isinstance(node, Map):
            return to_plain(node)
        if self.is_no_list(node, check, path):
            return INVALID
        if self._describes(node, check) or (check is not None and _only_objects(check)):
            return self.object(node, next(iter(kinds)) if len(kinds) == 1 else None, path)
        return {key.value: self.value(item, inner, join(path, key.value)) for key, item in node.pairs}

    def is_no_list(self, node: YamlNode, check: Check | None, path: str) -> bool:
        """Complain where a mapping stands for a list: mostly the dashes are missing."""
        if not isinstance(node, Map) or not isinstance(check, Items):
            return False
        self.problems.add(node.position, f"{path} must be {check.allowed}; begin each item with '- '", path)
        return True

    def object(self, node: YamlNode, kind: str | None, path: str) -> Any:
        """The object that `{type: name, config: {…}}` or a bare class name describes."""
        found = self.resolve(node, kind, path)
        if found is None:
            return INVALID
        cls, config, config_path = found
        kwargs = self.arguments(cls, config, node, config_path)
        if kwargs is None:
            return INVALID
        try:
            made = cls(**kwargs)
            self.made[id(made)] = made, Origin(node, path, config, config_path)
            return made
        except ArgumentError as error:
            nodes = {key.value: (key, value) for key, value in config.pairs} if config else {}
            known = constructor_arguments(cls)
            for problem in error.problems:
                self._report(
                    problem, nodes.get(problem.argument), known.get(problem.argument), node, config_path
                )
            if not error.problems:
                self._complain(node, str(error), path)
        except NeonOptimError as error:
            self._complain(node, str(error), path)
        except Exception as error:
            message = f"{cls.__name__} cannot be built: {type(error).__name__}: {str(error)[:200]}"
            self._complain(node, message, path)
        return INVALID

    def resolve(self, node: YamlNode, kind: str | None, path: str) -> tuple[Any, Map | None, str] | None:
        """The class a description names, the node of its config and the path to that; None after a complaint."""
        what = kind or "class"
        if isinstance(node, Scalar):
            type_node: YamlNode | None = node
            config: YamlNode | None = None
            type_path, config_path = path, join(path, "config")
        elif isinstance(node, Map):
            type_node, config = node.get("type"), node.get("config")
            type_path, config_path = join(path, "type"), join(path, "config")
        else:
            type_node = None
        if type_node is None:
            form = f"must be {{type: <name of the {what}>, config: {{...}}}}"
            hint = (
                closest("type", node.keys()).replace("you mean", "you misspell")
                if isinstance(node, Map)
                else ""
            )
            self.problems.add(node.position, f"{path} {form}, received {shown(to_plain(node))}{hint}", path)
            return None
        cls = self._class(type_node, kind, type_path)
        if isinstance(node, Map):
            self._only_description_keys(node, cls, path)
        if isinstance(config, Scalar) and config.value is None:
            config = None
        if config is not None and not isinstance(config, Map):
            if to_plain(config) is not INVALID:
                message = f"{config_path} must be a mapping of arguments, received {shown(to_plain(config))}"
                self.problems.add(config.position, message, config_path)
            return None
        return None if cls is None else (cls, config, config_path)

    def arguments(self, cls: Any, config: Map | None, node: YamlNode, path: str) -> dict[str, Any] | None:
        """The constructor arguments in a config, built and checked; None if anything is wrong with them.

        `node` is where to point at if there is no config.
        """
        known = constructor_arguments(cls)
        nodes = {key.value: (key, value) for key, value in config.pairs} if config else {}
        kwargs = {
            name: self.value(value, known[name].check if name in known else None, join(path, name))
            for name, (_, value) in nodes.items()
        }
        problems = argument_problems(cls, (), kwargs)
        for problem in problems:
            if not holds_invalid(problem.received):
                self._report(
                    problem, nodes.get(problem.argument), known.get(problem.argument), config or node, path
                )
        return None if problems or holds_invalid(kwargs) else kwargs

    def _scalar(self, node: Scalar, check: Check | None, kinds: frozenset[str], path: str) -> Any:
        value = node.value
        if not isinstance(value, str) or check is None or not any(check.faults(value)):
            return value
        if not kinds:
            return value
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        if _DOTTED.fullmatch(value):
            try:
                registry.resolve(value, kind)
            except RegistryError:
                if not _only_objects(check):
                    return value
            return self.object(node, kind, path)
        return value

    def _describes(self, node: Map, check: Check | None) -> bool:
        type_node = node.get("type")
        if not isinstance(type_node, Scalar) or not isinstance(type_node.value, str):
            return False
        return set(node.keys()) <= {"type", "config"} or not isinstance(check, Table)

    def _class(self, node: YamlNode, kind: str | None, path: str) -> Any:
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            if to_plain(node) is not INVALID:
                message = f"{path} must be the name of a class, received {shown(to_plain(node))}"
                self.problems.add(node.position, message, path)
            return None
        try:
            cls = registry.resolve(node.value, kind)
        except RegistryError as error:
            self._complain(node, str(error), path)
            return None
        if registry.is_abstract(cls):
            self._complain(node, f"{cls.__name__} is a base class to derive from; it cannot be built", path)
            return None
        return cls

    def _only_description_keys(self, node: Map, cls: Any, path: str) -> None:
        for key, _ in node.pairs:
            if key.value in ("type", "config"):
                continue
            arguments = [] if cls is None else constructor_arguments(cls)
            if key.value in arguments:
                hint = f"; it is an argument of {cls.__name__}: put it under config"
            else:
                hint = suggestion(key.value, ("type", "config", *arguments))
            where = join(path, key.value)
            message = f"{where} is unknown: beside type stands only config, with the arguments{hint}"
            self.problems.add(key.position, message, where)

    def _complain(self, node: YamlNode, message: str, path: str) -> None:
        self.problems.add(node.position, f"{path}: {message}" if path else message, path)

    def _report(
        self,
        problem: Problem,
        given: tuple[Scalar, YamlNode] | None,
        argument: Argument | None,
        whole: YamlNode,
        path: str,
    ) -> None:
        position = whole.position
        where = join(path, problem.argument)
        for part in problem.path:
            where = join(where, part)
        hint = problem.hint
        if given is not None:
            key, node = given
            position = key.position if argument is None else position_in(node, problem.path)
            if argument is not None and argument.check is not None and not problem.path:
                hint = hint or _advice(node, argument.check)
        text = str(problem._replace(hint=hint)).removeprefix(problem.where())
        self.problems.add(position, where + text, where)


def position_in(node: YamlNode, path: tuple[str | int, ...]) -> Position:
    """Where in `node` the value that `path` leads to stands, or the last known node on the way."""
    for part in path:
        inner: YamlNode | None = None
        if isinstance(node, List) and isinstance(part, int) and part < len(node.items):
            inner = node.items[part]
        elif isinstance(node, Map) and isinstance(part, str):
            inner = node.get(part)
        if inner is None:
            break
        node = inner
    return node.position


def holds_invalid(value: Any) -> bool:
    """Is there an INVALID in a value or in the lists and mappings of it?"""
    if isinstance(value, dict):
        return any(holds_invalid(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds_invalid(item) for item in value)
    return value is INVALID


def _only_objects(check: Check) -> bool:
    if isinstance(check, Either):
        return all(isinstance(item, Nothing) or _only_objects(item) for item in check.checks)
    return bool(object_kinds(check))


def _advice(node: YamlNode, check: Check) -> str:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return ""
    for value, advice in meant(node.value, node.quoted):
        if not any(check.faults(value)):
            return f"; {advice}"
    return ""
