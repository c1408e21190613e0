"""What `Distributed.bind` returns: as any bound optimizer, but for what needs gradients that are not joined yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from neon_optim.errors import StateError
from neon_optim.stepping.bound import BoundOptimizer

__all__ = ["BoundTogether"]


class BoundTogether(BoundOptimizer):
    """A :class:`BoundOptimizer` whose gradients are those of one process, until a step joins them."""

    def add(self) -> None:
        """Take the gradients of the next part of this process; those of its last part :meth:`step` takes itself."""
        self.optimizer.add(self.parameters(), self.batch_size)

    @property
    def grad_norm(self) -> float:
        """See :class:`BoundOptimizer`; not of several parts."""
        if not self.optimizer.is_alone:
            self._refuse("grad_norm", "the norm is known in the step only")
        return super().grad_norm

    def clip_grad_norm(self, max_norm: float) -> float:
        """See :class:`BoundOptimizer`; not of several parts."""
        if not self.optimizer.is_alone:
            self._refuse("clip_grad_norm", "give the optimizer a gradient_clip_norm")
        return super().clip_grad_norm(max_norm)

    def clip_grad_value(self, min: float, max: float) -> None:
        """See :class:`BoundOptimizer`; not of several parts."""
        if not self.optimizer.is_alone:
            self._refuse("clip_grad_value", "give the optimizer a gradient_clip_value")
        super().clip_grad_value(min, max)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`BoundOptimizer`; not of several processes."""
        if self.optimizer.keeps_shares:
            self._refuse("state_dict", "each process has its share of the state alone: use save_checkpoint")
        return super().state_dict()

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """See :class:`BoundOptimizer`; not of several processes."""
        if self.optimizer.keeps_shares:
            self._refuse(
                "load_state_dict", "each process has its share of the state alone: use load_checkpoint"
            )
        super().load_state_dict(state, strict)

    def _refuse(self, what: str, hint: str) -> NoReturn:
        raise StateError(f"{what}: gradients of {self.optimizer.shards} parts are joined in the step; {hint}")
