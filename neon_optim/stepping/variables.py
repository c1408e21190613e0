"""What can be bound to an optimizer, as layers: arrays, pairs, objects with data and a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.errors import StateError, shown

__all__ = ["SingleParameter", "layers_of"]


class SingleParameter:
    """A layer of one parameter: an array, or an object with ``data``; its gradient may change, or be None for a while.

    Attributes:
        pair: the parameter and its gradient, as they were when somebody looked.
        states: of the optimizer.
    """

    def __init__(self, name: str, param: Any, grad: Any = None, holder: Any = None):
        self.name = name
        self._holder = holder
        self._is_array = holder is None or _has_memory(holder)
        self.pair = (param, grad)
        self.states: list[Any] = []

    @property
    def may_change(self) -> bool:
        """Whether there is an object to look at."""
        return self._holder is not None

    def changed(self) -> bool:
        """Look at the object: whether parameter or gradient are others than before."""
        holder = self._holder
        if holder is None:
            return False
        param, grad = self.pair
        now = param if self._is_array else holder.data
        if now is param and holder.grad is grad:
            return False
        self.pair = (now, holder.grad)
        return True

    def get_params(self) -> Any:
        """The parameter as it is now; its gradient may be None."""
        self.changed()
        return self.pair, self.states


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
        return SingleParameter(name, item, be.zeros_like(item))
    if _is_pair(item):
        return SingleParameter(name, *item)
    if _is_variable(item):
        return SingleParameter(name, item if _has_memory(item) else item.data, item.grad, item)
    if isinstance(item, (tuple, list)):
        return item
    raise StateError(
        f"{name}: expected a layer, an array, a pair (param, grad) or an object with data and grad, "
        f"received {shown(item)}"
    )


def _has_memory(value: Any) -> bool:
    """Whether an object with ``data`` and ``grad`` is itself an array, as those of PyTorch are."""
    return hasattr(value, "data_ptr") or hasattr(value, "__array_interface__")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Tensor))


def _is_variable(value: Any) -> bool:
    return hasattr(value, "data") and hasattr(value, "grad")


def _is_pair(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return hasattr(value[0], "shape") and (value[1] is None or hasattr(value[1], "shape"))
