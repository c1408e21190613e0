"""An optimizer tied to a list of parameters: who updates which, and what is kept for that from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import chain
from typing import Any

from neon_optim.backends.contract import Backend
from neon_optim.backends.identity import have_no_truth, same_lists, same_objects, same_where_equal
from neon_optim.stepping.kept_lists import KeptLists
from neon_optim.stepping.lenders import batch_size_of, lender_of
from neon_optim.stepping.others import Others
from neon_optim.stepping.parameters import NamedParameters, Parameter, named_parameters
from neon_optim.stepping.part import Part
from neon_optim.stepping.passes import ForeignPasses, FusedPasses
from neon_optim.stepping.rule import Levels, Rule

__all__ = ["Binding", "Bindings"]


class _Given:
    """Layers as somebody gave them: the parameters in them, with their names.

    Attributes:
        rows: the tuples.
        states: the state list of each.
    """

    def __init__(self, layer_list: Any, rows: list[Parameter]):
        self._layer_list = layer_list
        self._are_rows = type(layer_list) is list and same_objects(layer_list, rows)
        self.rows = rows
        self.states = [states for _, states in rows]

    def arrays(self, place: int) -> list[Any]:
        """The parameters (0) or the gradients (1)."""
        return [pair[place] for pair, _ in self.rows]

    @cached_property
    def named(self) -> NamedParameters:
        """Every parameter with its name."""
        return named_parameters(self._layer_list)

    @cached_property
    def starts(self) -> list[int] | None:
        """Where each parameter begins in the tensor that it is a part of; None where all are whole."""
        if type(self._layer_list) is not NamedParameters:
            return None
        starts = [parameter.start for parameter in self._layer_list]
        return starts if any(starts) else None

    def words(self, indices: Sequence[int], index: int) -> str:
        """Words for one of some parameters."""
        named = self.named[indices[index]]
        return f"layer '{named.layer}', parameter '{named.name}'"

    @cached_property
    def _cannot_change(self) -> bool:
        """Whether this is a list of tuples, which always hold the same pair and the same list."""
        return self._are_rows and all(type(row) is type(row[0]) is tuple for row in self.rows)

    @cached_property
    def _have_no_truth(self) -> bool:
        return have_no_truth([*self.arrays(0), *self.arrays(1)])

    def is_same(self, layer_list: Any, states_compare: bool) -> bool:
        """Whether these are the very same layers with the very same lists; a quick look, which may miss that.

        Arguments:
            states_compare: whether any other list that is equal to one of the states' will do.
        """
        if type(layer_list) is NamedParameters:
            return layer_list is self._layer_list
        if type(layer_list) is not list or not same_objects(layer_list[:1], self.rows[:1]):
            return False
        if not self._cannot_change:
            return False
        same = same_where_equal if states_compare and self._have_no_truth else same_objects
        return same(layer_list, self.rows)


class Binding:
    """The parameters of one list under one optimizer, on one backend.

    Arguments:
        owner: the optimizer.
        layer_list: the list, as it was given.
        rows: the tuples in it.
        others: the processes that have the other parts of these parameters; None: there are none.
    """

    def __init__(
        self, owner: Any, be: Any, layer_list: Any, rows: list[Parameter], others: Others | None = None
    ):
        self._owner = owner
        self.be = be
        self._others = others
        self._given = _Given(layer_list, rows)
        self._lender = lender_of(rows)
        self._contents: list[list[Any]] = []  # of the state lists
        self._states_compare = False
        self._form_parts()

    @property
    def usual_batch_size(self) -> float:
        """The samples that gradients are sums over where nobody says more."""
        return batch_size_of(self.be, self._lender)

    def _form_parts(self) -> None:
        self._routes = self._owner.routes()
        members: dict[Rule, list[int]] = {}
        if self._routes is None:
            members[self._owner.rule_for(None)] = list(range(len(self._given.rows)))
        else:
            for index, parameter in enumerate(self._given.named):
                members.setdefault(self._owner.rule_for(parameter), []).append(index)
        # What runs tensor by tensor comes last.
        ordered = sorted(members, key=lambda rule: rule.algorithm.per_tensor)
        self._members = {Part(rule): members[rule] for rule in ordered if members[rule]}
        kind = FusedPasses if isinstance(self.be, Backend) else ForeignPasses
        self._passes = kind(self.be, self._members, self._others)
        self._have_taken = False  # the parts their parameters

    # --- is it this one? ---

    def is_of(self, be: Any, layer_list: Any) -> bool:
        """Whether these are the very parameters and states that this binding has; a quick look, which may miss that."""
        return (
            be is self.be
            and self._have_taken
            and self._given.is_same(layer_list, self._states_compare)
            and self._hold(self._given.states)
        )

    def _hold(self, states: Sequence[list[Any]]) -> bool:
        """Whether state lists hold what they held when the parts took their parameters."""
        return (same_where_equal if self._states_compare else same_lists)(states, self._contents)

    def renew(self, be: Any, layer_list: Any, rows: list[Parameter]) -> bool:
        """Take another list of the same parameters over, whose gradients may be others; False: it is of others."""
        given, before = _Given(layer_list, rows), self._given
        if be is not self.be or not same_objects(given.arrays(0), before.arrays(0)):
            return False
        if not same_objects(given.states, before.states):
            return False
        if self._routes is not None and type(layer_list) is not NamedParameters:
            names = [(name.layer, name.name) for name in given.named]
            if names != [(name.layer, name.name) for name in before.named]:
                return False
        if not same_objects(given.arrays(1), before.arrays(1)) or not self._hold(given.states):
            self._have_taken = False
        self._given = given
        return True

    def _take(self, filled: list[list[Any]]) -> None:
        """Give the parts their parameters as they are now, with states where there were none."""
        rows, starts = self._given.rows, self._given.starts
        for part, indices in self._members.items():
            part.indices = indices
            part.starts = None if starts is None else [starts[k] for k in indices]
            part.take([rows[k] for k in indices], partial(self._given.words, indices), filled)
        self._have_taken = True
        states = self._given.states
        if not self._hold(states):
            self._contents = [list(arrays) for arrays in states]
            # Equal lists hold the same, and what is written is the same. Only of empty ones it matters which is filled.
            self._states_compare = all(states) and have_no_truth([*chain(*states)])

    # --- a step ---

    @property
    def has_one_rule(self) -> bool:
        """Whether all parameters, of which there are some, are updated by the rule for those of no name."""
        return self._routes is None and bool(self._members)

    def step(self, epoch: float, batch_size: float, divides: bool) -> list[Levels]:
        """Run one step: either all of it happens or, with an error, none. Returns the numbers of each rule."""
        if self._owner.routes() != self._routes or not all(map(Part.stays, self._members)):
            self._form_parts()
        steps = {part: part.rule.numbers(epoch, batch_size, divides) for part in self._members}
        filled: list[list[Any]] = []
        stored = False
        try:
            if not self._have_taken:
                self._take(filled)
            stored = self._passes.run(self._owner, steps)
        finally:
            if not stored:
                for states in filled:
                    states.clear()
        if stored:
            for part, now in steps.items():
                part.rule.commit(now)
        return [*steps.values()]


class Bindings:
    """The bindings of an optimizer."""

    def __init__(self, owner: Any):
        self._owner = owner
        self._latest: Binding | None = None
        self._kept: KeptLists[Binding] = KeptLists()

    def of(self, be: Any, layer_list: Any) -> Binding:
        """The binding for a list: the kept one, brought up to date, or a new one."""
        latest = self._latest
        if latest is not None and latest.is_of(be, layer_list):
            return latest
        binding, _ = self._kept.of(
            layer_list,
            lambda kept, given, rows: kept.renew(be, given, rows),
            lambda given, rows: Binding(self._owner, be, given, rows),
        )
        self._latest = binding
        return binding
