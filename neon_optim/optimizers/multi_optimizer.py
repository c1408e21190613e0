"""Different optimizers for different layers."""

from __future__ import annotations

from typing import Any

from neon_optim.described.arguments import Name
from neon_optim.described.counters import set_all_counters
from neon_optim.errors import ArgumentError, Problem, StateError
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.schedules import BaseSchedule
from neon_optim.stepping.parameters import NamedParameter, NamedParameters, named_parameters
from neon_optim.stepping.part import Part
from neon_optim.stepping.partition import partition
from neon_optim.stepping.patterns import check_patterns, is_pattern, matches

__all__ = ["MultiOptimizer"]


class MultiOptimizer(Optimizer):
    """Sends each parameter to the optimizer that is meant for it.

    Arguments:
        optimizer_mapping: from a name to an optimizer, which may be a MultiOptimizer again. What counts for a parameter
            is, in this order: ``layer/name``, the layer's name, the name of its class, a pattern, 'default' (required).
            Patterns are globs (``conv*``) or regular expressions between slashes (``/conv[0-9]+/``); each is matched in
            full against those three names.

    Use it where layers need different rules, such as Muon for matrices and AdamW for the rest. Every optimizer of the
    mapping clips, counts and decays for itself; those with the same rule run in one pass.

    Raises:
        ArgumentError: (in a step) two patterns match a parameter.

    References:
        neon/optimizers/optimizer.py.

    >>> from neon_optim.optimizers import Adam, GradientDescentMomentum
    >>> multi = MultiOptimizer({"default": GradientDescentMomentum(0.1, 0.9), "Bias": Adam(), "conv*": Adam()})
    >>> sorted(multi.optimizer_mapping)
    ['Bias', 'conv*', 'default']
    """

    def __init__(self, optimizer_mapping: dict[str, Optimizer], name: Name = None):
        super().__init__(name=name)
        if "default" not in optimizer_mapping:
            problem = Problem("optimizer_mapping", sorted(optimizer_mapping), "must have an entry 'default'")
            raise ArgumentError(f"MultiOptimizer: {problem}", [problem])
        check_patterns(self.classnm, "optimizer_mapping", filter(is_pattern, optimizer_mapping))
        self.optimizer_mapping = dict(optimizer_mapping)

    def optimizer_for(self, parameter: NamedParameter) -> Optimizer:
        """The optimizer of a parameter."""
        mapping = self.optimizer_mapping
        for name in (parameter.path, parameter.layer, parameter.layer_class):
            if name in mapping:
                return mapping[name]
        found = [key for key in mapping if is_pattern(key) and matches(key, parameter)]
        if len(found) > 1:
            both = " and ".join(map(repr, found))
            raise ArgumentError(
                f"{self.name}: the patterns {both} of optimizer_mapping both match {parameter.path!r}; "
                "make one narrower, or name the layer itself"
            )
        return mapping[found[0] if found else "default"]

    def parts(self, layer_list: Any, epoch: int) -> list[Part]:
        """Those of each optimizer that has parameters."""
        rows, names, members = partition(
            self, layer_list, self.optimizer_for, list(self.optimizer_mapping.items())
        )
        return [
            part
            for optimizer, indices in members.items()
            for part in optimizer.parts(
                NamedParameters(names[k]._replace(value=rows[k]) for k in indices), epoch
            )
        ]

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Optimizer]]:
        """Every parameter with its name and the optimizer that updates it."""
        return [
            pair
            for parameter in named_parameters(layer_list)
            for pair in self.optimizer_for(parameter).named_parameters(NamedParameters([parameter]))
        ]

    def all_schedules(self) -> list[BaseSchedule]:
        """The schedules of every optimizer of the mapping."""
        return [
            schedule
            for optimizer in self.optimizer_mapping.values()
            for schedule in optimizer.all_schedules()
        ]

    def get_counters(self) -> dict[str, Any]:
        """The counters of every optimizer of the mapping."""
        return {key: optimizer.get_counters() for key, optimizer in self.optimizer_mapping.items()}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        if set(counters) != set(self.optimizer_mapping):
            raise StateError(
                f"counters of {sorted(counters)} do not fit a MultiOptimizer of {sorted(self.optimizer_mapping)}"
            )
        set_all_counters([(optimizer, counters[key]) for key, optimizer in self.optimizer_mapping.items()])
