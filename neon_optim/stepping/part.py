"""Parameters that one rule updates, and that rule as a Program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from neon_optim.backends.contract import Parameter, Rounding
from neon_optim.backends.identity import FixedRows
from neon_optim.backends.optree import Node, Symbol
from neon_optim.backends.program import Program, trace
from neon_optim.errors import StateError, shown
from neon_optim.stepping.norm import clip_factor, norm_of
from neon_optim.stepping.rule import Levels, Rule
from neon_optim.stepping.states import is_narrow

__all__ = ["Part", "Traced"]


_UNNEEDED, _WANTED, _GIVEN = range(3)
"""States of the proof that numbers are no part of what was traced."""


class Traced(NamedTuple):
    """A rule as a Program, and how its run-time scalars come from the numbers of a step."""

    program: Program
    names: list[str]
    constants: Sequence[float]

    def scalars(self, rule: Rule, now: Levels) -> list[float]:
        """The scalars of a step, in the Program's order."""
        return [*map(rule.by_name(now).__getitem__, self.names), *self.constants]


class Part:
    """Parameters that one rule updates.

    Attributes:
        rule: what updates them, counts the steps, and clips their gradients together.
        parameters: the tuples, once they are taken.
        indices: their places in the list that the binding is of.
        starts: where each begins in the tensor that it is a part of; None where all are whole.
    """

    def __init__(self, rule: Rule):
        self.rule = rule
        self.parameters = FixedRows()
        self.indices: Sequence[int] = ()
        self.starts: Sequence[int] | None = None
        self._settings = rule.settings()
        self._proof = _UNNEEDED
        self._words: Callable[[int], str] = str
        self.slots = ("param", "grad", *rule.slots)
        self.per_tensor = rule.algorithm.per_tensor
        self._traced: dict[Any, Traced] = {}

    def stays(self) -> bool:
        """Whether this part is right still: no settings have changed since somebody asked, or numbers only."""
        before, self._settings = self._settings, self.rule.settings()
        if self._settings == before:
            return True
        if self._proof == _UNNEEDED:
            self._proof = _WANTED
        return [settings.form for settings in self._settings] == [settings.form for settings in before]

    def describe(self, index: int) -> str:
        """Words for a parameter of this part."""
        optimizer = self.rule.algorithm
        return f"{self._words(index)}, optimizer '{optimizer.name}' ({optimizer.classnm})"

    @property
    def guarded(self) -> bool:
        """Whether a gradient that is not finite must stop the step."""
        return self.rule.on_nonfinite != "ignore"

    def rounding(self, be: Any, now: Levels) -> Rounding | None:
        """How this part's stores are rounded."""
        bits = self.rule.round_bits(be, self._narrow)
        return Rounding(0 if bits is True else int(bits), be.noise_seed, now[-1].t) if bits else None

    @cached_property
    def _narrow(self) -> bool:
        return any(is_narrow(param) for (param, _), _ in self.parameters)

    def take(self, rows: Sequence[Parameter], words: Callable[[int], str], filled: list[list[Any]]) -> None:
        """Take the parameters as they are now; empty state lists are filled, and added to ``filled``.

        Arguments:
            words: turns an index into words for a parameter, for messages.

        Raises:
            StateError: a state list has another length.
        """
        self._words, names = words, self.slots[2:]
        for index, ((param, grad), states) in enumerate(rows):
            if len(states) == len(names):
                continue
            if states:
                raise StateError(
                    f"{self.describe(index)}: the state list holds {len(states)} arrays, but this optimizer keeps "
                    f"{len(names)} ({', '.join(names) or 'none'}): it was written by another optimizer. "
                    "To start fresh, empty the list: state.clear()"
                )
            for array, what in ((param, "param"), (grad, "grad")):
                if not hasattr(array, "shape"):
                    raise StateError(f"{self.describe(index)}: {what} is no array, received {shown(array)}")
            filled.append(states)
            states.extend([self.rule.new_state(name, param, grad) for name in names])
        self.parameters = FixedRows.of(rows)

    # --- the rule as a Program ---

    def traced(self, now: Levels, alone: bool) -> Traced:
        """The rule as it is at this step; traced once for each form that it takes.

        Arguments:
            alone: whether the norm of the gradients and what must be finite are part of the Program; else the caller
                has looked at them, and ``now.scale`` is the factor of clipping.
        """
        key = (alone, self.rule.form(now))
        known = self._traced.get(key)
        if known is None:
            known = self._traced[key] = self._trace(now, alone)
        elif self._proof == _WANTED:
            self._prove(known, self._trace(now, alone))
        return known

    def _prove(self, before: Traced, after: Traced) -> None:
        """The first time that a number is set, look once whether the rule takes its numbers from ``now`` alone."""
        if after.program is not before.program or repr(after.constants) != repr(before.constants):
            name = self.rule.classnm
            raise TypeError(
                f"{name}: the rule has become another when a number was set. It takes numbers from its object; a rule "
                "is traced once and takes them from the step: write now.learning_rate, not self.learning_rate"
            )
        self._proof = _GIVEN

    def _trace(self, now: Levels, alone: bool) -> Traced:
        rule = self.rule
        symbols = rule.symbols(now)

        def whole(param: Symbol, grad: Symbol, *states: Symbol) -> Any:
            finite, levels = None, symbols
            if alone:
                finite, scale = self._checks(symbols, rule.incoming(symbols, grad, *states))
                levels = (symbols[0].with_numbers(scale=scale), *symbols[1:])
            elif not self.clips(now):
                levels = (symbols[0].with_numbers(scale=1.0), *symbols[1:])
            rule.apply(levels, param, grad, *states)
            return finite

        program, constants = trace(rule.classnm.lower(), self.slots, whole)
        return Traced(program, [name for name in program.scalars if name], constants)

    def clips(self, now: Levels) -> bool:
        """Whether the norm of the gradients is limited at this step."""
        return bool(self.rule.algorithm.gradient_clip_norm) and self.rule.reaches(now)

    def _checks(self, now: Levels, grad: Any) -> tuple[Any, Any]:
        """(guard, scale): expressions on the gradient; None where nothing has to be finite, 1.0 for no clipping."""
        if self.clips(now):
            norm = norm_of(grad, now[0].batch_size if now[0].divides else None)
            limit = now[0].gradient_clip_norm
            return (norm if self.guarded else None), clip_factor(norm, limit)
        return (Node("total", grad * 0.0) if self.guarded else None), 1.0  # x * 0 is NaN unless x is finite
