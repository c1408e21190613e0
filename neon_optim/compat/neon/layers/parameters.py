"""neon's layers with parameters: what they share with the layer of ours in them, and what is saved of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.compat.neon.layers.base import Layer

__all__ = ["ParameterLayer", "Shared", "set_listed_states", "set_named"]


class Shared:
    """An attribute that a layer and the layer of ours in it have in common; the latter holds it, where there is one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        held = vars(layer if layer.core is None else layer.core)
        if self.name not in held:
            raise AttributeError(f"{layer.classnm} has no attribute '{self.name}' yet")
        return held[self.name]

    def __set__(self, layer: Any, value: Any) -> None:
        vars(layer if layer.core is None else layer.core)[self.name] = value


class ParameterLayer(Layer):
    """A layer with one parameter tensor ``W``, its gradient ``dW`` and the optimizer's ``states``.

    A subclass sets ``weight_shape`` in ``configure``.

    Arguments:
        init: initializer of W, or its first values, a tensor or an array.
    """

    W = Shared()
    dW = Shared()  # noqa: N815 (neon's name)
    states = Shared()

    def __init__(self, init: Any = None, name: str | None = None, parallelism: str = "Unknown"):
        super().__init__(name, parallelism)
        self.has_params = True
        self.init = init
        self.W = None
        self.dW = None
        self.weight_shape: Any = None
        self.batch_sum: Any = None
        self.batch_sum_shape: Any = None
        self.states = []
        self.owns_delta = True

    def allocate(self, shared_outputs: Any = None, accumulate_updates: bool = False) -> None:
        """Make outputs and, where there are none, parameters; with ``accumulate_updates`` what adds gradients up."""
        super().allocate(shared_outputs)
        self.accumulate_updates = accumulate_updates
        if self.W is None:
            self.init_params(self.weight_shape)
        if self.batch_sum_shape is not None:
            self.batch_sum = self.be.empty(self.batch_sum_shape, dtype=np.float32, **self.get_param_attrs())

    def init_params(self, shape: Any) -> None:
        """Make W and dW, and give W its first values."""
        self.W = self.be.empty(shape, **self.get_param_attrs())
        self.dW = self.be.zeros_like(self.W)
        self.states = []
        self.first_values(self.W, self.init)
        if self.accumulate_updates:
            self.acc_dW = self.be.empty_like(self.dW)
            self.acc_params = [(self.acc_dW, self.dW)]

    def first_values(self, param: Any, init: Any) -> None:
        """Fill a parameter by an initializer, or with a tensor or an array."""
        if isinstance(init, (Tensor, np.ndarray)):
            if init.shape != param.shape:
                raise ValueError(
                    f"{self.classnm} '{self.name}': first values have the shape {init.shape}, "
                    f"the parameter has {param.shape}"
                )
            param[:] = init
        else:
            init.fill(param)

    def get_params(self) -> Any:
        """``((W, dW), states)``."""
        return (self.W, self.dW), self.states

    def get_params_serialize(self, keep_states: bool = True) -> dict[str, Any]:
        """The description with weights."""
        return self.get_description(get_weights=True, keep_states=keep_states)

    def get_description(
        self,
        skip: Iterable[str] = (),
        get_weights: bool = False,
        keep_states: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The description; with ``get_weights`` also ``params`` and, with ``keep_states``, ``states``."""
        found = super().get_description(skip)
        if get_weights:
            found["params"] = {"W": self.W.get()}
            if keep_states:
                found["states"] = [state.get() for state in self.states]
        return found

    def set_params(self, pdict: Any) -> None:
        """Take over ``pdict['params']``, by the names of attributes."""
        set_named(self, pdict["params"])
        if self.dW is None:
            self.dW = self.be.zeros_like(self.W)

    def set_states(self, pdict: Any) -> None:
        """Take over ``pdict['states']``; without such there are none."""
        arrays = pdict.get("states", ())
        if not arrays:
            self.states = []
            return
        if not self.states:
            self.states = [self.be.zeros_like(self.dW) for _ in arrays]
        for state, array in zip(self.states, arrays, strict=True):
            state.set(array)


def set_named(layer: Any, arrays: Any) -> None:
    """Set tensors of a layer by their names: the contents of those that are there, new tensors of the others."""
    for name, value in arrays.items():
        there = getattr(layer, name, None)
        if isinstance(there, Tensor):
            there.set(value)
        elif isinstance(value, np.ndarray):
            setattr(layer, name, layer.be.array(value, **layer.get_param_attrs()))
        else:
            setattr(layer, name, value)


def set_listed_states(layer: Any, lists: Sequence[Sequence[Any]]) -> None:
    """Set the states of a layer with several parameters: a list for each."""
    if not any(layer.states):
        layer.states = [[layer.be.array(array, **layer.get_param_attrs()) for array in own] for own in lists]
        return
    for states, arrays in zip(layer.states, lists, strict=True):
        for state, array in zip(states, arrays, strict=True):
            state.set(array)
