"""Every setting of a config as it is in effect, with where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from neon_optim.described.arguments import REQUIRED, Argument, constructor_arguments
from neon_optim.described.values import plain
from neon_optim.errors import NeonOptimError, Position
from neon_optim.serialization.config.loading import Config
from neon_optim.serialization.config.object_builder import Origin, join, position_in
from neon_optim.serialization.config.settings import Settings, table_class

__all__ = ["ResolvedSetting", "resolved_settings"]


class ResolvedSetting(NamedTuple):
    """One setting.

    Attributes:
        path: where it stands: ``optimizer.config.learning_rate``.
        name: the last part of it.
        depth: how many objects it is inside of.
        value: the value, in plain Python; of an object the name of its class, and what is inside follows.
        is_object: whether it is an object.
        place: the place in a file, or the override, that it comes from; None: it is the default.
    """

    path: str
    name: str
    depth: int
    value: Any
    is_object: bool
    place: Position | None


def resolved_settings(config: Config, dataset: Any = None) -> Iterator[ResolvedSetting]:
    """Every setting of a config that was loaded, those inside its objects too.

    Arguments:
        dataset: the dataset, where it was built.

    >>> from neon_optim.serialization import load_config
    >>> config = load_config("epochs: 3\\noptimizer: {type: SGD, config: {learning_rate: 0.5}}\\n", ["epochs=4"])
    >>> for setting in resolved_settings(config):
    ...     if setting.place:
    ...         print(setting.path, setting.value, setting.place)
    optimizer SGD <text>:2:12
    optimizer.config.learning_rate 0.5 <text>:2:48
    epochs 4 --set epochs=4
    """
    yield from _Resolver(config, dataset).settings()


class _Resolver:
    def __init__(self, config: Config, dataset: Any) -> None:
        self._config, self._dataset = config, dataset

    def settings(self) -> Iterator[ResolvedSetting]:
        config = self._config
        for name in constructor_arguments(Settings):
            place = config.position(name) if name in config else None
            if table_class(name) is not None and getattr(config.settings, name) is not None:
                yield from self._table(name, place)
            else:
                value = self._dataset if name == "dataset" else getattr(config.settings, name)
                if name == "dataset" and value is None:
                    value = config.get("dataset")
                yield from self._value(name, name, 0, value, place)

    def _table(self, key: str, place: Position | None) -> Iterator[ResolvedSetting]:
        given = self._config.get(key) or {}
        yield ResolvedSetting(key, key, 0, "", True, place)
        for name in constructor_arguments(table_class(key)):
            where = self._config.position(key, name) if name in given else None
            value = getattr(getattr(self._config.settings, key), name)
            yield ResolvedSetting(f"{key}.{name}", name, 1, value, False, where)

    def _value(
        self, path: str, name: str, depth: int, value: Any, place: Position | None
    ) -> Iterator[ResolvedSetting]:
        origin = self._config.origin(value)
        if origin is not None:
            yield ResolvedSetting(path, name, depth, type(value).__name__, True, origin.node.position)
            yield from self._arguments(value, depth + 1, origin)
        elif _holds_objects(value):
            yield ResolvedSetting(path, name, depth, "", True, place)
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in pairs:
                yield from self._value(join(path, key), str(key), depth + 1, item, place)
        else:
            yield ResolvedSetting(path, name, depth, _plain(value), False, place)

    def _arguments(self, thing: Any, depth: int, origin: Origin) -> Iterator[ResolvedSetting]:
        for name, argument in constructor_arguments(type(thing)).items():
            node = origin.config.get(name) if origin.config is not None else None
            place = None if node is None else position_in(node, ())
            yield from self._value(
                join(origin.config_path, name), name, depth, _in_effect(thing, argument, place), place
            )


def _in_effect(thing: Any, argument: Argument, place: Position | None) -> Any:
    """The value of an argument; where none is given, not the object that does as if there were none."""
    default = None if argument.default is REQUIRED else argument.default
    value = getattr(thing, argument.name, default)
    return default if place is None and hasattr(value, "get_description") else value


def _holds_objects(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(hasattr(item, "get_description") for item in value.values())
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and any(hasattr(item, "get_description") for item in value)
    )


def _plain(value: Any) -> Any:
    try:
        return plain(value)
    except NeonOptimError:
        return repr(value)
