"""Both passes of neon's recurrent layers: a layer of ours, unrolled, whose values stand in tensors of neon's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, cast

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.optree import Node, stated
from neon_optim.compat.neon.layers.parameters import ParameterLayer, Shared
from neon_optim.model.recurrence import Recurrence

__all__ = ["Again", "Passes", "StartLeftOut", "StepsLayer", "get_steps", "interpret_in_shape"]


def get_steps(x: Any, shape: Sequence[int]) -> list[Any]:
    """The steps of sequences (F, T) in the columns of a tensor or an array, as views of (F, samples).

    >>> import numpy as np
    >>> [step.tolist() for step in get_steps(np.array([[1, 2, 3, 4]]), (1, 2))]
    [[[1, 2]], [[3, 4]]]
    """
    if x is None:
        return [None] * shape[1]
    of_each = x.reshape((*shape, -1))
    return [of_each[:, t, :] for t in range(shape[1])]


def interpret_in_shape(xshape: Any) -> tuple[int, int]:
    """(features, steps) of the samples that come in; of an image the last axis counts the steps.

    >>> interpret_in_shape(10), interpret_in_shape((16, 50)), interpret_in_shape((3, 8, 6))
    ((10, 1), (16, 50), (24, 6))
    """
    if not isinstance(xshape, (tuple, list)):
        return int(xshape), 1
    features = 1
    for extent in xshape[:-1]:
        features *= int(extent)
    return features, int(xshape[-1])


class StartLeftOut(Recurrence):
    """As in neon: what the minibatch before has left counts in the values of the first step, and not in gradients."""

    def counts(self) -> bool:
        """Whether the step is not the first."""
        return self.time != self.times[0]

    def times_gate(self, gate: Any, v: Any) -> Any:
        """gate · v, which in the first step has no derivative by the gate."""
        if v is None or self.counts():
            return super().times_gate(gate, v)
        return stated(gate * v, [v], lambda error, y, v: [error * gate])


class AddedUp(StartLeftOut):
    """As in neon's GRU: the products of each step are added up, from the last to the first."""

    def product(self, errors: Any, n: int, factors: Mapping[int, Any]) -> Any:
        """The derivative by rows of the recurrent weights."""
        of_steps = [
            self.be.dot(errors[:, t * n : (t + 1) * n], factors[t].T) for t in sorted(factors, reverse=True)
        ]
        return _total(of_steps)


class AddedUpWithStart(AddedUp):
    """The same, where what the first step begins with counts in the gradients too."""

    def counts(self) -> bool:
        """True."""
        return True


class Again:
    """Assignments that are done for each minibatch: captured, as soon as it is known that they are.

    Arguments:
        be: the backend.
        assignments: (tensor, op-tree) pairs.
        inputs: tensors in whose place others may be given.
        values: nodes whose value is in a tensor each time, with it.
    """

    def __init__(
        self,
        be: Any,
        assignments: Sequence[tuple[Any, Any]],
        inputs: Sequence[Any],
        values: Sequence[tuple[Any, Any]] = (),
    ):
        self._be = be
        self._what = assignments, inputs, values
        self._left = 2
        self._captured: Any = None

    def __call__(self, *given: Any) -> None:
        """Do the assignments.

        Arguments:
            given: what takes the place of the inputs.
        """
        assignments, inputs, values = self._what
        if self._captured is None and self._left and all(a is b for a, b in zip(given, inputs, strict=True)):
            self._left -= 1
            self._be.assign_all(assignments, values)
            return
        if self._captured is None:
            self._captured = self._be.capture(assignments, inputs, values)
        self._captured(*given)


