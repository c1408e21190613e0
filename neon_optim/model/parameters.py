"""The parameters of a model's layers, listed anew only where layers hold others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from neon_optim.backends.identity import same_objects
from neon_optim.model.container import Container
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
        self._rows: list[tuple[Any, list[Any]]] = []
        self._held: list[tuple[list[Any], list[Any]]] = []
        self._list()

    def _list(self) -> None:
        learning = self.layers.layers_to_optimize
        self._named = named_parameters(learning)
        self._rows = [(leaf, leaf.rows()) for leaf in learning]
        self._held = [(thing.layers, list(thing.layers)) for thing in _containers(self.layers)]

    def now(self) -> NamedParameters:
        """Every parameter with its name: the same list as before, while tensors and lists of states are the same."""
        for held, before in self._held:
            if not same_objects(held, before):
                self._list()
                return self._named
        for leaf, before in self._rows:
            if not _same_rows(leaf.rows(), before):
                self._list()
                break
        return self._named


def _same_rows(rows: Sequence[Any], before: Sequence[Any]) -> bool:
    if len(rows) != len(before):
        return False
    for (pair, states), (other, kept) in zip(rows, before, strict=True):
        if pair[0] is not other[0] or pair[1] is not other[1] or states is not kept:
            return False
    return True


def _containers(container: Container) -> Iterator[Container]:
    yield container
    for layer in container.layers:
        if isinstance(layer, Container):
            yield from _containers(layer)
