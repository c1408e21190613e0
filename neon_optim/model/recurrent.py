"""Recurrent layers: sequences (F, T) step by step, and what makes one vector of a sequence."""

from __future__ import annotations

from typing import Any, ClassVar

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.optree import stated
from neon_optim.described.arguments import Flag, PositiveInt
from neon_optim.model.layer import Layer, OptionalInitializer, ParameterLayer, require
from neon_optim.model.layers import OptionalActivation
from neon_optim.model.shapes import Shape, steps, wanted

__all__ = ["GRU", "LSTM", "Recurrent", "RecurrentLast", "RecurrentMean", "RecurrentSum"]


class Recurrent(ParameterLayer):
    """h = activation(W_input · x + W_recur · h + b), for each step of a sequence: (F, T) becomes (output_size, T).

    Arguments:
        output_size: features that go out.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function; must be given.
        reset_cells: every minibatch starts from zeros; else, in training, where the one before has ended.

    W is (nin + output_size + 1, gates · output_size), as in neon: rows for the inputs, for the outputs of the step
    before and for the bias, which starts at 0. The first are read as W_input (gates · output_size, nin), then W_recur
    (gates · output_size, output_size), in C order; there is one gate here.

    What goes on from minibatch to minibatch is part of a checkpoint. A minibatch of another size, such as the last of
    an epoch, and every minibatch outside of training start from zeros and leave it alone.

    References:
        neon/layers/recurrent.py.
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("output_size", "init", "init_inner", "activation", "reset_cells", "name"),
    )
    gates: ClassVar[int] = 1
    goes_on: ClassVar[tuple[str, ...]] = ("h",)
    """What one step leaves for the next: the outputs first."""

    output_size: PositiveInt
    init_inner: OptionalInitializer = None
    activation: OptionalActivation = None
    reset_cells: Flag = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._last: list[Any] = []
        self._start: list[Any] = []

    def check_fields(self) -> None:
        """An activation is given: neon's order of arguments puts it behind those that have defaults."""
        require(self, activation="an activation")

    def configure(self, nin: int) -> None:
        """Learn the shape of the sequences."""
        super().configure(nin)
        if len(self.in_shape) != 2:
            hint = "give the data its shape, as in ArrayIterator(..., lshape=(features, steps))"
            raise wanted(self, "sequences (F, T)", hint)
        self.nout = self.output_size

    @property
    def out_shape(self) -> Shape:
        """(output_size, T)."""
        return self.output_size, steps(self.in_shape)

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(nin + output_size + 1, gates · output_size)."""
        return self.nin + self.output_size + 1, self.gates * self.output_size

    def init_params(self) -> None:
        """Make W, and zeros to go on from."""
        super().init_params()
        be, nout = self.backend, self.output_size
        count = 0 if self.reset_cells or not be.bsz else len(self.goes_on)
        self._last, self._start = ([be.zeros((nout, be.bsz)) for _ in range(count)] for _ in range(2))

    def fill(self) -> None:
        """Fill the weights gate by gate, those of the inputs first, as in neon; the bias is 0."""
        nout = self.output_size
        W_input, W_recur, b = self._parts()
        for weights, init in ((W_input, self.init), (W_recur, self.init_inner or self.init)):
            for gate in range(self.gates):
                init.fill(weights[gate * nout : (gate + 1) * nout])
        b.fill(0.0)

    def _parts(self) -> tuple[Any, Any, Any]:
        """W_input, W_recur and b, as views."""
        wide = self.gates * self.output_size
        W_recur = self.W[self.nin : self.nin + self.output_size]
        return (
            self.W[: self.nin].reshape(wide, self.nin),
            W_recur.reshape(wide, self.output_size),
            self.W[self.nin + self.output_size :].reshape(wide, 1),
        )

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """What goes on from minibatch to minibatch."""
        return {} if inference else dict(zip(self.goes_on, self._last, strict=False))

    def prepare(self, columns: int) -> None:
        """Start where the minibatch before has ended."""
        for start, last in zip(self._start, self._last, strict=True):
            start[:] = last

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The outputs of all steps, one behind the other."""
        be, length = self.be, steps(self.in_shape)
        n = x.shape[1] // length
        W_input, W_recur, b = self._parts()
        driven = be.dot(W_input, x)  # of all steps at once
        inputs = [driven[:, t * n : (t + 1) * n] for t in range(length)]
        biases = [b[_rows(gate, self.output_size)] for gate in range(self.gates)]
        goes_on = not inference and any(last.shape[1] == n for last in self._last)
        weights = _RecurrentWeights(be, W_recur)
        state: Any = self._start if goes_on else [None] * len(self.goes_on)
        outputs = []
        for of_step in inputs:
            state = self.step(of_step, biases, weights, *state)
            outputs.append(state[0])
        for array, become in zip(self._last if goes_on else (), state, strict=False):
            self.let(array, become)
        value = be.concatenate(outputs, axis=1)

        def backward(error: Any, y: Any, driven: Any, W_recur: Any, b: Any) -> list[Any]:
            by_driven = be.concatenate(gradients(value, inputs, error), axis=1)
            return [by_driven, weights.gradient(by_driven), be.sum(by_driven, axis=1)]

        return stated(value, [driven, W_recur, b], backward)

    def step(self, inputs: Any, biases: list[Any], weights: _RecurrentWeights, h: Any) -> tuple[Any, ...]:
        """One step: what is left for the next one, the outputs first.

        Arguments:
            inputs: W_input · x of the step, (gates · output_size, n).
            biases: that of each gate.
            weights: ``weights(v, start, stop)`` is the product of these rows of W_recur with v.
            h: what the step before has left; None: zeros.
        """
        return (self.activation.forward(self._gate(0, inputs, biases, weights(h))),)

    def _gate(self, number: int, inputs: Any, biases: list[Any], recurrent: Any, first: int = 0) -> Any:
        """What goes into the activation of a gate; ``first`` is the gate that ``recurrent`` begins with."""
        value = inputs[_rows(number, self.output_size)]
        if recurrent is not None:
            value = value + recurrent[_rows(number - first, self.output_size)]
        return value + biases[number]


