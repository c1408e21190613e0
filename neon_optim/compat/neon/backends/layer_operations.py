"""What neon's layers ask of a backend: products, lookup tables, activations, normalization, groups of layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.optree import Node, shape_of
from neon_optim.compat.neon.backends.op_trees import NeonAlgebra

__all__ = ["LayerOperations", "store"]


def store(out: Any, value: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
    """out = alpha · value + beta · out."""
    if alpha != 1.0:
        value = alpha * value
    if beta != 0.0:
        value = value + (out if beta == 1.0 else beta * out)
    out[:] = value


class LayerOperations(NeonAlgebra):
    """Operations of layers, run at once; mixed into a backend.

    The ``…_layer`` methods give None: what other backends of neon's keep for a layer, ours need not.

    References:
        neon/backends/backend.py, neon/backends/nervanacpu.py.
    """

    array: Any

    # --- products ---

    def compound_dot(
        self,
        A: Any,
        B: Any,
        C: Any,
        alpha: float = 1.0,
        beta: float = 0.0,
        relu: bool = False,
        bsum: Any = None,
        repeat: int = 1,
        size: Any = None,
    ) -> Any:
        """C = alpha · A·B + beta · C.

        Arguments:
            relu: set negative elements of alpha · A·B to 0.
            bsum: a tensor for the sums of C along its rows.
            repeat, size: of neon's GPU backend; without effect.
        """
        store(C, self._product(self.dot(A, B), alpha, relu), beta=beta)
        if bsum is not None:
            self.sum(C, 1, out=bsum)
        return C

    def batched_dot(
        self,
        A: Any,
        B: Any,
        C: Any = None,
        alpha: float = 1.0,
        beta: float = 0.0,
        relu: bool = False,
        repeat: int = 1,
        size: Any = None,
    ) -> Any:
        """C = alpha · A·B + beta · C for each index of a first axis: A (g, m, k) or (m, k) for all, B (g, k, n).

        Without C the product as an op-tree. The products are added up where C is (m, n).

        Arguments:
            relu: set negative elements of alpha · A·B to 0.
            repeat, size: of neon's GPU backend; without effect.
        """
        if len(shape_of(A)) == 2:
            A = Node("broadcast", A, shape=(shape_of(B)[0], *shape_of(A)))
        product = self._node("batched_dot", A, B)
        if C is None:
            return product
        if len(C.shape) == 2:
            product = self.sum(product, axis=0).reshape(C.shape)
        store(C, self._product(product, alpha, relu), beta=beta)
        return C

    def _product(self, product: Any, alpha: float, relu: bool) -> Any:
        if alpha != 1.0:
            product = alpha * product
        return self.maximum(product, 0.0) if relu else product

    def xnor_compound_dot(self, A: Any, B: Any, C: Any, beta: float = 0.0, bsum: Any = None) -> Any:
        """C = A·B + beta · C of matrices that hold 1 and -1."""
        return self.compound_dot(A, B, C, beta=beta, bsum=bsum)

    def add_fc_bias(self, inputs: Any, bias: Any) -> None:
        """Add a bias, a column, to each sample."""
        inputs[:] = inputs + bias

    def update_fc_bias(self, err: Any, out: Any) -> None:
        """The gradient of a bias: the sum of the errors over the samples."""
        self.sum(err, axis=1, out=out)

    def compound_bprop_lut(
        self,
        nin: int,
        inputs: Any,
        error: Any,
        error_t: Any,
        dW: Any,
        pad_idx: int | None,
        alpha: float = 1.0,
        beta: float = 0,
    ) -> None:
        """The gradient of a lookup table: to each of its rows that was looked up the sum of the errors there.

        Rows that were not looked up, and that of ``pad_idx``, stay as they are.

        Arguments:
            nin: how many words a sample has; not used.
            inputs: the numbers of the words that were looked up, (1, n).
            error: the errors, (features, n).
            error_t: memory of neon's; not used.
            dW: the gradient, (words, features).
            alpha, beta: the sums are multiplied by alpha, and beta times what was there is added.
        """
        words = dW.shape[0]
        total = self._node("put", self._node("transpose", error), inputs, axis=0, extent=words)
        hits = self._node("put", Node("broadcast", 1.0, shape=(inputs.size, 1)), inputs, axis=0, extent=words)
        wanted = self.greater(hits, 0.0)
        if pad_idx is not None:
            wanted = wanted * self.not_equal(self.array(np.arange(words).reshape(-1, 1)), pad_idx)
        value = alpha * total if alpha != 1.0 else total
        dW[:] = self.where(wanted, value + beta * dW if beta else value, dW)

    # --- activations ---

    def relu_layer(self) -> None:
        """None."""

    def fprop_relu(self, layer: Any, x: Any, slope: float) -> Any:
        """x where it is positive, ``slope`` times x elsewhere, as an op-tree."""
        positive = self.maximum(x, 0)
        return positive + slope * self.minimum(0, x) if slope else positive

    def bprop_relu(self, layer: Any, x: Any, error: Any, deltas: Any, slope: float) -> Any:
        """The derivative of :meth:`fprop_relu`, as an op-tree: 1, ``slope``, or 0 at 0."""
        positive = self.greater(x, 0)
        return positive + slope * self.less(x, 0) if slope else positive

    def fprop_transform(
        self, ngLayer: Any, transform: Any, inputs: Any, outputs: Any, relu: bool = False
    ) -> None:
        """outputs = transform(inputs)."""
        outputs[:] = transform(inputs)

    def bprop_transform(
        self, ngLayer: Any, transform: Any, outputs: Any, error: Any, deltas: Any, relu: bool
    ) -> None:
        """deltas = transform.bprop(outputs) · error."""
        deltas[:] = transform.bprop(outputs) * error

    # --- batch normalization ---

    def batchnorm_layer(self, in_shape: Any) -> None:
        """None."""

    def compound_fprop_bn(
        self,
        x: Any,
        xsum: Any,
        xvar: Any,
        gmean: Any,
        gvar: Any,
        gamma: Any,
        beta: Any,
        y: Any,
        eps: float,
        rho: float,
        compute_batch_sum: bool,
        accumbeta: float = 0.0,
        relu: bool = False,
        binary: bool = False,
        inference: bool = False,
        outputs: Any = None,
        layer: Any = None,
    ) -> None:
        """Normalize the rows of x over the minibatch: y = (x - mean) / sqrt(var + eps) · gamma + beta + accumbeta · y.

        Arguments:
            x: (features, elements).
            xsum: the sums of the rows, if not ``compute_batch_sum``; then the means.
            xvar: a tensor for the variances.
            gmean, gvar: running means and variances, of which a part rho stays; in inference what is normalized by.
            gamma, beta: the new deviation and mean of each row.
            y: a tensor for the result, of any shape.
            relu, outputs, layer: neon's; without effect.
            binary: multiply by the nearest powers of two instead.
            inference: use the running means and variances.
        """
        y = y.reshape(x.shape)
        if inference:
            normalized = (x - gmean) / self.sqrt(gvar + eps)
            store(y, normalized * gamma + beta, beta=accumbeta)
            return
        if compute_batch_sum:
            self.sum(x, axis=1, out=xsum)
        self.var(x, axis=1, binary=binary, out=xvar)
        xsum[:] = xsum / x.shape[1]
        gmean[:] = gmean * rho + (1.0 - rho) * xsum
        gvar[:] = gvar * rho + (1.0 - rho) * xvar
        if binary:
            scaled = self.shift(self.shift(x - xsum, 1.0 / self.sqrt(xvar + eps)), gamma)
        else:
            scaled = (x - xsum) / self.sqrt(xvar + eps) * gamma
        store(y, scaled + beta, beta=accumbeta)

    def compound_bprop_bn(
        self,
        delta_out: Any,
        grad_gamma: Any,
        grad_beta: Any,
        delta_in: Any,
        x: Any,
        xsum: Any,
        xvar: Any,
        gamma: Any,
        eps: float,
        binary: bool = False,
        layer: Any = None,
    ) -> None:
        """The derivatives of :meth:`compound_fprop_bn`.

        Arguments:
            delta_out, grad_gamma, grad_beta: tensors for the derivatives by x, gamma and beta; ``delta_in`` may be the
                first of them.
            delta_in: the derivative by y.
            xsum, xvar: the means and variances, as the forward pass left them.
        """
        times = self.shift if binary else self.multiply
        inverse = 1.0 / self.sqrt(xvar + eps)
        normalized = times(x - xsum, inverse)
        self.sum(normalized * delta_in, axis=1, out=grad_gamma)
        self.sum(delta_in, axis=1, out=grad_beta)
        common = (times(normalized, grad_gamma) + grad_beta) / float(x.shape[1])
        delta_out.reshape(delta_in.shape)[:] = times(times(delta_in - common, gamma), inverse)

    # --- layers side by side ---

    def fprop_skipnode(self, x: Any, y: Any, beta: float) -> None:
        """y = beta · y + x."""
        store(y, x, beta=beta)

    def bprop_skipnode(self, error: Any, deltas: Any, alpha: float, beta: float) -> None:
        """deltas = beta · deltas + alpha · error."""
        store(deltas, error, alpha, beta)

    def mergesum_layer(self, layer_num: int) -> None:
        """None."""

    def fprop_mergesum(
        self, ngLayer: Any, inputs: Any, inference: bool, layers: Sequence[Any], outputs: Any, out_shape: Any
    ) -> None:
        """Forward passes of layers that add up their outputs in one tensor."""
        for layer in layers:
            layer.fprop(inputs, inference, beta=0 if layer is layers[0] else 1)

    def bprop_mergesum(
        self, ngLayer: Any, alpha: float, beta: float, layers: Sequence[Any], error: Any, deltas: Any
    ) -> None:
        """Backward passes of such layers, the last first, which add up their deltas in one tensor."""
        for layer in reversed(layers):
            layer.bprop(error, alpha=alpha, beta=beta if layer is layers[-1] else 1)

    def mergebroadcast_layer(self, layer_num: int) -> None:
        """None."""

    def fprop_mergebroadcast(
        self, ngLayer: Any, inputs: Any, inference: bool, outputs: Any, layers: Iterable[Any], out_shape: Any
    ) -> None:
        """Forward passes of layers that have the same inputs."""
        for layer in layers:
            layer.fprop(inputs, inference)

    def bprop_mergebroadcast(
        self,
        ngLayer: Any,
        layers: Sequence[Any],
        error_views: Sequence[Any],
        error: Any,
        delta: Any,
        out_shape: Any,
        alpha: float,
        beta: float,
        alphas: Sequence[float],
        betas: list[float],
    ) -> None:
        """Backward passes of such layers, the last first, each with its part of the error."""
        betas[-1] = beta
        for layer, view, a, b in reversed(list(zip(layers, error_views, alphas, betas, strict=True))):
            layer.bprop(view, alpha=a * alpha, beta=b)
