"""neon.optimizers.optimizer: neon's optimizers and schedules by the path of their module."""

from __future__ import annotations

from typing import Any

from neon_optim import optimizers
from neon_optim.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    ExpSchedule,
    GradientDescentMomentum,
    Optimizer,
    PolySchedule,
    PowerSchedule,
    RMSProp,
    Schedule,
    ShiftAdaMax,
    ShiftSchedule,
    StepSchedule,
    get_param_list,
)
from neon_optim.stepping.numbers import Numbers
from neon_optim.stepping.parameters import named_parameters

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "ExpSchedule",
    "GradientDescentMomentum",
    "MultiOptimizer",
    "Optimizer",
    "PolySchedule",
    "PowerSchedule",
    "RMSProp",
    "Schedule",
    "ShiftAdaMax",
    "ShiftSchedule",
    "StepSchedule",
    "get_param_list",
]


class MultiOptimizer(optimizers.MultiOptimizer):
    """Sends each parameter to the optimizer that is meant for it; see :class:`neon_optim.optimizers.MultiOptimizer`.

    >>> from neon_optim.compat.neon.optimizers import MultiOptimizer, RMSProp
    >>> multi = MultiOptimizer({"default": RMSProp()})
    >>> multi.map_list, multi.get_description()["type"]
    ({}, 'neon.optimizers.optimizer.MultiOptimizer')
    """

    _stepped: Any = ()

    def step(self, layer_list: Any, epoch: float, batch_size: float | None = None) -> Numbers:
        """See :meth:`neon_optim.optimizers.MultiOptimizer.step`."""
        self._stepped = layer_list
        return super().step(layer_list, epoch, batch_size)

    @property
    def map_list(self) -> dict[Any, list[Any]]:
        """The layers of each optimizer, of those that came last."""
        found: dict[Any, list[Any]] = {}
        for layer in self._stepped:
            mine = {
                id(found_for): found_for for found_for in map(self.optimizer_for, named_parameters([layer]))
            }
            for optimizer in mine.values():
                found.setdefault(optimizer, []).append(layer)
        return found

    def _reset_mapping(self, new_mapping: Any) -> None:
        """Use another mapping from now on."""
        self.optimizer_mapping = new_mapping