def _rows(gate: int, nout: int) -> slice:
    return slice(gate * nout, (gate + 1) * nout)


class _RecurrentWeights:
    """Recurrent weights while a layer goes through the steps: their products, and the gradient of all of them at once.

    The products are added to the inputs of the gates, so that their derivatives are those of the inputs, step by step.
    """

    def __init__(self, be: Any, W: Any):
        self._be = be
        self._W = W
        self._read: dict[tuple[int, int], list[Any]] = {}
        self._parts: dict[tuple[int, int], Any] = {}

    def __call__(self, v: Any, start: int = 0, stop: int | None = None) -> Any:
        if v is None:
            return None
        rows = start, self._W.shape[0] if stop is None else stop
        if rows not in self._parts:
            self._parts[rows], self._read[rows] = self._W[rows[0] : rows[1]], []
        self._read[rows].append(v)
        return self._be.dot(self._parts[rows], v)

    def gradient(self, by_inputs: Any) -> Any:
        """The derivative by W, given those by the inputs of all steps; None where there was no product."""
        be, parts = self._be, []
        for (start, stop), read in sorted(self._read.items()):
            factors = be.concatenate(read, axis=1)
            first = (
                by_inputs.shape[1] - factors.shape[1]
            )  # the first step has none where it starts from zeros
            parts.append(be.dot(by_inputs[start:stop, first:], factors.T))
        return be.concatenate(parts, axis=0) if parts else None


