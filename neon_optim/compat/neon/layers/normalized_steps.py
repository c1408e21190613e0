"""neon's recurrent layer of two directions with batch normalization."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neon_optim.compat.neon.layers.bidirectional import BiRNN
from neon_optim.compat.neon.layers.unrolled import Again, Passes, get_steps
from neon_optim.model.recurrence import Recurrence

__all__ = ["BiBNRNN"]


class _NormalizedPasses(Passes):
    """Passes of a layer that normalizes what drives its steps."""

    def __init__(self, layer: Any, x: Any, recurrence: type[Recurrence]):
        super().__init__(layer, x, recurrence, [layer.h_ff_buffer_f, layer.h_ff_buffer_b])
        tensors = (layer.h_ff_buffer_f, layer.h_ff_buffer_b)
        self._drive = Again(layer.be, list(zip(tensors, self._products, strict=True)), [x])

    def forward(self, *x: Any) -> None:
        """Drive the steps by the normalized products."""
        layer: Any = self._layer
        self._drive(*x)
        layer._fprop_bn(layer.h_ff_buffer, layer.inference)
        super().forward()

    def backward(self, error: Any, x: Any, alpha: float, beta: float) -> None:
        """Through the steps, the normalization, and the products."""
        layer: Any = self._layer
        runs = self._backward.get((alpha, layer.deltas))
        halves = [layer.by_driven_f, layer.by_driven_b]
        if runs is None:
            by_driven, assignments = self.of_steps(error)
            assignments += zip(halves, by_driven, strict=True)
            first = Again(layer.be, assignments, [error], self._known)
            runs = first, Again(layer.be, self.of_inputs(halves, alpha), [x])
            self._backward[alpha, layer.deltas] = runs
        runs[0](error)
        layer._bprop_bn(layer.by_driven_buffer, layer.h_ff_buffer)
        runs[1](x)


class BiBNRNN(BiRNN):
    """BiRNN with batch normalization of what drives its steps.

    Its gradients are right, which neon's are not: there the delta of the last step is added to once too often, and what
    beta and gamma are trained with stays zero.

    Arguments: those of :class:`BiRNN`.

    Attributes:
        beta, gamma, grad_beta, grad_gamma: parameters of the normalization, and their gradients.
        gmean, gvar: running means and variances; ``xmean`` and ``xvar`` are those of the minibatch.
    """

    passes_class = _NormalizedPasses

    def __init__(
        self,
        output_size: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        reset_cells: bool = False,
        split_inputs: bool = False,
        name: str | None = None,
    ):
        super().__init__(output_size, init, init_inner, activation, reset_cells, split_inputs, name)
        self.rho = 0.9
        self.eps = 1e-3
        self.beta: Any = None
        self.gamma: Any = None
        self.gmean: Any = None
        self.gvar: Any = None
        self.inference = False
        double = self.be.default_dtype == np.float64
        self.stats_dtype: Any = np.float64 if double else np.float32

    def allocate(self, shared_outputs: Any = None) -> None:  # type: ignore[override]
        """Make the tensors of the steps, and parameters where there are none."""
        super().allocate(shared_outputs)
        nout = self.nout
        self.h_ff_buffer = self.be.iobuf(self.out_shape)
        self.h_ff_buffer_f, self.h_ff_buffer_b = self.h_ff_buffer[:nout], self.h_ff_buffer[nout:]
        self.h_ff_f, self.h_ff_b = (
            get_steps(half, self.o_shape) for half in (self.h_ff_buffer_f, self.h_ff_buffer_b)
        )
        self.by_driven_buffer = self.be.iobuf(self.out_shape)
        self.by_driven_f, self.by_driven_b = self.by_driven_buffer[:nout], self.by_driven_buffer[nout:]

    def init_params(self, shape: Any) -> None:
        """Make W, and the parameters and statistics of the normalization; what was loaded stays."""
        super().init_params(shape)

        def tensor(value: float) -> Any:
            made = self.be.empty((self.out_shape[0], 1), dtype=self.stats_dtype, **self.get_param_attrs())
            return made.fill(value)

        for name, value in (("gmean", 0.0), ("gvar", 0.0), ("beta", 0.0), ("gamma", 1.0)):
            if getattr(self, name) is None:
                setattr(self, name, tensor(value))
        self.xmean, self.xvar = tensor(0.0), tensor(0.0)
        self.inf_params = [self.gmean, self.gvar]
        self.params = [self.beta, self.gamma]
        self.allparams = self.params + self.inf_params
        self.grad_params = [self.be.zeros_like(param) for param in self.params]
        self.grad_beta, self.grad_gamma = self.grad_params
        self.states_bn: list[list[Any]] = [[], []]
        pairs = zip(self.params, self.grad_params, strict=True)
        self.plist_bn = list(zip(pairs, self.states_bn, strict=True))

    @property
    def algebra(self) -> Any:
        """None: the layer of ours does not normalize."""
        return None

    def get_params(self) -> Any:
        """Those of W, then those of the normalization."""
        return [super().get_params(), *self.plist_bn]

    def get_description(
        self, skip: Iterable[str] = (), get_weights: bool = False, keep_states: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        """The description; with ``get_weights`` also those of W and of the normalization, whose states are left out."""
        found = super().get_description(skip, get_weights, keep_states)
        if get_weights:
            names = ("gmean", "gvar", "beta", "gamma")
            found["params"].update({name: getattr(self, name).get() for name in names})
        return found

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs of all steps, those of the way forwards above those of the way backwards."""
        self.inference = inference
        return super().fprop(inputs, inference)

    def _fprop_bn(self, inputs: Any, inference: bool = False) -> Any:
        """Normalize the rows in place."""
        statistics = inputs, self.xmean, self.xvar, self.gmean, self.gvar
        self.be.compound_fprop_bn(
            *statistics, self.gamma, self.beta, inputs, self.eps, self.rho, True, inference=inference
        )
        return inputs

    def _bprop_bn(self, error: Any, input_post_bn: Any) -> Any:
        """The derivative by what was normalized, in place of that by the result, which is given too."""
        be = self.be
        hhat = (input_post_bn - self.beta) / self.gamma
        be.assign_all(
            [(self.grad_gamma, be.sum(hhat * error, axis=1)), (self.grad_beta, be.sum(error, axis=1))]
        )
        shared = (hhat * self.grad_gamma + self.grad_beta) / float(input_post_bn.shape[1])
        error[:] = self.gamma * (error - shared) / be.sqrt(self.xvar + self.eps)
        return error
