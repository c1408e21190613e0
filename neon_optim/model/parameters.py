"""The parameters of a model's layers, listed anew only where layers hold others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from neon_optim.backends.identity import same_objects
from neon_optim.model.container import Container, LayerGroup
from neon_optim.stepping.parameters import NamedParameters, named_parameters

__all__ = ["ParameterList"]


class ParameterList:
    """Lists the parameters of a container.

    Attributes:
        layers: the container.
    """

    def __init__(self, layers: Container):
        self.layers = layers
        self._named = NamedParameters()
        self._rows: list[tuple[Callable[[], Any], Any]] = []
        self._held: list[tuple[list[Any], list[Any]]] = []
        self._list()

    def _list(self) -> None:
        learning = self.layers.layers_to_optimize
        self._named = named_parameters(learning)
        self._rows = [(leaf.get_params, leaf.get_params()) for leaf in learning]
        self._held = [(thing.layers, list(thing.layers)) for thing in _containers(self.layers)]

    def now(self) -> NamedParameters:
        """Every parameter with its name: the same list as before, while tensors and lists of states are the same."""
        for held, before in self._held:
            if not same_objects(held, before):
                self._list()
                return self._named
        for get_params, before in self._rows:
            if not _is_same(get_params(), before):
                self._list()
                break
        return self._named


def _is_same(params: Any, before: Any) -> bool:
    """Whether two tuples ``((param, grad), states)``, or lists of them, hold the same three."""
    if isinstance(params, list) or isinstance(before, list):
        return (
            type(params) is type(before) and len(params) == len(before) and all(map(_is_same, params, before))
        )
    (param, grad), states = params
    (other, its_grad), its_states = before
    return param is other and grad is its_grad and states is its_states


def _containers(group: LayerGroup) -> Iterator[LayerGroup]:
    yield group
    for layer in group.layers:
        if isinstance(layer, LayerGroup):
            yield from _containers(layer)
