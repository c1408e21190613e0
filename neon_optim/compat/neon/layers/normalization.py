"""neon's batch normalization."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neon_optim import model
from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.layers.base import Layer, interpret_in_shape
from neon_optim.compat.neon.layers.parameters import Shared, set_listed_states, set_named
from neon_optim.model.shapes import reshaped

__all__ = ["BatchNorm", "BatchNormAutodiff"]


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) · gamma + beta, for each feature or each channel of an image.

    Arguments:
        rho: how much of the running statistics stays with each minibatch.
        eps: is added to the variance.
        binary: powers of two in place of factors.
    """

    beta, gamma, gmean, gvar, grad_beta, grad_gamma, states, rho, eps = (Shared() for _ in range(9))

    def __init__(self, rho: float = 0.9, eps: float = 1e-3, name: str | None = None, binary: bool = False):
        self.core = self.core_of(rho, eps, binary)
        super().__init__(name)
        self.allparams: Any = None
        self.is_mklop = True
        self.has_params = True
        self.owns_delta = True
        self.rho = rho
        self.eps = eps
        self.binary = binary
        self.relu = False
        self.beta = None
        self.gamma = None
        self.gmean = None
        self.gvar = None
        self.states = [[], []]
        self.stats_dtype = np.float64 if self.be.default_dtype == np.float64 else np.float32

    def core_of(self, rho: float, eps: float, binary: bool) -> Any:
        """The layer of ours."""
        return model.ShiftBatchNorm(rho=rho, eps=eps) if binary else model.BatchNorm(rho=rho, eps=eps)

    def __str__(self) -> str:
        sizes = f"{self.nin} inputs, {self.nsteps} steps, {self.nfm} feature maps"
        return f"BatchNorm Layer '{self.name}': {sizes}"

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in."""
        super().configure(in_obj)
        self.configure_core()
        self.out_shape = self.in_shape
        self.nin, self.nsteps = interpret_in_shape(self.in_shape)
        self.nfm = self.core.in_shape[0]
        self.nglayer = None
        return self

    def allocate(self, shared_outputs: Any = None, accumulate_updates: bool = False) -> None:
        """Make outputs and, where there are none, parameters; with ``accumulate_updates`` what adds gradients up."""
        super().allocate(shared_outputs)
        self.accumulate_updates = accumulate_updates
        if self.allparams is None:
            self.init_params(self.nfm)

    def init_params(self, dim0: int) -> None:
        """beta and running statistics of 0, gamma of 1; states stay."""
        states = self.states
        self.core.init_params()
        self.states = states
        self._list_params()
        if self.accumulate_updates:
            self.acc_grad_beta = self.be.empty_like(self.grad_beta)
            self.acc_grad_gamma = self.be.empty_like(self.grad_gamma)
            self.acc_params = [(self.acc_grad_beta, self.grad_beta), (self.acc_grad_gamma, self.grad_gamma)]

    def _list_params(self) -> None:
        self.params, self.inf_params = [self.beta, self.gamma], [self.gmean, self.gvar]
        self.allparams = self.params + self.inf_params
        self.grad_params = [self.grad_beta, self.grad_gamma]

    @property
    def plist(self) -> list[Any]:
        """``[((beta, grad_beta), states), ((gamma, grad_gamma), states)]``."""
        pairs = zip(self.params, self.grad_params, strict=True)
        return list(zip(pairs, self.states, strict=True))

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The normalized inputs; in training the running statistics take those of the minibatch in."""
        return self.forward_of_core(self._laid_out(inputs), inference, beta)

    @Layer.accumulates
    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the inputs; and those by beta and gamma, in ``grad_beta`` and ``grad_gamma``."""
        return self.backward_of_core(self._laid_out(error), alpha, beta)

    def _laid_out(self, x: Any) -> Any:
        """A tensor as the outputs are: sequences may come with their steps in the rows."""
        return reshaped(x, self.outputs.shape)

    def get_params(self) -> Any:
        """That of :attr:`plist`."""
        return self.plist

    def get_params_serialize(self, keep_states: bool = True) -> dict[str, Any]:
        """The description with weights."""
        return self.get_description(get_weights=True, keep_states=keep_states)

    def get_description(
        self, skip: Iterable[str] = (), get_weights: bool = False, keep_states: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        """The description; with ``get_weights`` also ``params`` and, with ``keep_states``, ``states``."""
        found = super().get_description(skip)
        if get_weights:
            found["params"] = {key: getattr(self, key).get() for key in ("beta", "gamma", "gmean", "gvar")}
            if keep_states:
                found["states"] = [[state.get() for state in own] for own in self.states]
        return found

    def set_params(self, pdict: Any) -> None:
        """Take over ``pdict['params']``: by name, or of old files a list of beta, gamma, gmean, gvar."""
        arrays = pdict["params"]
        if not isinstance(arrays, dict):
            logger.warning("'%s' is read from an old file: save it again in the present format", self.name)
            arrays = dict(zip(("beta", "gamma", "gmean", "gvar"), arrays, strict=True))
        if self.beta is None:
            self.core.make(np.shape(arrays["beta"]))
        set_named(self, arrays)
        self._list_params()

    def set_states(self, pdict: Any) -> None:
        """Take over ``pdict['states']``, a list for each parameter."""
        set_listed_states(self, pdict.get("states", ()))


class BatchNormAutodiff(BatchNorm):
    """A BatchNorm with other defaults. In neon it shows how a backward pass follows from an op-tree; here all do.

    Arguments:
        rho: how much of the running statistics stays with each minibatch.
        eps: is added to the variance.
    """

    def __init__(self, rho: float = 0.99, eps: float = 1e-6, name: str | None = None):
        super().__init__(rho, eps, name)

    def get_forward_optree(self) -> Any:
        """The outputs in training as an op-tree of the inputs of the last minibatch."""
        value, _ = self.core.passed(self.inputs)
        return value
