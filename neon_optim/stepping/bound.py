"""An optimizer tied to its parameters: step, zero the gradients, clip them, as in ScalaTion and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neon_optim.described.arguments import refuse, require
from neon_optim.described.checks import Number
from neon_optim.errors import NonFiniteError, StateError, shown
from neon_optim.stepping.norm import GradientNorm
from neon_optim.stepping.parameters import NamedParameter, NamedParameters, named_parameters
from neon_optim.stepping.variables import SingleParameter, layers_of

__all__ = ["BoundOptimizer"]


class BoundOptimizer:
    """What :meth:`Optimizer.bind` returns; one update of all its parameters is one :meth:`step`.

    Attributes:
        optimizer: the optimizer; it keeps the hyper-parameters and counts the steps.
        batch_size: what gradients are divided by.

    >>> import numpy as np
    >>> from neon_optim.optimizers import Adam
    >>> w, dw = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    >>> bound = Adam(learning_rate=0.1, epsilon_hat=False).bind([(w, dw)])
    >>> bound.clip_grad_norm(1.0)
    5.0
    >>> bound.step()
    >>> print(w.round(4), dw.round(4))
    [0.9 1.9] [0.6 0.8]
    >>> bound.zero_grad()
    >>> bound.grad_norm, bound.learning_rate
    (0.0, 0.1)
    """

    def __init__(self, optimizer: Any, parameters: Any, batch_size: float = 1):
        require("bind", "batch_size", batch_size, Number(gt=0))
        self.optimizer = optimizer
        self.batch_size = batch_size
        self._layers = layers_of(parameters, self.be)
        self._variables = self._layers if all(isinstance(x, SingleParameter) for x in self._layers) else None
        self._may_change = [variable for variable in self._variables or () if variable.may_change]
        self._known: NamedParameters | None = None
        self._names: list[tuple[str, str | None, str]] | None = None
        self._epoch = 0
        self._norm: GradientNorm | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the plan of the norm, which belongs to these arrays."""
        return {**vars(self), "_norm": None}

    @property
    def be(self) -> Any:
        """The backend that the steps run on."""
        return self.optimizer.be

    def parameters(self) -> NamedParameters:
        """Those parameters that have a gradient now, with their names and states."""
        if self._variables is None:
            found = named_parameters(self._layers)
        else:
            changed = [variable.changed() for variable in self._may_change]  # every one of them is looked at
            if not any(changed) and self._known is not None:
                return self._known
            if self._names is None:
                self._names = [(p.layer, p.layer_class, p.name) for p in named_parameters(self._variables)]
            found = NamedParameters(
                [
                    NamedParameter(layer, kind, name, (variable.pair, variable.states))
                    for (layer, kind, name), variable in zip(self._names, self._variables, strict=True)
                ]
            )
        self._known = NamedParameters([p for p in found if p.value[0][1] is not None])
        return self._known

    @property
    def gradients(self) -> list[Any]:
        """The gradients that there are, in order; those of parameters that came without one were made by `bind`."""
        return [parameter.value[0][1] for parameter in self.parameters()]

    def _tensors(self) -> list[Any]:
        """The gradients that there are, as tensors on their memory."""
        return [self.be.as_tensor(grad) for grad in self.gradients]

    def step(self, epoch: int = 0) -> None:
        """Update every parameter that has a gradient once, in place.

        Arguments:
            epoch: epochs done, for schedules that count epochs.
        """
        self.optimizer.step(self.parameters(), epoch, self.batch_size)
        self._epoch = epoch

    def evaluation(self) -> Any:
        """A ``with`` block in which the parameters hold what the model is best evaluated with, an average say."""
        return self.optimizer.evaluation(named_parameters(self._layers))

    def zero_grad(self) -> None:
        """Set every gradient that there is to zero, in place."""
        for grad in self._tensors():
            grad.fill(0.0)

    @property
    def grad_norm(self) -> float:
        """The L2 norm of all gradients together, as they stand."""
        rows = [parameter.value for parameter in self.parameters()]
        if self._norm is None or self._norm.be is not self.be:
            self._norm = GradientNorm(self.be)
        return self._norm.of(rows, {}) if rows else 0.0

    def clip_grad_norm(self, max_norm: float) -> float:
        """Scale the gradients so that their global L2 norm is at most ``max_norm``.

        The factor is ``max_norm / (norm + 1e-6)``, as PyTorch's.

        Returns:
            The norm before.

        Raises:
            NonFiniteError: the norm is not finite; the gradients stay as they are.
        """
        require("clip_grad_norm", "max_norm", max_norm, Number(gt=0))
        norm = self.grad_norm
        if not math.isfinite(norm):
            raise NonFiniteError(f"the norm of the gradients is {norm}; they were not clipped")
        factor = max_norm / (norm + 1e-6)
        if factor < 1.0:
            for grad in self._tensors():
                grad[:] = grad * factor
        return norm

    def clip_grad_value(self, min: float, max: float) -> None:
        """Limit every element of the gradients to the range from ``min`` to ``max``."""
        if not min <= max:
            refuse("clip_grad_value", "min", min, f"must be a number <= max ({max})")
        for grad in self._tensors():
            grad[:] = self.be.clip(grad, min, max)

    @property
    def learning_rate(self) -> float:
        """The rate that schedules start from; where the rate itself is a schedule, its value now."""
        holder = self._rate_holder()
        rate = holder.learning_rate
        return float(holder.at(self._epoch).learning_rate if hasattr(rate, "get_learning_rate") else rate)

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        require(self.optimizer.classnm, "learning_rate", rate, Number(ge=0))
        self._rate_holder().set_learning_rate(float(rate))

    def _number(self) -> float | None:
        """The learning rate, where it is one number."""
        rate = getattr(self.optimizer, "learning_rate", None)
        return rate if Number().verdict(rate) is None else None

    def _rate_holder(self) -> Any:
        """The optimizer inside all wrappers."""
        holder = self.optimizer
        while "learning_rate" not in vars(holder):
            holder = vars(holder).get("optimizer", vars(holder).get("inner"))
            if holder is None:
                raise StateError(
                    f"{self.optimizer.classnm} has no learning_rate of its own; set that of its optimizers"
                )
        return holder

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """A copy of the training state: ``description``, ``learning_rate`` and ``counters``, and ``state`` by name.

        ``learning_rate`` is None where there is no one number. ``state`` maps ``layer/name`` to the state arrays by
        slot name (empty before the first step).
        """
        return {
            "description": self.optimizer.get_description(),
            "learning_rate": self._number(),
            "counters": self.optimizer.get_counters(),
            "state": {
                parameter.path: {
                    slot: _copy(value) for slot, value in zip(owner.slots, parameter.value[1], strict=False)
                }
                for parameter, owner in self._owners()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Restore what :meth:`state_dict` gave; either all of it is set or, with an error, nothing.

        Of the hyper-parameters only the learning rate is set, since it may have been changed on the way.

        Arguments:
            strict: every parameter must be there and no other. False: what has no partner is left out.

        Raises:
            StateError: names, slots or shapes do not fit.
        """
        if not isinstance(state, Mapping) or not {"counters", "state"} <= set(state):
            raise StateError(f"a state_dict has the keys 'counters' and 'state', received {shown(state)}")
        owners = {parameter.path: (parameter, owner) for parameter, owner in self._owners()}
        saved = state["state"]
        if strict and set(saved) != set(owners):
            missing, extra = sorted(set(owners) - set(saved)), sorted(set(saved) - set(owners))
            raise StateError(
                f"the state does not fit these parameters: missing {missing}, unexpected {extra}; "
                "strict=False takes what fits"
            )
        fitting = {path: self._checked(path, *owners[path], saved[path]) for path in saved if path in owners}
        self.optimizer.set_counters(state["counters"])
        for path, values in fitting.items():
            owners[path][0].value[1][:] = values
        if state.get("learning_rate") is not None and self._number() is not None:
            self.learning_rate = state["learning_rate"]

    def _checked(
        self, path: str, parameter: NamedParameter, owner: Any, saved: Mapping[str, Any]
    ) -> list[Any]:
        """New state arrays with the saved contents."""
        if not saved:
            return []
        if set(saved) != set(owner.slots):
            raise StateError(
                f"{path}: {owner.classnm} keeps {list(owner.slots)}, the state has {sorted(saved)}"
            )
        (param, grad), _ = parameter.value
        made = []
        for slot in owner.slots:
            tensor = owner.new_state(slot, param, param if grad is None else grad)
            value = np.asarray(saved[slot])
            if value.shape != tensor.shape or value.dtype != tensor.dtype:
                raise StateError(
                    f"{path}: {slot} must be {tensor.dtype} of shape {tensor.shape}, "
                    f"received {value.dtype} of shape {value.shape}"
                )
            made.append(tensor.set(value))
        return made

    def _owners(self) -> list[tuple[NamedParameter, Any]]:
        found: list[tuple[NamedParameter, Any]] = self.optimizer.named_parameters(
            named_parameters(self._layers)
        )
        return found


def _copy(value: Any) -> np.ndarray:
    return np.array(value.get() if hasattr(value, "get") else value)
