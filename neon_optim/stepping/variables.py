"""What can be bound to an optimizer, as layers: arrays, pairs, objects with data and a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.errors import StateError, shown

__all__ = ["Pair", "Variable", "layers_of"]


class Variable:
    """A layer of one parameter: an object with ``data`` and ``grad``, which may change or be None between steps."""

    def __init__(self, name: str, holder: Any, be: Any):
        self.name = name
        self._holder = holder
        self._be = be
        self._states: list[Any] = []

    @property
    def fixed(self) -> bool:
        """Whether its arrays stay the same objects."""
        return isinstance(self._holder, Pair)

    def get_params(self) -> Any:
        """The parameter as it is now; its gradient may be None."""
        return (self._shared(self._holder.data), self._shared(self._holder.grad)), self._states

    def _shared(self, value: Any) -> Any:
        return (
            value if value is None or isinstance(value, (np.ndarray, Tensor)) else self._be.as_tensor(value)
        )


class Pair:
    """A parameter and its gradient, as an object with ``data`` and ``grad``."""

    def __init__(self, data: Any, grad: Any):
        self.data = data
        self.grad = grad


def layers_of(parameters: Any, be: Any) -> list[Any]:
    """What :meth:`Optimizer.bind` takes, as layers."""
    if isinstance(parameters, Mapping):
        return [_layer(value, str(name), be) for name, value in parameters.items()]
    if isinstance(parameters, tuple) and _is_pair(parameters):
        raise StateError(
            "bind((a, b)) may mean two things: write [(param, grad)] for a pair, [a, b] for parameters"
        )
    if _is_array(parameters) or hasattr(parameters, "get_params") or _is_variable(parameters):
        parameters = [parameters]
    if isinstance(parameters, str) or not isinstance(parameters, Iterable):
        raise StateError(
            f"bind takes parameters, (param, grad) pairs or layers, received {shown(parameters)}"
        )
    layers = []
    names: dict[str, int] = {}
    for index, item in enumerate(parameters):
        given = getattr(item[0] if _is_pair(item) else item, "name", None)
        name = given if isinstance(given, str) and given else f"parameter_{index}"
        names[name] = names.get(name, 0) + 1
        layers.append(_layer(item, name if names[name] == 1 else f"{name}#{names[name]}", be))
    return layers


def _layer(item: Any, name: str, be: Any) -> Any:
    if hasattr(item, "get_params"):
        return item
    if _is_array(item):
        return Variable(name, Pair(item, be.zeros_like(item)), be)
    if _is_pair(item):
        return Variable(name, Pair(*item), be)
    if _is_variable(item):
        return Variable(name, item, be)
    if isinstance(item, (tuple, list)):
        return item
    raise StateError(
        f"{name}: expected a layer, an array, a pair (param, grad) or an object with data and grad, "
        f"received {shown(item)}"
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Tensor))


def _is_variable(value: Any) -> bool:
    return hasattr(value, "data") and hasattr(value, "grad")


def _is_pair(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return hasattr(value[0], "shape") and (value[1] is None or hasattr(value[1], "shape"))
