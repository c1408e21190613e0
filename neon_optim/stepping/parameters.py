"""Walks what users call layers and yields the parameters in them.

A parameter is neon's tuple ``((param, grad), state)``: two arrays and a list of state arrays. A layer is anything
with ``get_params()``, which returns one such tuple or a list of them. Lists of either may be nested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from neon_optim.backends.contract import Parameter
from neon_optim.errors import StateError, shown

__all__ = ["NamedParameter", "NamedParameters", "get_param_list", "named_parameters"]


class NamedParameter(NamedTuple):
    """A parameter and where it belongs.

    Attributes:
        layer: the layer's name; ``parameter_3`` for the fourth tuple that stands in the list by itself.
        layer_class: the name of the layer's class; None for a tuple by itself.
        name: the name within the layer: that of its tensor, else ``W``, or ``W_0``, ``W_1``, ... where there are more.
        value: the tuple ((param, grad), state).
        start: where the value begins in the tensor that it is a part of, in elements; 0 for a whole tensor.
    """

    layer: str
    layer_class: str | None
    name: str
    value: Parameter
    start: int = 0

    @property
    def path(self) -> str:
        """``layer/name``: what names the parameter in checkpoints and patterns."""
        return f"{self.layer}/{self.name}"


class NamedParameters(list[NamedParameter]):
    """Parameters that have their names already; stands wherever layers may."""


def get_param_list(layer_list: Any) -> list[Parameter]:
    """The ``((param, grad), state)`` tuples of layers, in order (neon/optimizers/optimizer.py).

    >>> import numpy as np
    >>> w = ((np.ones(2), np.ones(2)), [])
    >>> class Layer:
    ...     def get_params(self):
    ...         return w
    >>> len(get_param_list([Layer(), [w, w]]))
    3

    Raises:
        StateError: something in the list is neither a layer nor such a tuple.
    """
    if isinstance(layer_list, NamedParameters):
        return [parameter.value for parameter in layer_list]
    if type(layer_list) is list and all(map(_is_parameter, layer_list)):
        return list(layer_list)
    return [value for _, values in _layers(layer_list, "layer_list") for value in values]


def named_parameters(layer_list: Any) -> NamedParameters:
    """The parameters of layers with their names; a layer name that stands twice gets a number at its second."""
    if isinstance(layer_list, NamedParameters):
        return layer_list
    named = NamedParameters()
    used: dict[str, int] = {}
    for layer, values in _layers(layer_list, "layer_list"):
        given = getattr(layer, "name", None)
        label = given if isinstance(given, str) and given else None
        if layer is not None:
            label = label or type(layer).__name__
        else:
            label = f"parameter_{len(named)}"
        used[label] = used.get(label, 0) + 1
        unique = label if used[label] == 1 else f"{label}#{used[label]}"
        layer_class = None if layer is None else type(layer).__name__
        for name, value in zip(_names(values), values, strict=True):
            named.append(NamedParameter(unique, layer_class, name, value))
    return named


def _names(values: list[Parameter]) -> list[str]:
    given = [getattr(param, "name", None) for (param, _), _ in values]
    if all(isinstance(name, str) and name for name in given) and len(set(given)) == len(given):
        return [str(name) for name in given]
    return ["W"] if len(values) == 1 else [f"W_{k}" for k in range(len(values))]


def _layers(items: Any, where: str) -> Iterator[tuple[Any, list[Parameter]]]:
    """(layer, its parameters) pairs; the layer is None for a tuple by itself."""
    if _is_parameter(items):
        yield None, [items]
    elif hasattr(items, "get_params"):
        yield items, [*_flat(items.get_params(), f"{where} ({type(items).__name__}).get_params()")]
    elif (
        isinstance(items, Iterable)
        and not isinstance(items, (str, bytes, dict))
        and not hasattr(items, "dtype")
    ):
        for index, item in enumerate(items):
            yield from _layers(item, f"{where}[{index}]")
    else:
        raise StateError(
            f"{where} must hold layers with get_params() or ((param, grad), state) tuples, received {shown(items)}"
        )


def _flat(values: Any, where: str) -> Iterator[Parameter]:
    if values is None:
        return
    if _is_parameter(values):
        yield values
    elif isinstance(values, (list, tuple)):
        for index, value in enumerate(values):
            yield from _flat(value, f"{where}[{index}]")
    else:
        raise StateError(
            f"{where}: expected ((param, grad), state) with state a list, received {shown(values)}"
        )


_arrays: set[type] = set()
"""Types that were seen as the first of a pair."""


def _is_parameter(item: Any) -> bool:
    if not isinstance(item, (tuple, list)) or len(item) != 2 or not isinstance(item[1], list):
        return False
    pair = item[0]
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return False
    kind = type(pair[0])
    if kind in _arrays:
        return True
    if issubclass(kind, (tuple, list)) or hasattr(pair[0], "get_params"):
        return False
    if not hasattr(kind, "__getattr__"):
        _arrays.add(kind)
    return True
