"""One step: the parts of an optimizer, traced and run over the backend in as few passes as there are rules."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from neon_optim.backends.contract import Backend, Plan, Rounding
from neon_optim.backends.program import Program
from neon_optim.errors import NonFiniteError, StateError, shown
from neon_optim.stepping.by_tensor import check_own_shapes, keeps_own_shapes, run_by_tensor
from neon_optim.stepping.norm import gradient_norm
from neon_optim.stepping.parameters import Parameter
from neon_optim.stepping.part import Part

if TYPE_CHECKING:
    from neon_optim.optimizers.optimizer import Optimizer

__all__ = ["run_step"]

_plans: weakref.WeakKeyDictionary[Any, dict[Any, Plan]] = weakref.WeakKeyDictionary()
_MOST_PLANS = 64
"""Plans that are kept for one optimizer: they hold on to their arrays, so lists that come and go must not pile up."""


def run_step(owner: Optimizer, be: Any, layer_list: Any, epoch: int, batch_size: float | None = None) -> None:
    """Run one step of an optimizer: either all of it happens or, with an error, none.

    ``batch_size`` is what gradients are divided by; None: the backend's.
    """
    if owner._evaluating:
        raise StateError(f"{owner.name}: no step while the parameters are set for evaluation")
    parts = [part for part in owner.parts(layer_list, epoch) if part.parameters]
    batch_size = float(batch_size or be.bsz or 1)
    for part in parts:
        part.now.batch_size = batch_size
    filled: list[list[Any]] = []
    stored = False
    try:
        for part in parts:
            part.plan = _kept_plan(owner, be, [part])
            if part.plan is None:
                _fill_states(part, filled)
        run = _run_fused if isinstance(be, Backend) else _run_foreign
        stored = run(owner, be, parts, batch_size)
    finally:
        if not stored:
            for states in filled:
                states.clear()
    if stored:
        for part in parts:
            part.now.commit()


def _fill_states(part: Part, filled: list[list[Any]]) -> None:
    """Fill empty state lists; refuse those of another length."""
    names = part.now.slots
    for index, ((param, grad), states) in enumerate(part.parameters):
        if len(states) == len(names):
            continue
        if states:
            raise StateError(
                f"{part.describe(index)}: the state list holds {len(states)} arrays, but this optimizer keeps "
                f"{len(names)} ({', '.join(names) or 'none'}): it was written by another optimizer. "
                "To start fresh, empty the list: state.clear()"
            )
        for array, what in ((param, "param"), (grad, "grad")):
            if not hasattr(array, "shape"):
                raise StateError(f"{part.describe(index)}: {what} is no array, received {shown(array)}")
        filled.append(states)
        states.extend([part.now.new_state(name, param, grad) for name in names])


def _run_fused(owner: Optimizer, be: Backend, parts: list[Part], batch_size: float) -> bool:
    """One pass for each distinct Program. Where there are several, what must be finite is checked before the first."""
    fused = [part for part in parts if not part.now.per_tensor]
    by_tensor = [part for part in parts if part.now.per_tensor]
    scales: dict[Optimizer, float] = {}
    groups = _by_program(be, fused, batch_size, scales)
    if by_tensor or len(groups) > 1:
        if not _check_before(be, parts, batch_size, scales):
            return False
        groups = _by_program(be, fused, batch_size, scales)
    plans = [_plan(owner, be, [part for part, _ in group]) for group in groups.values()]
    counters = owner.get_counters() if any(part.guarded for part in parts) else {}
    for part in by_tensor:
        part.now.scale = scales.get(part.optimizer, 1.0)
        if keeps_own_shapes(part):
            check_own_shapes(part, be)
        else:
            _plan(owner, be, [part])
    first_row = 0
    for ((program, rounding), group), plan in zip(groups.items(), plans, strict=True):
        if rounding is not None:
            rounding = replace(rounding, first_row=first_row)
        first_row += sum(len(part.parameters) for part, _ in group)
        outcome = be.execute(program, plan, [scalars for _, scalars in group], rounding)
        mine = [part for part, _ in group]
        if not all(part.now.on_nonfinite == "skip" for part in mine):
            outcome.when_refused(partial(_undo, owner, counters, mine))
        elif not outcome.stored:
            return False
    for part in by_tensor:
        rounding = _rounding(part, be)
        run_by_tensor(part, be, rounding and replace(rounding, first_row=first_row))
        first_row += len(part.parameters) * len(part.slots)
    return True


def _check_before(be: Any, parts: list[Part], batch_size: float, scales: dict[Optimizer, float]) -> bool:
    """Look at the norms before anything is run, and put the factors of clipping into ``scales``; False: skip."""
    for optimizer in dict.fromkeys(p.optimizer for p in parts if p.guarded or p.now.gradient_clip_norm):
        mine = [part for part in parts if part.optimizer is optimizer]
        rows = [row for part in mine for row in part.parameters]
        norm = gradient_norm(be, rows, batch_size, mine[0].slots, mine[0].now.incoming)
        if mine[0].guarded and not np.isfinite(norm):
            return _refuse(mine)
        limit = mine[0].now.gradient_clip_norm
        scales[optimizer] = limit / max(norm, limit) if limit else 1.0
    return True


def _by_program(
    be: Backend, parts: list[Part], batch_size: float, scales: dict[Optimizer, float]
) -> dict[tuple[Program, Rounding | None], list[tuple[Part, list[float]]]]:
    """What can run in one pass: parts whose rules are the same Program and whose stores are rounded alike."""
    groups: dict[tuple[Program, Rounding | None], list[tuple[Part, list[float]]]] = {}
    for part in parts:
        program, scalars = part.trace(batch_size, scales.get(part.optimizer))
        groups.setdefault((program, _rounding(part, be)), []).append((part, scalars))
    return groups


def _kept_plan(owner: Optimizer, be: Any, parts: list[Part]) -> Plan | None:
    """The plan of an earlier step for parts that run together, where it still fits."""
    plan = _plans.get(owner, {}).get(_key(be, parts))
    return plan if plan is not None and plan.fits(_rows(parts)) else None


def _key(be: Any, parts: list[Part]) -> Any:
    return be, tuple([(id(part.optimizer), len(part.parameters)) for part in parts]), parts[0].slots


def _rows(parts: list[Part]) -> Sequence[Parameter]:
    return parts[0].parameters if len(parts) == 1 else [row for part in parts for row in part.parameters]


def _plan(owner: Optimizer, be: Backend, parts: list[Part]) -> Plan:
    """The plan for parts that run together; a kept one where it still fits."""
    plan = parts[0].plan if len(parts) == 1 else _kept_plan(owner, be, parts)
    if plan is None:
        sets = [k for k, part in enumerate(parts) for _ in part.parameters]
        optimizers = list(dict.fromkeys(part.optimizer for part in parts))
        scopes = [optimizers.index(part.optimizer) for part in parts]

        def describe(index: int) -> str:
            part = parts[sets[index]]
            return part.describe(index - sets.index(sets[index]))

        plan = be.plan(_rows(parts), parts[0].slots, sets, scopes, describe)
        kept = _plans.setdefault(owner, {})
        for key in [key for key in kept if key[0] is not be]:
            del kept[key]
        kept[_key(be, parts)] = plan
        while len(kept) > _MOST_PLANS:
            del kept[next(iter(kept))]
    return plan


def _rounding(part: Part, be: Backend) -> Rounding | None:
    bits = part.now.stochastic_round or be.stochastic_round
    return Rounding(0 if bits is True else int(bits), be.noise_seed, part.now.t) if bits else None


def _run_foreign(owner: Optimizer, be: Any, parts: list[Part], batch_size: float) -> bool:
    """A neon-style backend that is none of ours: the rule runs on its tensors, one after the other."""
    scales: dict[Optimizer, float] = {}
    if not _check_before(be, parts, batch_size, scales):
        return False
    for part in parts:
        part.now.scale = scales.get(part.optimizer, 1.0)
        for (param, grad), states in part.parameters:
            part.now.apply(param, grad, *states)
    return True


def _undo(owner: Optimizer, counters: dict[str, Any], parts: list[Part]) -> None:
    """A step was refused, but the host may have learnt of it only after later ones: count none of them."""
    if counters:
        owner.set_counters(counters)
    _refuse(parts)


def _refuse(parts: list[Part]) -> bool:
    """A gradient is not finite: False to skip the step, or the error that says where."""
    if all(part.now.on_nonfinite == "skip" for part in parts):
        return False
    found = []
    for part in parts:
        for index, ((_, grad), _) in enumerate(part.parameters):
            values = np.asarray(grad.get() if hasattr(grad, "get") else grad, dtype=np.float64)
            bad = int(values.size - np.isfinite(values).sum())
            if bad:
                found.append(f"{part.describe(index)}: {bad} of {values.size} elements")
    what = "; ".join(found[:5]) + ("; ..." if len(found) > 5 else "")
    raise NonFiniteError(
        f"gradients are not finite ({what or 'their norm overflows'}); nothing was changed. "
        "on_nonfinite='skip' leaves such steps out"
    )