class Passes:
    """Both passes of a layer over minibatches of one shape.

    Arguments:
        layer: the layer.
        x: the inputs, (nin, T · n).
        recurrence: what steps make of what the step before has left.
        driven: tensors with what drives the steps of each direction; None: the products of the inputs.
    """

    def __init__(self, layer: StepsLayer, x: Any, recurrence: type[Recurrence], driven: Any = None):
        core = layer.core
        self._layer = layer
        self._made_for = self._circumstances(x)
        self._weights = core.weights(core.W)
        self._parts = core.parts(Node("reshape", x, shape=x.shape))
        self._products = core.driven(self._parts, self._weights, False)
        self._unrolled = core.unroll(driven or self._products, layer.start, recurrence)
        self._known = [
            (step[name], tensor)
            for unrolled, kept in zip(self._unrolled, layer.kept, strict=True)
            for name, tensors in kept.items()
            for step, tensor in zip(unrolled.steps, tensors, strict=True)
        ]
        last = [(tensor, self._unrolled[0].last[0]) for tensor in layer.last]
        assignments = [(tensor, node) for node, tensor in self._known] + last
        self._forward = Again(layer.be, assignments, [] if driven else [x])
        self._backward: dict[Any, Any] = {}

    def are_for(self, x: Any) -> bool:
        """Whether the layer and the shape of its inputs are what they were."""
        return all(a is b or a == b for a, b in zip(self._made_for, self._circumstances(x), strict=True))

    def _circumstances(self, x: Any) -> list[Any]:
        layer = self._layer
        tensors = [id(tensor) for tensor in (layer.W, layer.dW)]
        return [x.shape, x.dtype, *tensors, layer.activation, getattr(layer, "gate_activation", None)]

    def forward(self, *x: Any) -> None:
        """Fill the tensors of the layer with the values of all steps."""
        self._forward(*x)

    def backward(self, error: Any, x: Any, alpha: float, beta: float) -> None:
        """Fill gradients and deltas; ``alpha`` and ``beta`` are of the deltas."""
        layer = self._layer
        run = self._backward.get((alpha, layer.deltas))
        if run is None:
            by_driven, assignments = self.of_steps(error)
            assignments += self.of_inputs(by_driven, alpha)
            run = Again(layer.be, assignments, [error, x], self._known)
            self._backward[alpha, layer.deltas] = run
        before = layer.deltas.copy() if beta and layer.deltas is not None else None
        run(error, x)
        if before is not None:
            layer.deltas[:] = layer.deltas + beta * before

    def of_steps(self, error: Any) -> tuple[list[Any], list[tuple[Any, Any]]]:
        """The derivatives by what drives the steps, and assignments of those by recurrent weights and biases."""
        layer, found, assignments = self._layer, [], []
        nout = layer.core.output_size
        whole = Node("reshape", error, shape=error.shape)
        gradients_of = layer.core.weights(layer.dW)
        for k, (unrolled, grads) in enumerate(zip(self._unrolled, gradients_of, strict=True)):
            part = whole if len(gradients_of) == 1 else whole[k * nout : (k + 1) * nout]
            by_driven, by_recur, _, *by_start = unrolled.backward(part)
            found.append(by_driven)
            assignments.append((grads.recur, 0.0 if by_recur is None else by_recur))
            assignments.append((grads.b, self.by_bias(by_driven)))
            if k == 0:
                assignments += [(tensor, by_driven) for tensor in layer.by_driven]
                assignments += [(tensor, by_start[0]) for tensor in layer.by_start]
        return found, assignments

    def of_inputs(self, by_driven: Sequence[Any], alpha: float) -> list[tuple[Any, Any]]:
        """Assignments of the derivatives by the inputs and their weights, given those by what drives the steps."""
        layer, by_parts, assignments = self._layer, [], []
        for k, (product, grads) in enumerate(zip(self._products, layer.core.weights(layer.dW), strict=True)):
            (by_part,) = gradients(product, [self._parts[k]], by_driven[k])
            assignments.append((grads.input, self.by_input(k, by_driven[k])))
            by_parts.append(by_part if alpha == 1.0 else alpha * by_part)
        deltas, rows = layer.deltas, self._parts[0].shape[0]
        if deltas is None:
            return assignments
        deltas = deltas.reshape(layer.nin, -1)
        if rows < layer.nin:
            return [*assignments, (deltas[:rows], by_parts[0]), (deltas[rows:], by_parts[1])]
        return [*assignments, (deltas, by_parts[0] if len(by_parts) == 1 else by_parts[0] + by_parts[1])]

    def by_bias(self, by_driven: Any) -> Any:
        """The derivative by the biases."""
        return self._layer.be.sum(by_driven, axis=1)

    def by_input(self, k: int, by_driven: Any) -> Any:
        """The derivative by the weights of the inputs of a direction."""
        found: Any = gradients(self._products[k], [self._weights[k].input], by_driven)[0]
        return found


class AddedUpPasses(Passes):
    """Passes that add up the derivatives by parameters from the last step to the first, as neon's Recurrent."""

    def by_bias(self, by_driven: Any) -> Any:
        """The derivative by the biases."""
        return _total([self._layer.be.sum(of_step, axis=1) for of_step in self._of_steps(by_driven)])

    def by_input(self, k: int, by_driven: Any) -> Any:
        """The derivative by the weights of the inputs of a direction."""
        steps = zip(self._of_steps(by_driven), self._of_steps(self._parts[k]), strict=True)
        return _total([self._layer.be.dot(of_step, x.T) for of_step, x in steps])

    def _of_steps(self, a: Any) -> list[Any]:
        count = self._layer.nsteps
        n = a.shape[1] // count
        return [a[:, t * n : (t + 1) * n] for t in reversed(range(count))]


def _total(parts: Sequence[Any]) -> Any:
    return reduce(lambda total, part: total + part, parts)