class LSTM(Recurrent):
    """Long short-term memory: i, f, o = gate_activation(…), g = activation(…), c = f c + i g, h = o · activation(c).

    What stands in the brackets is W_input · x + W_recur · h + b; the gates i, f, o, g lie in this order.

    Arguments:
        output_size: features that go out.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of g and c; must be given. Usually Tanh.
        gate_activation: activation function of the gates i, f, o; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros; else, in training, where the one before has ended.

    W, and what a checkpoint keeps, is as in :class:`Recurrent`, with four gates.

    References:
        Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997. neon/layers/recurrent.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant, Logistic, Tanh
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = LSTM(1, Constant(1.0), activation=Tanh(), gate_activation=Logistic())
    >>> layer.in_shape = (1, 2)
    >>> layer.configure(1); layer.init_params()
    >>> print(np.round(layer.fprop(be.ones((1, 2))).get(), 4))
    [[0.3696 0.6505]]
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("output_size", "init", "init_inner", "activation", "gate_activation", "reset_cells", "name"),
    )
    gates = 4
    goes_on = ("h", "c")

    gate_activation: OptionalActivation = None

    def check_fields(self) -> None:
        """Both activations are given."""
        require(self, activation="an activation", gate_activation="an activation")

    def step(
        self, inputs: Any, biases: list[Any], weights: _RecurrentWeights, h: Any, c: Any = None
    ) -> tuple[Any, ...]:
        """One step: (h, c)."""
        recurrent = weights(h)
        gates = [self._gate(k, inputs, biases, recurrent) for k in range(4)]
        i, f, o = (self.gate_activation.forward(gate) for gate in gates[:3])
        g = self.activation.forward(gates[3])
        c = i * g if c is None else f * c + i * g
        return o * self.activation.forward(c), c


class GRU(Recurrent):
    """Gated recurrent unit: r, z = gate_activation(…), h = (1 - z) h + z · activation(… with r h for h).

    What stands in the brackets is W_input · x + W_recur · h + b; r, z and the candidate lie in this order.

    Arguments:
        output_size: features that go out.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of the candidate; must be given. Usually Tanh.
        gate_activation: activation function of r and z; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros; else, in training, where the one before has ended.

    W, and what a checkpoint keeps, is as in :class:`Recurrent`, with three gates.

    References:
        Cho et al., Learning phrase representations using RNN encoder-decoder for statistical machine translation, EMNLP
        2014. neon/layers/recurrent.py.
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("output_size", "init", "init_inner", "activation", "gate_activation", "reset_cells", "name"),
    )
    gates = 3

    gate_activation: OptionalActivation = None

    def check_fields(self) -> None:
        """Both activations are given."""
        require(self, activation="an activation", gate_activation="an activation")

    def step(self, inputs: Any, biases: list[Any], weights: _RecurrentWeights, h: Any) -> tuple[Any, ...]:
        """One step: h."""
        nout = self.output_size
        recurrent = weights(h, 0, 2 * nout)
        r, z = (self.gate_activation.forward(self._gate(k, inputs, biases, recurrent)) for k in range(2))
        recurrent = None if h is None else weights(r * h, 2 * nout, 3 * nout)
        candidate = self.activation.forward(self._gate(2, inputs, biases, recurrent, first=2))
        return (z * candidate if h is None else (1.0 - z) * h + z * candidate,)


class OfSequence(Layer, abstract=True):
    """Makes one vector of a sequence: (F, T) becomes (F,)."""

    def configure(self, nin: int) -> None:
        """Learn the shape of the sequences."""
        super().configure(nin)
        if len(self.in_shape) != 2:
            raise wanted(self, "sequences (F, T)", "it stands behind a recurrent layer")

    @property
    def out_shape(self) -> Shape:
        """(F,)."""
        return (self.nout,)

    def _by_step(self, x: Any) -> Any:
        return x.reshape(self.nin, steps(self.in_shape), -1)


class RecurrentLast(OfSequence):
    """The last step of a sequence: (F, T) becomes (F,).

    References:
        neon/layers/recurrent.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The columns of the last step."""
        n = x.shape[1] // steps(self.in_shape)
        return x[:, x.shape[1] - n :]


class RecurrentSum(OfSequence):
    """The sum over the steps of a sequence: (F, T) becomes (F,).

    References:
        neon/layers/recurrent.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The sum over the steps."""
        return self.be.sum(self._by_step(x), axis=1).reshape(self.nin, -1)


class RecurrentMean(OfSequence):
    """The mean over the steps of a sequence: (F, T) becomes (F,).

    References:
        neon/layers/recurrent.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The mean over the steps."""
        return self.be.mean(self._by_step(x), axis=1).reshape(self.nin, -1)
