"""Model configs: YAML files → checked settings and objects.

The keys are those of `neon_optim.serialization.config.settings.Settings`. Everything in the file is checked when it
is loaded, objects are built once, and all faults are reported together, each as file:line:column.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from neon_optim.described.arguments import constructor_arguments, suggestion
from neon_optim.errors import ConfigError, ConfigWarning, Position, Problem, shown
from neon_optim.serialization.config.object_builder import ObjectBuilder, Origin, join, position_in
from neon_optim.serialization.config.overrides import apply_override
from neon_optim.serialization.config.reading import EXTENDS, Source, read_tree
from neon_optim.serialization.config.references import resolve_references
from neon_optim.serialization.config.settings import OTHER_NAMES, Settings, table_class
from neon_optim.serialization.config.yaml_dump import dump_config
from neon_optim.serialization.config.yaml_nodes import (
    INVALID,
    Collector,
    Map,
    Scalar,
    YamlNode,
    holds_used_anchor,
    place_order,
    to_plain,
)
from neon_optim.serialization.config.yaml_tree import resolve_map

__all__ = ["Config", "dump_config", "load_config"]

_MEANT = (
    *OTHER_NAMES,
    EXTENDS,
    "optimizer.config.learning_rate",
)  # what an unknown key may have been meant for, too
_MAY_BE_NULL = ("stop",)
_DATASETS_OF_NEON = ("i1k",)  # those of its own configs that are not here: the rest of such a file is of use
_BACKEND_ARGUMENTS = (
    "backend",
    "engine",
    "device_id",
    "datatype",
    "rng_seed",
    "stochastic_round",
    "deterministic",
)


class Config(Mapping[str, Any]):
    """A loaded config: a read-only mapping of its plain values (anchors expanded, overrides applied).

    Attributes:
        source: the file, or '<text>'.
        settings: every key with its default, as checked Python values; layers, cost and optimizer are
        objects.
        described: the object, where the file is one bare description (`type` and `config` at the top), else
        None.
    """

    def __init__(
        self,
        source: str,
        values: dict[str, Any],
        settings: Settings,
        root: Map,
        build: ObjectBuilder,
        dataset: tuple[Any, dict[str, Any], Origin] | None = None,
        described: Any = None,
    ) -> None:
        self.source, self.settings, self.described = source, settings, described
        self._values, self._root, self._build, self._dataset = values, root, build, dataset

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self.source!r}, {self._values!r})"

    def require(self, *keys: str) -> None:
        """Raise `ConfigError` if one of these keys is not in the file.

        >>> load_config("epochs: 3\\n").require("epochs", "optimizer")
        Traceback (most recent call last):
        neon_optim.errors.ConfigError: <text>: the key 'optimizer' is missing
        """
        missing = [key for key in keys if key not in self._values]
        if missing:
            raise ConfigError.listing(
                [Problem.at(Position(self.source), f"the key '{key}' is missing") for key in missing]
            )

    def backend_arguments(self) -> dict[str, Any]:
        """The arguments for `gen_backend`."""
        arguments = {name: getattr(self.settings, name) for name in _BACKEND_ARGUMENTS}
        return {**arguments, "batch_size": self.settings.batchsize}

    def build_dataset(self, **more: Any) -> Any:
        """The dataset object; `more` are arguments that the file does not give."""
        given = self._values.get("dataset")
        name = given.get("name") if isinstance(given, dict) else None
        if self._dataset is None and name in _DATASETS_OF_NEON:
            place = self.position("dataset", "name")
            raise ConfigError.listing([Problem.at(place, _not_here(name), "dataset.name")])
        if self._dataset is None:
            raise ConfigError(f"{self.source}: the key 'dataset' is missing")
        cls, arguments, origin = self._dataset
        made = cls(**{**more, **arguments})
        self._build.made[id(made)] = made, origin
        return made

    def placed(self, problems: Iterable[Problem]) -> list[Problem]:
        """Problems of objects that this config describes, or of its keys, each with its place, in their order."""
        return sorted(map(self._place, problems), key=place_order)

    def _place(self, problem: Problem) -> Problem:
        known = self.origin(problem.subject)
        position, path, config, config_path = Position(self.source), "", None, ""
        if known is not None:
            node, path, config, config_path = known
            position = node.position
        elif problem.subject is None:
            path, config = problem.argument, self._root
        given = config.get(problem.argument) if config is not None else None
        if given is not None:
            position, path = position_in(given, problem.path), join(config_path, problem.argument)
        message = problem.message
        if path and not message.startswith(path):
            message = f"{path}: {message}"
        return self._build.problems.problem(position, message, path)

    def origin(self, made: Any) -> Origin | None:
        """Where an object of this config is described; None for one of another."""
        known = self._build.made.get(id(made))
        return None if known is None else known[1]

    def position(self, *path: str | int) -> Position:
        """Where a value stands: `config.position("optimizer", "config", "learning_rate")`."""
        return position_in(self._root, path)


def _not_here(name: Any) -> str:
    return f"the dataset '{name}' of neon's is not here; train on another, as by --set dataset='{{name: digits}}'"


def load_config(source: Source, overrides: Iterable[str] = ()) -> Config:
    """Read, check and build a model config.

    Arguments:
        source: a path; or the YAML text itself, a string that holds a line break; or a list of such, of which each is
            laid over those before it, as over a file that it extends.
        overrides: changes made before anything is checked, each `path=value` with the value in YAML:
            `optimizer.config.learning_rate=0.01`, `layers[0].config.nout=100`, `dataset.name=digits`.

    A file may extend others: `extends: base.yaml`, a path from its own folder, or a list of such; docs/configs.md.

    Returns a `Config`. Raises `ConfigError`, and nothing else for a bad file; its `problems` list every
    fault.

    >>> config = load_config("epochs: 3\\nbatchsize: 64\\n", ["epochs=5"])
    >>> config["epochs"], config.settings.batchsize, config.settings.backend
    (5, 64, 'cpu')
    >>> load_config("epochs: 0\\nbatchsise: 64\\n")
    Traceback (most recent call last):
    neon_optim.errors.ConfigError: 2 problems:
      <text>:1:9: epochs must be an integer >= 1, received 0
         1 | epochs: 0
           |         ^
      <text>:2:1: batchsise is unknown; did you mean 'batchsize'?
         2 | batchsise: 64
           | ^~~~~~~~~
    """
    raw, name, problems = read_tree(source, may_be_empty=bool(overrides))
    for override in overrides:
        apply_override(raw, override, problems)
    resolve_references(raw, problems)
    config = _Loader(name, problems).config(raw)
    problems.raise_if_any()
    return config


class _Loader:
    """One config on its way from nodes to settings."""

    def __init__(self, source: str, problems: Collector) -> None:
        self.source, self.problems = source, problems
        self.build = ObjectBuilder(problems)

    def config(self, raw: Map) -> Config:
        raw = Map(raw.position, [(key, self._list_or_invalid(key, value)) for key, value in raw.pairs])
        root = resolve_map(raw, self.problems)
        if root.get("type") is not None and set(root.keys()) <= {"type", "config"}:
            described = self.build.object(root, None, "")
            return Config(self.source, to_plain(root), Settings(), root, self.build, described=described)
        known = self._known_keys(raw, root)
        values = {key.value: to_plain(value) for key, value in known.pairs}
        tables = {key.value: value for key, value in known.pairs if table_class(key.value)}
        special = {"dataset", *tables}
        plain_keys = Map(root.position, [pair for pair in known.pairs if pair[0].value not in special])
        arguments = self.build.arguments(Settings, plain_keys, root, "")
        settings = Settings(**(arguments or {}))
        dataset_node = known.get("dataset")
        dataset = None if dataset_node is None else self._dataset(dataset_node)
        for key, node in tables.items():
            made = self._table(key, node)
            if made is not None:
                setattr(settings, key, made)
        return Config(self.source, values, settings, known, self.build, dataset)

    def _list_or_invalid(self, key: Scalar, value: YamlNode) -> YamlNode:
        """INVALID for a mapping in the place of a list: of its keys, which may stand twice, nothing is said."""
        known = constructor_arguments(Settings).get(key.value)
        if known is not None and self.build.is_no_list(value, known.check, key.value):
            return Scalar(value.position, INVALID)
        return value

    def _known_keys(self, raw: Map, root: Map) -> Map:
        """The pairs whose keys `Settings` has; complains about others, unless they hold an anchor in use."""
        names = constructor_arguments(Settings)
        in_use = {key.value for key, value in raw.pairs if holds_used_anchor(value)}
        first: dict[str, Scalar] = {}
        pairs: list[tuple[Scalar, YamlNode]] = []
        for key, value in root.pairs:
            name = OTHER_NAMES.get(key.value, key.value)
            twice = first.get(name)
            first.setdefault(name, key)
            if name in names:
                if twice is not None:
                    self._twice(key, twice)
                else:
                    pairs.append((Scalar(key.position, name), value))
            elif key.value not in in_use:
                self._unknown(key, names, "", _MEANT)
            elif twice is not None:
                place = ":".join(str(part) for part in key.position if part is not None)
                message = f"{place}: the key '{key.value}' stands twice; both anchors are used"
                warnings.warn(message, ConfigWarning, stacklevel=4)
        return Map(root.position, pairs)

    def _unknown(self, key: Scalar, known: Iterable[str], path: str, meant: Iterable[str] = ()) -> None:
        where = join(path, key.value)
        hint = suggestion(key.value, [*known, *meant]) or f"; known are {', '.join(known)}"
        self.problems.add(key.position, f"{where} is unknown{hint}", where)

    def _twice(self, key: Scalar, first: Scalar) -> None:
        other = "" if first.value == key.value else f" (as '{first.value}')"
        message = f"the key '{key.value}' stands twice, first at line {first.position.line or '?'}{other}"
        self.problems.add(key.position, message)

    def _dataset(self, node: YamlNode) -> tuple[Any, dict[str, Any], Origin] | None:
        """Class, arguments and origin of `{name: digits, …}` or of a description; the data is loaded later."""
        named: list[Scalar] = []
        if isinstance(node, Map):
            named = [key for key, _ in node.pairs if key.value in ("name", "type")]
        if not isinstance(node, Scalar) and len(named) != 1:
            form = "{name: <name of a dataset>}, with its arguments beside the name"
            message = f"dataset must be {form}, received {shown(to_plain(node))}"
            self.problems.add(node.position, message, "dataset")
            return None
        if isinstance(node, Map) and node.get("config") is None:
            given = node.get("name")
            if isinstance(given, Scalar) and given.value in _DATASETS_OF_NEON:
                place = ":".join(str(part) for part in given.position if part is not None)
                warnings.warn(f"{place}: {_not_here(given.value)}", ConfigWarning, stacklevel=4)
                return None
            name, path = named[0].value, "dataset"
            config: Map | None = Map(node.position, [pair for pair in node.pairs if pair[0] is not named[0]])
            found = self.build.resolve(node.get(name) or node, "dataset", join(path, name))
        else:
            if isinstance(node, Map):
                as_type = Scalar(named[0].position, "type")
                pairs = [(as_type if key is named[0] else key, value) for key, value in node.pairs]
                node = Map(node.position, pairs)
            found = self.build.resolve(node, "dataset", "dataset")
            config, path = found[1:] if found else (None, "")
        arguments = None if found is None else self.build.arguments(found[0], config, node, path)
        if found is None or arguments is None:
            return None
        return found[0], arguments, Origin(node, "dataset", config, path)

    def _table(self, key: str, node: YamlNode) -> Any:
        """What a mapping of the arguments of one class stands for; None for null, and after a complaint."""
        cls = table_class(key)
        known = constructor_arguments(cls)
        if isinstance(node, Map):
            for inner, _ in node.pairs:
                if inner.value not in known:
                    self._unknown(inner, known, key)
            node = Map(node.position, [pair for pair in node.pairs if pair[0].value in known])
            arguments = self.build.arguments(cls, node, node, key)
            if arguments is None:
                return None
            made = cls(**arguments)
            self.build.made[id(made)] = made, Origin(node, key, node, key)
            return made
        if key in _MAY_BE_NULL and isinstance(node, Scalar) and node.value is None:
            return None
        message = f"{key} must be a mapping with some of {', '.join(known)}, received {shown(to_plain(node))}"
        self.problems.add(node.position, message, key)
        return None
