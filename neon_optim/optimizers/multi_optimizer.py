"""Different optimizers for different layers."""

from __future__ import annotations

from typing import Any

from neon_optim.arguments import Name
from neon_optim.errors import ArgumentError, Problem, StateError
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.optimizers.step import Part
from neon_optim.parameters import NamedParameter, named_parameters

__all__ = ["MultiOptimizer"]


class MultiOptimizer(Optimizer):
    """Sends each layer to the optimizer that is meant for it.

    Arguments:
        optimizer_mapping: from a layer's name, else its class name, to an optimizer; 'default' (required) takes the
            layers that nothing else names.

    Every optimizer of the mapping clips and counts for itself.

    References:
        neon/optimizers/optimizer.py.

    >>> from neon_optim.optimizers import Adam, GradientDescentMomentum
    >>> multi = MultiOptimizer({"default": GradientDescentMomentum(0.1, 0.9), "Bias": Adam()})
    >>> sorted(multi.optimizer_mapping)
    ['Bias', 'default']
    """

    def __init__(self, optimizer_mapping: dict[str, Optimizer], name: Name = None):
        super().__init__(name=name)
        if "default" not in optimizer_mapping:
            problem = Problem("optimizer_mapping", sorted(optimizer_mapping), "must have an entry 'default'")
            raise ArgumentError(f"MultiOptimizer: {problem}", [problem])
        self.optimizer_mapping = dict(optimizer_mapping)

    def optimizer_for(self, parameter: NamedParameter) -> Optimizer:
        """The optimizer of a parameter's layer."""
        mapping = self.optimizer_mapping
        by_class = mapping.get(parameter.layer_class or "", mapping["default"])
        return mapping.get(parameter.layer, by_class)

    def parts(self, layer_list: Any, epoch: int) -> list[Part]:
        """One part for each optimizer that has layers."""
        members: dict[Optimizer, list[Any]] = {}
        for parameter, optimizer in self.named_parameters(layer_list):
            members.setdefault(optimizer, []).append(parameter.value)
        return [
            Part(optimizer, optimizer.at(epoch), values, layer_list) for optimizer, values in members.items()
        ]

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Optimizer]]:
        """Every parameter with its name and the optimizer that updates it."""
        return [(parameter, self.optimizer_for(parameter)) for parameter in named_parameters(layer_list)]

    def get_counters(self) -> dict[str, Any]:
        """The counters of every optimizer of the mapping."""
        return {key: optimizer.get_counters() for key, optimizer in self.optimizer_mapping.items()}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        if set(counters) != set(self.optimizer_mapping):
            raise StateError(
                f"counters of {sorted(counters)} do not fit a MultiOptimizer of {sorted(self.optimizer_mapping)}"
            )
        for key, optimizer in self.optimizer_mapping.items():
            optimizer.set_counters(counters[key])
