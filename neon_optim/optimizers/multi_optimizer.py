"""Different optimizers for different layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from neon_optim.described.arguments import refuse
from neon_optim.described.checks import Either, Having, OfKind
from neon_optim.described.counters import set_all_counters
from neon_optim.errors import ArgumentError, StateError, shown
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.schedules import BaseSchedule
from neon_optim.stepping.base_optimizer import BaseOptimizer
from neon_optim.stepping.numbers import Numbers
from neon_optim.stepping.parameters import NamedParameter, NamedParameters, named_parameters
from neon_optim.stepping.patterns import check_patterns, is_pattern, matches
from neon_optim.stepping.rule import Rule

__all__ = ["MultiOptimizer"]

Member = Annotated[Any, Either(OfKind("optimizer"), Having("optimize", called="one of neon's own"))]
"""What may stand in the mapping. neon's own optimizers, in neon, update what is theirs by themselves."""


class MultiOptimizer(BaseOptimizer):
    """Sends each parameter to the optimizer that is meant for it.

    Arguments:
        optimizer_mapping: from a name to an optimizer, which may be a MultiOptimizer again. What counts for a parameter
            is, in this order: ``layer/name``, the layer's name, the name of its class, a pattern, 'default' (required).
            Patterns are globs (``conv*``) or regular expressions between slashes (``/conv[0-9]+/``); each is matched in
            full against those three names. In Intel's neon, its own optimizers may stand in the mapping, too: they
            update their parameters after ours are done, and their states are in neon's own files only.

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

    positional = ("optimizer_mapping", "name")

    optimizer_mapping: Mapping[str, Member]

    def check_fields(self) -> None:
        """There must be a default, and regular expressions must be some."""
        if "default" not in self.optimizer_mapping:
            names = sorted(self.optimizer_mapping)
            refuse(self.classnm, "optimizer_mapping", names, "must have an entry 'default'")
        check_patterns(self.classnm, "optimizer_mapping", filter(is_pattern, self.optimizer_mapping))

    def optimizer_for(self, parameter: NamedParameter) -> Any:
        """The optimizer of a parameter."""
        mapping = self.optimizer_mapping
        for name in (parameter.path, parameter.layer, parameter.layer_class):
            if name in mapping:
                return mapping[name]  # type: ignore[index]
        found = [key for key in mapping if is_pattern(key) and matches(key, parameter)]
        if len(found) > 1:
            both = " and ".join(map(repr, found))
            raise ArgumentError(
                f"{self.name}: the patterns {both} of optimizer_mapping both match {parameter.path!r}; "
                "make one narrower, or name the layer itself"
            )
        return mapping[found[0] if found else "default"]

    def rule_for(self, parameter: NamedParameter | None) -> Rule:
        """The rule of the optimizer of a parameter."""
        optimizer = self.optimizer_mapping["default"] if parameter is None else self.optimizer_for(parameter)
        if _is_neons(optimizer):
            raise StateError(
                f"{self.name}: {type(optimizer).__name__} is neon's own optimizer, which has no rule and no named "
                f"states; take ours: neon_optim.optimizers.{type(optimizer).__name__}"
            )
        rule: Rule = optimizer.rule_for(parameter)
        return rule

    def at(self, epoch: float) -> Numbers:
        """See :meth:`BaseOptimizer.at`; of an optimizer of neon's, the rate that it begins with."""
        default = self.optimizer_mapping["default"]
        if not _is_neons(default):
            return super().at(epoch)
        return Numbers({"lr": getattr(default, "learning_rate", float("nan")), "epoch": epoch})

    def step(self, layer_list: Any, epoch: float, batch_size: float | None = None) -> Numbers:
        """See :meth:`BaseOptimizer.step`; what neon's own optimizers update comes last."""
        if not any(map(_is_neons, self.optimizer_mapping.values())):
            return super().step(layer_list, epoch, batch_size)
        ours = NamedParameters()
        theirs: dict[int, tuple[Any, _Rows]] = {}
        for parameter in named_parameters(layer_list):
            optimizer = self.optimizer_for(parameter)
            if _is_neons(optimizer):
                theirs.setdefault(id(optimizer), (optimizer, _Rows()))[1].append(parameter.value)
            else:
                ours.append(parameter)
        now = super().step(ours, epoch, batch_size) if ours else self.at(epoch)
        for optimizer, rows in theirs.values():
            optimizer.optimize([rows], epoch=epoch)
        return now

    def routes(self) -> Any:
        """The mapping, and what the optimizers in it go by."""
        return [(name, optimizer, optimizer.routes()) for name, optimizer in self._ours()]

    def _ours(self) -> list[tuple[str, Any]]:
        return [item for item in self.optimizer_mapping.items() if not _is_neons(item[1])]

    def all_schedules(self) -> list[BaseSchedule]:
        """The schedules of every optimizer of the mapping."""
        return [schedule for _, optimizer in self._ours() for schedule in optimizer.all_schedules()]

    def get_counters(self) -> dict[str, Any]:
        """The counters of every optimizer of the mapping."""
        return {key: optimizer.get_counters() for key, optimizer in self._ours()}

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave."""
        ours = self._ours()
        if not isinstance(counters, Mapping) or set(counters) != {key for key, _ in ours}:
            raise StateError(
                f"counters of {shown(counters)} do not fit a MultiOptimizer of {sorted(key for key, _ in ours)}"
            )
        set_all_counters([(optimizer, counters[key]) for key, optimizer in ours])


class _Rows(list[Any]):
    """Parameters as one of neon's layers has them."""

    def get_params(self) -> list[Any]:
        """The parameters."""
        return list(self)


def _is_neons(optimizer: Any) -> bool:
    return getattr(optimizer, "kind", None) != "optimizer"


Optimizer.register(MultiOptimizer)
