"""What updates a parameter: an optimizer, with the wrappers around it, as one rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from neon_optim.stepping.numbers import Hyperparameters, Numbers
from neon_optim.stepping.states import copied, is_narrow, warn_of_standstill, warn_of_vanishing, zeros

__all__ = ["Levels", "Rule"]

Levels = tuple[Numbers, ...]
"""The numbers of a step of every level of a rule: of the algorithm, then of each wrapper."""

_NUMBERS = frozenset({int, float, np.float64, np.float32, np.int64})
"""Types of what is a number of a step; a value of any other type, such as a flag, decides what a rule looks like."""


@dataclass(frozen=True)
class Rule:
    """An algorithm and the wrappers around it, from the inside out.

    Both become one Program, so they run in one pass, and their states are in one list.

    Attributes:
        algorithm: the innermost optimizer.
        wrappers: those around it.
        decays: whether weight decay is for the parameters of this rule.
    """

    algorithm: Any
    wrappers: tuple[Any, ...] = ()
    decays: bool = True

    def within(self, wrapper: Any) -> Rule:
        """This rule with one more wrapper around it."""
        return Rule(self.algorithm, (*self.wrappers, wrapper), self.decays)

    # --- what it is ---

    @property
    def outermost(self) -> Any:
        """The last wrapper, or the algorithm."""
        return self.wrappers[-1] if self.wrappers else self.algorithm

    @property
    def optimizer(self) -> Rule | None:
        """The rule that the outermost wrapper is around."""
        return Rule(self.algorithm, self.wrappers[:-1], self.decays) if self.wrappers else None

    @property
    def classnm(self) -> str:
        """The class of the outermost level."""
        return str(self.outermost.classnm)

    @property
    def modulenm(self) -> str:
        """The full path of that class."""
        return str(self.outermost.modulenm)

    @property
    def slots(self) -> tuple[str, ...]:
        """The algorithm's, then each wrapper's; a name that is taken gets a number."""
        names = list(self.algorithm.slots)
        for own in (own for wrapper in self.wrappers for own in wrapper.own_slots):
            taken = sum(1 for name in names if name.split("#")[0] == own)
            names.append(f"{own}#{taken + 1}" if taken else own)
        return tuple(names)

    def settings(self) -> list[Hyperparameters]:
        """The settings of every level: other objects after any was changed."""
        return [level.hyperparameters() for level in (self.algorithm, *self.wrappers)]

    @property
    def on_nonfinite(self) -> str:
        """What a gradient that is not finite does; where the norm is taken anyway it raises, unless told otherwise."""
        policy = self.algorithm.on_nonfinite
        return str(policy or ("raise" if self.algorithm.gradient_clip_norm else "ignore"))

    # --- the numbers of a step ---

    def numbers(self, epoch: float, batch_size: float, divides: bool) -> Levels:
        """Those of the step that follows.

        Arguments:
            batch_size: samples that the gradients are sums over.
            divides: whether they are divided by it.
        """
        now = self.algorithm.numbers(epoch, batch_size, divides)
        if not self.decays:
            now = now.with_numbers(wdecay=0.0, decoupled_wdecay=0.0)
        levels = [now]
        for wrapper in self.wrappers:
            levels.append(wrapper.numbers_around(levels[-1], epoch, batch_size))
        return tuple(levels)

    def form(self, now: Levels) -> tuple[Any, ...]:
        """What of this step decides the form of the rule, beside the settings: all that is no number."""
        return tuple(
            [value for level in now for value in vars(level).values() if type(value) not in _NUMBERS]
        )

    def symbols(self, now: Levels) -> Levels:
        """The numbers of a step as symbols: all but those that are not set."""
        return tuple(
            [
                level.symbols(
                    {name for name, value in vars(level).items() if type(value) in _NUMBERS} - settings.unset,
                    self._prefix(k),
                )
                for k, (settings, level) in enumerate(zip(self.settings(), now, strict=True))
            ]
        )

    def by_name(self, now: Levels) -> dict[str, Any]:
        """The values of the symbols of :meth:`symbols`."""
        if not self.wrappers:
            return vars(now[0])
        return {
            self._prefix(k) + name: value
            for k, level in enumerate(now)
            for name, value in vars(level).items()
        }

    def _prefix(self, level: int) -> str:
        """What the names of a wrapper's numbers begin with."""
        return f"{self.wrappers[level - 1].classnm.lower()}_{level}_" if level else ""

    def commit(self, now: Levels) -> None:
        """Count the step."""
        for wrapper, level in zip(self.wrappers[::-1], now[:0:-1], strict=True):
            wrapper.commit(level)
            if not level.reaches:
                return
        self.algorithm.commit(now[0])

    # --- the rule ---

    def reaches(self, now: Levels) -> bool:
        """Whether the step gets to the algorithm (and does not gather gradients only)."""
        return all(level.reaches for level in now[1:])

    def incoming(self, now: Levels, grad: Any, *states: Any) -> Any:
        """The gradient that norms are taken of."""
        for level in range(len(self.wrappers), 0, -1):
            wrapper, own = self.wrappers[level - 1], self._own(level, states)
            grad = wrapper.incoming(now[level], grad, *own)
            if not now[level].reaches:
                break
        return grad

    def apply(self, now: Levels, param: Any, grad: Any, *states: Any) -> None:
        """The whole rule on one parameter."""
        self._apply(len(self.wrappers), now, states, param, grad)

    def _apply(self, level: int, now: Levels, states: tuple[Any, ...], param: Any, grad: Any) -> None:
        if not level:
            self.algorithm.apply(now[0], param, grad, *states[: len(self.algorithm.slots)])
            return
        inner = partial(self._apply, level - 1, now, states)
        self.wrappers[level - 1].wrap(now[level], param, grad, inner, *self._own(level, states))

    def _own(self, level: int, states: tuple[Any, ...]) -> tuple[Any, ...]:
        """The states of a wrapper."""
        first = len(self.algorithm.slots) + sum(len(w.own_slots) for w in self.wrappers[: level - 1])
        return states[first : first + len(self.wrappers[level - 1].own_slots)]

    def evaluated(self, param: Any, *states: Any) -> Any:
        """What the parameter should hold where the model is evaluated; None: what it holds."""
        for level in range(len(self.wrappers), 0, -1):
            tree = self.wrappers[level - 1].evaluated(param, *self._own(level, states))
            if tree is not None:
                return tree
        return self.algorithm.evaluated(param, *states[: len(self.algorithm.slots)])

    # --- states ---

    def new_state(self, slot: str, param: Any, grad: Any) -> Any:
        """The first value of a state array."""
        algorithm = self.algorithm
        if slot in algorithm.slots:
            state = algorithm.new_state(slot, param, grad)
            warn_of_vanishing(algorithm, param, grad, state)
            return state
        place = self.slots.index(slot) - len(algorithm.slots)
        owner = [wrapper for wrapper in self.wrappers for _ in wrapper.own_slots][place]
        if owner.starts_at_zero:
            return zeros(algorithm.be, grad, algorithm.state_dtype)
        state = copied(algorithm.be, param, grad, algorithm.state_dtype)
        if not self.round_bits(algorithm.be, is_narrow(param)):
            warn_of_standstill(owner, state)
        return state

    def round_bits(self, be: Any, narrow: bool) -> bool | int:
        """To how many mantissa bits stores are rounded stochastically; True: to what the type has, False: they are not.

        Arguments:
            narrow: whether there are parameters of 16 bits.
        """
        bits: bool | int | None = self.algorithm.stochastic_round
        return getattr(be, "stochastic_round", False) or narrow if bits is None else bits

    def state_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state array."""
        names = self.algorithm.slots
        return tuple(self.algorithm.state_shape(slot, shape)) if slot in names else shape
