"""An optimizer tied to a list of parameters: who updates which, and what is kept for that from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import is_
from typing import Any

from neon_optim.backends.contract import Backend
from neon_optim.stepping.parameters import (
    NamedParameters,
    Parameter,
    get_param_list,
    named_parameters,
)
from neon_optim.stepping.part import Part
from neon_optim.stepping.passes import ForeignPasses, FusedPasses
from neon_optim.stepping.rule import Rule

__all__ = ["Binding", "Bindings"]

_MOST = 16
"""Bindings kept for one optimizer: they hold on to their arrays, so lists that come and go must not pile up."""


class _Names:
    """The names of the parameters of a list, found when somebody asks."""

    def __init__(self, layer_list: Any):
        self._layer_list = layer_list
        self._found: NamedParameters | None = None

    def all(self) -> NamedParameters:
        """Every parameter with its name."""
        if self._found is None:
            self._found = named_parameters(self._layer_list)
        return self._found

    def words(self, indices: Sequence[int], index: int) -> str:
        """Words for one of some parameters."""
        named = self.all()[indices[index]]
        return f"layer '{named.layer}', parameter '{named.name}'"


class Binding:
    """The parameters of one list under one optimizer, on one backend.

    Attributes:
        rows: the tuples.
        parts: the rules that update them, each with its parameters.
    """

    def __init__(self, owner: Any, be: Any, layer_list: Any, rows: list[Parameter]):
        self._owner = owner
        self.be = be
        self._passes = FusedPasses(be) if isinstance(be, Backend) else ForeignPasses(be)
        self._take(layer_list, rows)
        self._form_parts()

    def _take(self, layer_list: Any, rows: list[Parameter]) -> None:
        self._layer_list = layer_list
        self._names = _Names(layer_list)
        self.rows = rows
        self._params = [param for (param, _), _ in rows]
        plain = (
            type(layer_list) is list
            and len(layer_list) == len(rows)
            and all(map(_is_tuple_of, rows, layer_list))
        )
        self._items = list(layer_list) if plain else None

    def _form_parts(self) -> None:
        self._routes = self._owner.routes()
        members: dict[Rule, list[int]] = {}
        if self._routes is None:
            members[self._owner.rule_for(None)] = list(range(len(self.rows)))
        else:
            for index, parameter in enumerate(self._names.all()):
                members.setdefault(self._owner.rule_for(parameter), []).append(index)
        self._members = {rule: indices for rule, indices in members.items() if indices}
        self.parts = [self._part(rule, indices) for rule, indices in self._members.items()]
        self._passes.forget()

    def _part(self, rule: Rule, indices: list[int]) -> Part:
        return Part(rule, tuple([self.rows[k] for k in indices]), partial(self._names.words, indices))

    # --- is it this one? ---

    def is_of(self, be: Any, layer_list: Any) -> bool:
        """Whether these are the very tuples that this binding has; a quick look, which may miss that."""
        if be is not self.be:
            return False
        if layer_list is self._layer_list and type(layer_list) is NamedParameters:
            return True
        items = self._items
        return (
            items is not None
            and type(layer_list) is list
            and len(layer_list) == len(items)
            and all(map(is_, layer_list, items))
        )

    def renew(self, be: Any, layer_list: Any, rows: list[Parameter]) -> bool:
        """Take another list of the same parameters over, whose gradients may be others; False: it is of others."""
        if be is not self.be or len(rows) != len(self.rows):
            return False
        if not all(map(is_, [param for (param, _), _ in rows], self._params)):
            return False
        if any(states is not kept for (_, states), (_, kept) in zip(rows, self.rows, strict=True)):
            return False
        if self._routes is not None and type(layer_list) is not NamedParameters:
            names = [(name.layer, name.name) for name in named_parameters(layer_list)]
            if names != [(name.layer, name.name) for name in self._names.all()]:
                return False
        self._take(layer_list, rows)
        for part, indices in zip(self.parts, self._members.values(), strict=True):
            part.parameters = tuple([rows[k] for k in indices])
        return True

    # --- a step ---

    def step(self, epoch: float, batch_size: float, divides: bool) -> None:
        """Run one step: either all of it happens or, with an error, none."""
        if self._owner.routes() != self._routes:
            self._form_parts()
        for k, (rule, indices) in enumerate(self._members.items()):
            before = self.parts[k]
            if before.changes != rule.changes and not before.stays():
                part = self.parts[k] = self._part(rule, indices)
                if (part.slots, part.per_tensor) != (before.slots, before.per_tensor):
                    self._passes.forget()
        parts = self.parts
        levels = [part.rule.numbers(epoch, batch_size, divides) for part in parts]
        if self._passes.run(self._owner, parts, levels):
            for part, now in zip(parts, levels, strict=True):
                part.rule.commit(now)


class Bindings:
    """The bindings of an optimizer."""

    def __init__(self, owner: Any):
        self._owner = owner
        self._latest: Binding | None = None
        self._kept: dict[Any, Binding] = {}

    def of(self, be: Any, layer_list: Any) -> Binding:
        """The binding for a list: the kept one, brought up to date, or a new one."""
        latest = self._latest
        if latest is not None and latest.is_of(be, layer_list):
            return latest
        if not isinstance(layer_list, (list, tuple)) and not hasattr(layer_list, "get_params"):
            layer_list = list(layer_list) if hasattr(layer_list, "__next__") else layer_list
        rows = get_param_list(layer_list)
        key = (len(rows), id(rows[0][0][0]) if rows else None)
        binding = self._kept.pop(key, None)
        if binding is None or not binding.renew(be, layer_list, rows):
            binding = Binding(self._owner, be, layer_list, rows)
        self._kept[key] = self._latest = binding
        while len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
        return binding


def _is_tuple_of(parameter: Any, item: Any) -> bool:
    """Whether a list's item is the parameter itself, and will always hold the same pair and list."""
    return parameter is item and type(item) is tuple and type(item[0]) is tuple
