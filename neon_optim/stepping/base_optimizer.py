"""What every optimizer is to its users, whether it is an algorithm, a wrapper or a choice of several."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY
from typing import Any, ClassVar

from neon_optim.backends import gen_backend
from neon_optim.described.arguments import Name, refuse
from neon_optim.described.object import NervanaObject
from neon_optim.errors import NonFiniteError, StateError
from neon_optim.stepping.binding import Bindings
from neon_optim.stepping.bound import BoundOptimizer
from neon_optim.stepping.counting import Counting
from neon_optim.stepping.interrupts import Uninterrupted
from neon_optim.stepping.lenders import backend_for, batch_size_of, lender_of
from neon_optim.stepping.norm import GradientNorm
from neon_optim.stepping.numbers import Hyperparameters, Numbers
from neon_optim.stepping.parameters import NamedParameter, get_param_list, named_parameters
from neon_optim.stepping.rule import Rule

__all__ = ["BaseOptimizer"]


class BaseOptimizer(Counting, NervanaObject, kind="optimizer", abstract=True):
    """The base of all optimizers: it owns the bindings to parameters, and with them everything that a step needs.

    Attributes:
        t: number of steps done; part of the training state.
    """

    closed: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]]
    told_of_vanishing = False
    """Whether a PrecisionWarning was given."""

    _: KW_ONLY
    name: Name = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.t = 0
        self._start()

    def _start(self) -> None:
        self._bindings = Bindings(self)
        self._stepping = threading.RLock()
        self._evaluating = False

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process: bindings are made anew."""
        return {
            k: v for k, v in vars(self).items() if k not in ("_bindings", "_stepping", "_hyperparameters")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    # --- what a subclass says ---

    def rule_for(self, parameter: NamedParameter | None) -> Rule:
        """The rule that updates a parameter; None: one of no name, where :meth:`routes` is None."""
        raise NotImplementedError(f"{self.classnm} must define rule_for(self, parameter)")

    def routes(self) -> Any:
        """What :meth:`rule_for` goes by, to notice that it changes; None where one rule is for all parameters."""
        return None

    def at(self, epoch: float) -> Numbers:
        """The numbers of the step that follows; where there are several optimizers, those of the default one."""
        return self.rule_for(None).numbers(epoch, self._usual_batch_size, True)[-1]

    def hyperparameters(self) -> Hyperparameters:
        """The hyper-parameters as they are set now: another object after any was changed."""
        mine = vars(self)
        known: Hyperparameters | None = mine.get("_hyperparameters")
        if known is None or known.changes != mine.get("_changes"):
            known = mine["_hyperparameters"] = Hyperparameters(self)
        return known

    @property
    def _usual_batch_size(self) -> float:
        """The samples that gradients are sums over where nobody says more."""
        return batch_size_of(self.be, None)

    # --- a step ---

    def optimize(self, layer_list: Any, epoch: int) -> None:
        """Update every parameter of the layers once, in place.

        Arguments:
            layer_list: layers with ``get_params()``, ``((param, grad), state)`` tuples, or lists of them. Empty state
                lists are filled with zeros of the gradient's shape.
            epoch: epochs done, for the schedule.

        Raises:
            StateError: an array or a state list does not fit; nothing has been changed.
            NonFiniteError: a gradient is not finite and ``on_nonfinite`` is 'raise'; nothing has been changed.
        """
        self.step(layer_list, epoch)

    def step(self, layer_list: Any, epoch: float, batch_size: float | None = None) -> Numbers:
        """:meth:`optimize` for gradients that are sums over ``batch_size`` samples; None: over ``be.bsz``.

        ``be`` is the backend whose tensors the parameters are, neon's own too: where no backend is set, neon's tensors
        in host memory are updated by our CPU backend.

        Steps of one optimizer in several threads come one after the other, and Ctrl-C waits for the end of one.

        Returns the numbers of the step, ``lr`` among them; of several optimizers those of the default one.
        """
        be = self.be
        if be is None:
            layer_list = list(layer_list) if hasattr(layer_list, "__next__") else layer_list
            be = backend_for(get_param_list(layer_list))
        with self._stepping, Uninterrupted():
            if self._evaluating:
                raise StateError(f"{self.name}: no step while the parameters are set for evaluation")
            binding = self._bindings.of(be, layer_list)
            usual = binding.usual_batch_size
            batch_size = usual if batch_size is None else float(batch_size)
            default = None if binding.has_one_rule else self.at(epoch)
            now = binding.step(epoch, batch_size, usual != 1 or batch_size != 1)
            return default or now[0][-1]

    def bind(self, parameters: Any, batch_size: float = 1) -> BoundOptimizer:
        """Tie this optimizer to parameters: what comes back has ``step()``, ``zero_grad()``, ``clip_grad_norm()``.

        Arguments:
            parameters: layers, ``(param, grad)`` pairs, objects with ``data`` and ``grad`` (which may be None for a
                while: those wait), or arrays, which get a gradient of zeros; a list of them, or a mapping from names.
            batch_size: what gradients are divided by; 1 for gradients that are means already.

        Without a backend, that of the CPU is set. See :class:`BoundOptimizer`.
        """
        if self.be is None:
            gen_backend("cpu")
        return BoundOptimizer(self, parameters, batch_size)

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Rule]]:
        """Every parameter with its name and the rule that updates it."""
        return [(parameter, self.rule_for(parameter)) for parameter in named_parameters(layer_list)]

    # --- evaluation ---

    @contextmanager
    def evaluation(self, layer_list: Any) -> Iterator[None]:
        """Within the block the parameters hold what the model is best evaluated with (an average, say).

        Afterwards they are what they were, to the last bit. A step within the block is an error.
        """
        saved: list[tuple[Any, Any]] = []
        be = self.be
        if self._evaluating:
            raise StateError(f"{self.name}: the parameters are set for evaluation already")
        self._evaluating = True
        try:
            for parameter, rule in self.named_parameters(layer_list):
                (param, _), states = parameter.value
                arrays = [be.as_tensor(x) if hasattr(be, "as_tensor") else x for x in (param, *states)]
                tree = rule.evaluated(*arrays) if states else None
                if tree is not None:
                    copy = be.empty_like(arrays[0])
                    copy[:] = arrays[0]
                    saved.append((arrays[0], copy))
                    arrays[0][:] = tree
            yield
        finally:
            with Uninterrupted():
                for tensor, copy in saved:
                    tensor[:] = copy
                self._evaluating = False

    # --- clipping ---

    def clip_gradient_norm(self, param_list: Sequence[Any], clip_norm: float | None) -> float:
        """The factor that brings the global L2 norm of the gradients down to ``clip_norm``; 1 where it is below.

        Arguments:
            param_list: ``((param, grad), state)`` tuples, or layers.
            clip_norm: the largest norm, of the gradients divided by the batch size; None or 0: off.

        Raises:
            ArgumentError: ``clip_norm`` is negative.
            NonFiniteError: the norm is not finite, unless ``on_nonfinite`` is 'ignore'.
        """
        if not clip_norm:
            return 1.0
        if clip_norm < 0:
            refuse("clip_gradient_norm", "clip_norm", clip_norm, "must be a number >= 0")
        rows = get_param_list(param_list)
        be = backend_for(rows) if self.be is None else self.be
        norm = GradientNorm(be).of(rows, {}, batch_size_of(be, lender_of(rows)))
        if getattr(self, "on_nonfinite", None) != "ignore" and not math.isfinite(norm):
            raise NonFiniteError(f"{self.name}: the norm of the gradients is {norm}")
        return clip_norm / max(norm, clip_norm)

    def clip_value(self, v: Any, abs_bound: Any) -> Any:
        """``v`` limited to ± ``abs_bound``, as an op-tree; ``v`` itself where the bound is None or 0."""
        if not abs_bound:
            return v
        bound = abs(abs_bound)
        return self.be.clip(v, -bound, bound)
