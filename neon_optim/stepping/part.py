"""The work of a step that one rule does, and that rule as a Program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neon_optim.backends.contract import Plan
from neon_optim.backends.optree import Node, Symbol
from neon_optim.backends.program import Program, trace
from neon_optim.stepping.norm import norm_of
from neon_optim.stepping.parameters import Parameter, named_parameters

if TYPE_CHECKING:
    from neon_optim.optimizers.optimizer import Optimizer

__all__ = ["Part"]


@dataclass
class Part:
    """Parameters that one rule updates.

    Attributes:
        optimizer: whose counters the step advances, and whose gradients are clipped together.
        now: that optimizer with the numbers of this step.
        parameters: the tuples.
        layer_list: where they come from, for messages.
        plan: a plan for these parameters alone that is kept from an earlier step and fits; None: not known.
    """

    optimizer: Optimizer
    now: Optimizer
    parameters: Sequence[Parameter]
    layer_list: Any
    plan: Plan | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        """The arrays of one row."""
        return ("param", "grad", *self.now.slots)

    @property
    def guarded(self) -> bool:
        """Whether a gradient that is not finite must stop the step."""
        policy = self.now.on_nonfinite
        return policy in ("raise", "skip") or (policy is None and bool(self.now.gradient_clip_norm))

    def describe(self, index: int) -> str:
        """Words for a parameter of this part."""
        found = {id(p.value[0][0]): p for p in named_parameters(self.layer_list)}
        named = found.get(id(self.parameters[index][0][0]))
        where = f"layer '{named.layer}', parameter '{named.name}'" if named else f"parameter {index}"
        return f"{where}, optimizer '{self.optimizer.name}' ({self.optimizer.classnm})"

    def checks(self, grad: Any, batch_size: float) -> tuple[Any, Any]:
        """(guard, scale): expressions on the gradient; None where nothing has to be finite, 1.0 for no clipping."""
        limit = self.now.gradient_clip_norm
        if limit:
            norm = norm_of(grad, batch_size)
            return (norm if self.guarded else None), limit / Node("maximum", norm, limit)
        return (Node("total", grad * 0.0) if self.guarded else None), 1.0  # x * 0 is NaN unless x is finite

    def trace(self, batch_size: float, scale: float | None = None) -> tuple[Program, list[float]]:
        """The rule as a Program; with ``scale`` given, without the norm in it."""

        def guard(param: Symbol, grad: Symbol, *states: Symbol) -> Any:
            finite, self.now.scale = self.checks(self.now.incoming(grad, *states), batch_size)
            if scale is not None:
                finite, self.now.scale = None, scale
            return finite

        return trace(self.now.classnm.lower(), self.slots, self.now.apply, guard)
