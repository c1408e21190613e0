"""One step of the parts of a binding: as few passes over a backend as there are Programs, all of them or none."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend, Plan, Rounding
from neon_optim.backends.identity import FixedRows, same_objects
from neon_optim.errors import BackendError, NonFiniteError, StateError
from neon_optim.stepping.by_tensor import TensorByTensor
from neon_optim.stepping.norm import GradientNorm, SquaresOfChunks
from neon_optim.stepping.others import Others
from neon_optim.stepping.part import Part, Traced
from neon_optim.stepping.rule import Levels

__all__ = ["ForeignPasses", "FusedPasses"]

Steps = Mapping[Part, Levels]
"""For each part the numbers of its step."""


class _Passes(ABC):
    """What both kinds share: the look at the gradients before anything is run."""

    def __init__(self, be: Any, parts: Iterable[Part], others: Others | None = None):
        self._be = be
        self._others = others
        self._has_per_tensor = any(part.per_tensor for part in parts)
        self._norms: dict[Any, Any] = {}

    @abstractmethod
    def run(self, owner: Any, steps: Steps) -> bool:
        """Run a step; False where it was skipped."""

    def _clipped(self, steps: Steps) -> dict[Part, Levels] | None:
        """The numbers with the factors of clipping by norm, or None where the step is skipped.

        Raises:
            NonFiniteError: a gradient that must be finite is not.
        """
        clipped: dict[Part, Levels] = {}
        for optimizer in dict.fromkeys(part.rule.algorithm for part in steps):
            mine = [part for part in steps if part.rule.algorithm is optimizer]
            part, now = mine[0], steps[mine[0]]
            scale, clips = 1.0, part.clips(now)
            if part.guarded or clips:
                norm = self._norm(mine, now)
                if part.guarded and not np.isfinite(norm):
                    refuse(mine, others=self._others)
                    return None
                limit = now[0].gradient_clip_norm
                if clips and limit < np.inf:
                    scale = limit / max(norm, limit)
            for part in mine:
                innermost, *wrappers = steps[part]
                clipped[part] = (innermost.with_numbers(scale=scale), *wrappers)
        return clipped

    def _norm(self, parts: Sequence[Part], now: Levels) -> float:
        """The norm of the gradients of one optimizer."""
        rule, first = parts[0].rule, now[0]
        rows = [row for part in parts for row in part.parameters]
        batch_size = first.batch_size if first.divides else 1.0
        if not isinstance(self._be, Backend):
            return GradientNorm(self._be, incoming=partial(rule.incoming, now)).of(rows, {}, batch_size)
        kind = GradientNorm if self._others is None else SquaresOfChunks
        key = (rule, rule.form(now))
        known: Any = self._norms.get(key)
        if known is None:
            known = self._norms[key] = kind(
                self._be, parts[0].slots, partial(rule.incoming, rule.symbols(now))
            )
        if self._others is None:
            return known.of(rows, rule.by_name(now), batch_size)
        indices = [index for part in parts for index in part.indices]
        sums = known.of_each(rows, rule.by_name(now))
        return math.sqrt(self._others.sum_of_chunks(indices, sums)) / batch_size


class FusedPasses(_Passes):
    """Steps on a backend of ours: what can run together runs together."""

    def __init__(self, be: Backend, parts: Iterable[Part], others: Others | None = None):
        super().__init__(be, parts, others)
        self._known: dict[tuple[Part, ...], _Together | TensorByTensor] = {}

    def run(self, owner: Any, steps: Steps) -> bool:
        """See :meth:`_Passes.run`."""
        alone = not self._has_per_tensor and self._others is None
        groups = self._groups(steps, alone)
        if alone and len(groups) > 1:
            alone, groups = False, self._groups(steps, False)
        passes = [self._pass(tuple(group)) for group in groups.values()]
        if not alone:
            clipped = self._clipped(steps)
            if clipped is None:
                return False
            steps = clipped
        first_row = 0
        for ((_, rounding), group), one in zip(groups.items(), passes, strict=True):
            if not one.run(owner, group, steps, rounding and replace(rounding, first_row=first_row)):
                return False
            first_row += one.n_rows
        return True

    def _groups(
        self, steps: Steps, alone: bool
    ) -> dict[tuple[Any, Rounding | None], dict[Part, Traced | None]]:
        """What can run in one pass: parts whose rules are the same Program and whose stores are rounded alike."""
        groups: dict[tuple[Any, Rounding | None], dict[Part, Traced | None]] = {}
        for part, now in steps.items():
            traced = None if part.per_tensor else part.traced(now, alone)
            what = part if traced is None else traced.program
            groups.setdefault((what, part.rounding(self._be, now)), {})[part] = traced
        return groups

    def _pass(self, parts: tuple[Part, ...]) -> _Together | TensorByTensor:
        """The pass of some parts, ready to run."""
        known = self._known.get(parts)
        if known is None:
            kind = TensorByTensor if parts[0].per_tensor else _Together
            known = self._known[parts] = kind(self._be, parts)
        known.prepare()
        return known


class _Together:
    """Parts whose rules are the same Program, and which therefore run in one pass."""

    def __init__(self, be: Backend, parts: Sequence[Part]):
        self._be = be
        self._parts = parts
        self._taken: list[FixedRows] = []
        self._rows = FixedRows()
        self._plan: Plan

    def prepare(self) -> None:
        """Make a plan for the parameters, unless the kept one still fits.

        Raises:
            StateError: an array does not fit.
        """
        taken, rows = [part.parameters for part in self._parts], self._rows
        if not same_objects(taken, self._taken):
            rows = taken[0] if len(taken) == 1 else FixedRows(chain(*taken))
        if not self._taken or not (self._plan.fits(rows) or self._plan.renew(rows)):
            self._plan = self._new_plan(rows)
        self._taken, self._rows = taken, rows

    @property
    def n_rows(self) -> int:
        """Rows whose stores are rounded."""
        return len(self._rows)

    def _new_plan(self, rows: FixedRows) -> Plan:
        parts = self._parts
        sets = [k for k, part in enumerate(parts) for _ in part.parameters]
        optimizers = list(dict.fromkeys(part.rule.algorithm for part in parts))
        scopes = [optimizers.index(part.rule.algorithm) for part in parts]

        def describe(index: int) -> str:
            return parts[sets[index]].describe(index - sets.index(sets[index]))

        starts = None
        if any(part.starts for part in parts):
            starts = [start for part in parts for start in part.starts or [0] * len(part.parameters)]
        return self._be.plan(rows, parts[0].slots, sets, scopes, describe, starts)

    def run(self, owner: Any, group: Mapping[Part, Any], steps: Steps, rounding: Rounding | None) -> bool:
        """Run the rule; False where that was refused, and the step is to be skipped."""
        parts = self._parts
        program = group[parts[0]].program
        if program.reduces_rows and any(any(part.starts or ()) for part in parts):
            name = parts[0].rule.classnm
            raise StateError(f"{name}: the rule takes sums over tensors, of which there are only parts here")
        scalars = [traced.scalars(part.rule, steps[part]) for part, traced in group.items()]
        outcome = self._be.execute(program, self._plan, scalars, rounding)
        if program.guard is None or not all(part.rule.on_nonfinite == "skip" for part in parts):
            outcome.when_refused(owner, partial(refuse, parts))
            return True
        return outcome.stored


class ForeignPasses(_Passes):
    """Steps on a neon-style backend that is none of ours: the rule runs on its tensors, one after the other."""

    def run(self, owner: Any, steps: Steps) -> bool:
        """See :meth:`_Passes.run`."""
        clipped = self._clipped(steps)
        for part, now in (clipped or {}).items():
            for (param, grad), states in part.parameters:
                try:
                    part.rule.apply(now, param, grad, *states)
                except AttributeError as error:
                    if error.obj is not self._be:
                        raise
                    raise self._lacks(part, error.name) from error
        return clipped is not None

    def _lacks(self, part: Part, name: str | None) -> BackendError:
        """The error for a rule that asks the backend for what it does not have."""
        return BackendError(
            f"{part.rule.classnm} needs '{name}', which {type(self._be).__name__} does not have. Leave "
            "neon_optim.NervanaObject.be as it is (None): then our CPU backend updates neon's tensors, in one pass"
        )


def refuse(parts: Sequence[Part], rows: Sequence[int] | None = None, others: Others | None = None) -> None:
    """A gradient is not finite: raise the error that says where, unless the step is to be skipped.

    Arguments:
        rows: the parameters whose gradients were not, where they may be others by now; None: look at them.
        others: the processes that have the other parts of these parameters, and raise the same error.
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
    if others is not None:
        found = others.all_words(found)
    what = "; ".join(found[:5]) + ("; ..." if len(found) > 5 else "")
    raise NonFiniteError(
        f"gradients are not finite ({what or 'their norm overflows'}); nothing was changed. "
        "on_nonfinite='skip' leaves such steps out"
    )
