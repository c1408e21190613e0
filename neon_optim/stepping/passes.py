"""One step of the parts of a binding: as few passes over a backend as there are Programs, all of them or none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend, Plan, Rounding
from neon_optim.backends.identity import FixedRows, same_objects
from neon_optim.backends.program import Program
from neon_optim.errors import NonFiniteError
from neon_optim.stepping.by_tensor import TensorByTensor
from neon_optim.stepping.norm import GradientNorm
from neon_optim.stepping.part import Part, Traced
from neon_optim.stepping.rule import Levels

__all__ = ["ForeignPasses", "FusedPasses"]

Scales = dict[Any, float]
"""For each optimizer the factor of clipping by norm."""


class _Passes(ABC):
    """What both kinds share: the look at the gradients before anything is run, and what follows a step that failed."""

    def __init__(self, be: Any):
        self._be = be
        self._norms: dict[Any, GradientNorm] = {}

    def forget(self) -> None:
        """The parts are others than before."""
        self._norms.clear()

    @abstractmethod
    def run(self, owner: Any, parts: Sequence[Part], levels: Sequence[Levels]) -> bool:
        """Run a step; False where it was skipped."""

    def _scales(self, parts: Sequence[Part], levels: Sequence[Levels]) -> Scales | None:
        """The factors of clipping, or None where the step is skipped.

        Raises:
            NonFiniteError: a gradient that must be finite is not.
        """
        scales: Scales = {}
        for optimizer in dict.fromkeys(part.rule.algorithm for part in parts):
            mine = [(p, now) for p, now in zip(parts, levels, strict=True) if p.rule.algorithm is optimizer]
            part, now = mine[0]
            clips = part.clips(now)
            if not part.guarded and not clips:
                continue
            norm = self._norm([p for p, _ in mine], now)
            if part.guarded and not np.isfinite(norm):
                refuse([p for p, _ in mine])
                return None
            limit = now[0].gradient_clip_norm
            scales[optimizer] = limit / max(norm, limit) if clips and limit < np.inf else 1.0
        return scales

    def _norm(self, parts: Sequence[Part], now: Levels) -> float:
        """The norm of the gradients of one optimizer."""
        rule, first = parts[0].rule, now[0]
        rows = [row for part in parts for row in part.parameters]
        batch_size = first.batch_size if first.divides else 1.0
        if not isinstance(self._be, Backend):
            return GradientNorm(self._be, incoming=partial(rule.incoming, now)).of(rows, {}, batch_size)
        key = (rule, rule.form(now))
        norm = self._norms.get(key)
        if norm is None:
            norm = self._norms[key] = GradientNorm(
                self._be, parts[0].slots, partial(rule.incoming, rule.symbols(now))
            )
        return norm.of(rows, rule.by_name(now), batch_size)


class FusedPasses(_Passes):
    """Steps on a backend of ours: plans are kept for the parts that run together."""

    def __init__(self, be: Backend):
        super().__init__(be)
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._joined: dict[tuple[int, ...], tuple[list[FixedRows], FixedRows]] = {}
        self._by_tensor: dict[int, TensorByTensor] = {}

    def forget(self) -> None:
        """The parts are others than before."""
        super().forget()
        self._plans.clear()
        self._by_tensor.clear()

    def run(self, owner: Any, parts: Sequence[Part], levels: Sequence[Levels]) -> bool:
        """See :meth:`_Passes.run`."""
        be = self._be
        by_tensor = [k for k, part in enumerate(parts) if part.per_tensor]
        groups = self._groups(parts, levels, alone=True)
        alone = not by_tensor and len(groups) <= 1
        if not alone:
            groups = self._groups(parts, levels, alone=False)
        plans = [self._plan(parts, tuple([k for k, _ in group])) for group in groups.values()]
        for k in by_tensor:
            if k not in self._by_tensor or not self._by_tensor[k].fits(parts[k]):
                self._by_tensor[k] = TensorByTensor(be, parts[k])
        if not alone:
            scales = self._scales(parts, levels)
            if scales is None:
                return False
            levels = [_scaled(part, now, scales) for part, now in zip(parts, levels, strict=True)]
        first_row = 0
        for ((program, rounding), group), plan in zip(groups.items(), plans, strict=True):
            if rounding is not None:
                rounding = replace(rounding, first_row=first_row)
            scalars = [traced.scalars(parts[k].rule, levels[k]) for k, traced in group]
            mine = [parts[k] for k, _ in group]
            first_row += sum([len(part.parameters) for part in mine])
            outcome = be.execute(program, plan, scalars, rounding)
            if program.guard is None or not all(part.rule.on_nonfinite == "skip" for part in mine):
                outcome.when_refused(owner, partial(refuse, mine))
            elif not outcome.stored:
                return False
        if by_tensor:
            be.settle()  # what runs tensor by tensor is stored at once, whatever was refused before it
        for k in by_tensor:
            rounding = parts[k].rounding(be, levels[k])
            self._by_tensor[k].run(
                parts[k].rule, levels[k], rounding and replace(rounding, first_row=first_row)
            )
            first_row += len(parts[k].parameters) * len(parts[k].slots)
        return True

    def _groups(
        self, parts: Sequence[Part], levels: Sequence[Levels], alone: bool
    ) -> dict[tuple[Program, Rounding | None], list[tuple[int, Traced]]]:
        """What can run in one pass: parts whose rules are the same Program and whose stores are rounded alike."""
        groups: dict[tuple[Program, Rounding | None], list[tuple[int, Traced]]] = {}
        for k, (part, now) in enumerate(zip(parts, levels, strict=True)):
            if not part.per_tensor:
                traced = part.traced(now, alone)
                groups.setdefault((traced.program, part.rounding(self._be, now)), []).append((k, traced))
        return groups

    def _plan(self, parts: Sequence[Part], members: tuple[int, ...]) -> Plan:
        """The plan for parts that run together; the kept one where it still fits."""
        mine = [parts[k] for k in members]
        rows = mine[0].parameters if len(mine) == 1 else self._together(members, mine)
        plan = self._plans.get(members)
        if plan is not None and (plan.fits(rows) or plan.renew(rows)):
            return plan
        sets = [k for k, part in enumerate(mine) for _ in part.parameters]
        optimizers = list(dict.fromkeys(part.rule.algorithm for part in mine))
        scopes = [optimizers.index(part.rule.algorithm) for part in mine]

        def describe(index: int) -> str:
            return mine[sets[index]].describe(index - sets.index(sets[index]))

        plan = self._plans[members] = self._be.plan(rows, mine[0].slots, sets, scopes, describe)
        return plan

    def _together(self, members: tuple[int, ...], parts: Sequence[Part]) -> FixedRows:
        """The parameters of several parts, which are the same object as long as those are."""
        theirs = [part.parameters for part in parts]
        known = self._joined.get(members)
        if known is None or not same_objects(theirs, known[0]):
            known = self._joined[members] = theirs, FixedRows(chain(*theirs))
        return known[1]


class ForeignPasses(_Passes):
    """Steps on a neon-style backend that is none of ours: the rule runs on its tensors, one after the other."""

    def run(self, owner: Any, parts: Sequence[Part], levels: Sequence[Levels]) -> bool:
        """See :meth:`_Passes.run`."""
        scales = self._scales(parts, levels)
        if scales is None:
            return False
        for part, now in zip(parts, levels, strict=True):
            scaled = _scaled(part, now, scales)
            for (param, grad), states in part.parameters:
                part.rule.apply(scaled, param, grad, *states)
        return True


def _scaled(part: Part, now: Levels, scales: Scales) -> Levels:
    """The numbers of a step with the factor of clipping."""
    return (now[0].with_numbers(scale=scales.get(part.rule.algorithm, 1.0)), *now[1:])


def refuse(parts: Sequence[Part], rows: Sequence[int] | None = None) -> None:
    """A gradient is not finite: raise the error that says where, unless the step is to be skipped.

    Arguments:
        rows: the parameters whose gradients were not, where they may be others by now; None: look at them.
    """
    if all(part.rule.on_nonfinite == "skip" for part in parts):
        return
    found = []
    for row, (part, index) in enumerate([(p, k) for p in parts for k in range(len(p.parameters))]):
        if rows is not None:
            found += [part.describe(index)] if row in rows else []
            continue
        grad = part.parameters[index][0][1]
        values = np.asarray(grad.get() if hasattr(grad, "get") else grad, dtype=np.float64)
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            found.append(f"{part.describe(index)}: {bad} of {values.size} elements")
    what = "; ".join(found[:5]) + ("; ..." if len(found) > 5 else "")
    raise NonFiniteError(
        f"gradients are not finite ({what or 'their norm overflows'}); nothing was changed. "
        "on_nonfinite='skip' leaves such steps out"
    )
