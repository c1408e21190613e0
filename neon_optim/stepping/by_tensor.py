"""Rules that need each tensor's shape, and so run tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from neon_optim.backends.contract import Backend, Plan, Rounding
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.identity import FixedRows
from neon_optim.backends.optree import Symbol
from neon_optim.backends.program import linearize
from neon_optim.errors import StateError
from neon_optim.stepping.part import Part
from neon_optim.stepping.rule import Levels, Rule

__all__ = ["TensorByTensor"]


class TensorByTensor:
    """A part whose rule runs on one tensor after the other."""

    def __init__(self, be: Backend, parts: Sequence[Part]):
        self._be = be
        (self._part,) = parts
        self._taken: FixedRows | None = None
        self._rows: FixedRows
        self._plan: Plan

    def prepare(self) -> None:
        """Make tensors on the parameters, and check these as a plan checks them, unless they are as they were.

        Raises:
            StateError: an array does not fit.
        """
        part = self._part
        if part.parameters is self._taken and self._plan.fits(self._rows):
            return
        self._rows, slots = self._planned()
        self._plan = self._be.plan(self._rows, slots, None, None, part.describe)
        self._tensors = [
            [self._be.as_tensor(value) for value in (param, grad, *states)]
            for (param, grad), states in part.parameters
        ]
        self._wide: list[_Wide | None] = [None] * len(self._tensors)
        self._taken = part.parameters

    def _planned(self) -> tuple[FixedRows, Sequence[str]]:
        """What a plan can hold: pairs alone where states have shapes of their own, which are checked here."""
        part, own = self._part, False
        for index, ((param, _), states) in enumerate(part.parameters):
            for slot, state in zip(part.slots[2:], states, strict=True):
                shape = part.rule.state_shape(slot, tuple(param.shape))
                own = own or shape != tuple(param.shape)
                if own and tuple(state.shape) != shape:
                    raise StateError(
                        f"{part.describe(index)}: {slot} has shape {state.shape}, {shape} is needed"
                    )
        if not own:
            return part.parameters, part.slots
        return FixedRows.of((pair, ()) for pair, _ in part.parameters), part.slots[:2]

    @property
    def n_rows(self) -> int:
        """Rows whose stores are rounded: each tensor counts as one."""
        return len(self._tensors) * len(self._part.slots)

    def run(self, owner: Any, group: Any, steps: Mapping[Part, Levels], rounding: Rounding | None) -> bool:
        """Apply the rule to one tensor after the other."""
        self._be.settle()  # what runs tensor by tensor is stored at once, whatever was refused before it
        rule, now = self._part.rule, steps[self._part]
        for index, tensors in enumerate(self._tensors):
            if not tensors[0].size:
                continue
            if rounding is None:
                rule.apply(now, *tensors)
                continue
            wide = self._wide[index] = self._wide[index] or _Wide(self._be, tensors)
            first_row = rounding.first_row + index * len(tensors)
            wide.apply(rule, now, replace(rounding, first_row=first_row))
        return True


class _Wide:
    """Copies of tensors in the compute type, to round what is stored from them; each tensor counts as a row."""

    def __init__(self, be: Backend, tensors: Sequence[Any]):
        self._be = be
        self._tensors = tensors
        dtype = compute_type(t.dtype for t in tensors)
        self._copies = [be.empty_like(t, dtype) for t in tensors]
        pairs: list[Any] = [
            ((t, copy), []) for k, (t, copy) in enumerate(zip(tensors, self._copies, strict=True)) if k != 1
        ]
        self._program, self._scalars = linearize("store", ("value", "grad"), [(0, Symbol("grad", 1).held)])
        self._plan: Plan = be.plan(pairs, ("value", "grad"))

    def apply(self, rule: Rule, now: Levels, rounding: Rounding) -> None:
        """Run a rule on the copies and store what they hold then."""
        for copy, tensor in zip(self._copies, self._tensors, strict=True):
            copy.copy_from(tensor)
        rule.apply(now, *self._copies)
        self._be.execute(self._program, self._plan, [self._scalars], rounding)