class StepsLayer(ParameterLayer):
    """A recurrent layer of one direction or of two.

    A subclass sets ``core``, and in ``allocate`` the tensors that are named here.

    Attributes:
        start: what each direction begins with.
        kept: for each direction tensors for the values of the steps, by name.
        last: tensors for the outputs of the last step.
        by_driven: tensors for the derivative by what drives the steps of the first direction.
        by_start: tensors for the derivative by the outputs before the first step.
    """

    activation = Shared()
    W_input = cast("Any", None)

    passes_class = cast("Any", Passes)
    last = cast("Sequence[Any]", ())
    by_driven = cast("Sequence[Any]", ())
    by_start = cast("Sequence[Any]", ())

    def __init__(
        self, init: Any, init_inner: Any, reset_cells: bool, name: str | None, parallelism: str = "Unknown"
    ):
        super().__init__(init, name, parallelism)
        self.init_inner = init_inner
        self.reset_cells = reset_cells
        self.ngates = self.core.gates
        self.output_size = self.nout = self.h_nout = self.core.output_size
        self.x: Any = None
        self.start: list[Any] = []
        self.kept: list[Mapping[str, Sequence[Any]]] = []
        self.bufs_to_reset: list[Any] = []
        self._passes: dict[type[Recurrence], Passes] = {}
        self._current: Any = None

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features and of steps."""
        super().configure(in_obj)
        self.nin, self.nsteps = interpret_in_shape(self.in_shape)
        self.core.name = self.name
        self.core.in_shape = (self.nin, self.nsteps)
        self.core.configure(self.nin)
        if self.weight_shape is None:
            self.weight_shape = (self.nout, self.nin)
        return self

    def allocate(self, shared_outputs: Any = None) -> None:  # type: ignore[override]
        """Make outputs, and parameters where there are none; a subclass makes the tensors for the steps."""
        super().allocate(shared_outputs)
        if self.W_input is None:
            self.init_params(self.weight_shape)
        self._passes.clear()
        columns = self.be.bsz
        self.start = [
            self.be.zeros((self.nout, columns)) for _ in self.core.directions for _ in self.core.goes_on
        ]

    def set_deltas(self, delta_buffers: Any) -> None:
        """Take the deltas."""
        super().set_deltas(delta_buffers)
        self.out_deltas_buffer = self.deltas
        self._passes.clear()

    def init_params(self, shape: Any) -> None:
        """Make W and dW, and fill W by the initializers; what was loaded stays.

        Raises:
            ValueError: what was loaded has another shape.
        """
        wanted = self.core.weight_shape
        if self.W is None:
            self.W = self.be.empty(wanted, **self.get_param_attrs())
            self.dW = self.be.zeros_like(self.W)
            self.core.fill_by(self.init, self.init_inner or self.init)
        elif self.W.shape != wanted:
            raise ValueError(
                f"{self.classnm} '{self.name}': W has the shape {self.W.shape}, expected {wanted}"
            )
        for ending, weights, grads in zip(
            self.core.directions, self.core.weights(self.W), self.core.weights(self.dW), strict=True
        ):
            names = "W_input" + ending, "W_recur" + ending, "b" + ending
            for name, param, grad in zip(names, weights, grads, strict=True):
                setattr(self, name, param)
                setattr(self, f"d{name}", grad)
        self.W_input = getattr(self, "W_input" + self.core.directions[0])

    @property
    def algebra(self) -> Any:
        """The layer of ours, where minibatches do not go on from each other."""
        return super().algebra if self.reset_cells else None

    def init_buffers(self, inputs: Any) -> None:
        """Take the inputs; where they are another tensor than before, the layer forgets what the steps have left."""
        if self.x is None or self.is_other(inputs):
            if self.x is not None:
                for tensor in self.bufs_to_reset:
                    tensor.fill(0.0)
            self._inputs = inputs
            self.x = inputs.reshape(self.nin, self.nsteps * self.be.bsz)

    def is_other(self, inputs: Any) -> bool:
        """Whether the inputs are another tensor than before."""
        return self._inputs is not inputs

    def run_backward(self, error: Any, alpha: float, beta: float) -> Any:
        """Fill gradients and deltas, given the derivative by the outputs, (features, T · samples) or as one vector."""
        self._current.backward(error.reshape(self.core.nout, -1), self.x, alpha, beta)
        return self.out_deltas_buffer

    def run_forward(self, recurrence: type[Recurrence] = StartLeftOut) -> None:
        """Fill the tensors of the layer from ``x`` and ``start``."""
        ready = self._passes.get(recurrence)
        if ready is None or not ready.are_for(self.x):
            ready = self._passes[recurrence] = self.passes_class(self, self.x, recurrence)
        self._current = ready
        ready.forward(self.x)
