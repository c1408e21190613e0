"""Recurrent layers: sequences (F, T) step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from neon_optim.described.arguments import Flag, PositiveInt
from neon_optim.model.layer import OptionalInitializer, ParameterLayer, require
from neon_optim.model.layers import OptionalActivation
from neon_optim.model.recurrence import Recurrence, Unrolled, Weights
from neon_optim.model.shapes import Shape, steps, wanted

__all__ = ["GRU", "LSTM", "Recurrent"]


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
    directions: ClassVar[tuple[str, ...]] = ("",)
    """Endings for the names of what goes on: one for each direction in which the steps are gone through."""
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
        self.nout = len(self.directions) * self.output_size

    @property
    def out_shape(self) -> Shape:
        """(output_size, T), for each direction."""
        return self.nout, steps(self.in_shape)

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(nin + output_size + 1, gates · output_size), for each direction."""
        rows = len(self.directions) * (self.features_in + self.output_size + 1)
        return rows, self.gates * self.output_size

    def init_params(self) -> None:
        """Make W, and zeros to go on from."""
        super().init_params()
        be, nout = self.backend, self.output_size
        count = 0 if self.reset_cells or not be.bsz else len(self.goes_on) * len(self.directions)
        self._last, self._start = ([be.zeros((nout, be.bsz)) for _ in range(count)] for _ in range(2))

    def fill(self) -> None:
        """Fill the weights by the initializers."""
        self.fill_by(self.init, self.init_inner or self.init)

    def fill_by(self, of_inputs: Any, of_recurrent: Any) -> None:
        """Fill the weights gate by gate, those of the inputs first, as in neon; the bias is 0."""
        nout, weights = self.output_size, self.weights(self.W)
        for part, init in (("input", of_inputs), ("recur", of_recurrent)):
            for W in [getattr(of_direction, part) for of_direction in weights]:
                for gate in range(self.gates):
                    init.fill(W[gate * nout : (gate + 1) * nout])
        for of_direction in weights:
            of_direction.b.fill(0.0)

    @property
    def features_in(self) -> int:
        """Features that come into one direction."""
        return self.nin

    def weights(self, W: Any) -> list[Weights]:
        """The weights of each direction, as views on W; or the gradients, as views on dW."""
        count, rows = len(self.directions), 0
        wide, found = self.gates * self.output_size, []
        for height in (self.features_in, self.output_size, 1):
            parts = [W[rows + k * height : rows + (k + 1) * height] for k in range(count)]
            found.append([part.reshape(wide, height) for part in parts])
            rows += count * height
        return [Weights(*parts) for parts in zip(*found, strict=True)]

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """What goes on from minibatch to minibatch."""
        names = [name + direction for direction in self.directions for name in self.goes_on]
        return {} if inference else dict(zip(names, self._last, strict=False))

    def prepare(self, columns: int) -> None:
        """Start where the minibatch before has ended."""
        for start, last in zip(self._start, self._last, strict=True):
            start[:] = last

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The outputs of all steps, one behind the other."""
        n = x.shape[1] // steps(self.in_shape)
        goes_on = not inference and any(last.shape[1] == n for last in self._last)
        driven = self.driven(self.parts(x), self.weights(self.W), inference)
        unrolled = self.unroll(driven, self._start if goes_on else [])
        last = [part for of_direction in unrolled for part in of_direction.last]
        for array, become in zip(self._last if goes_on else (), last, strict=False):
            self.let(array, become)
        values = [of_direction.value for of_direction in unrolled]
        return values[0] if len(values) == 1 else self.be.concatenate(values, axis=0)

    def unroll(
        self, driven: Sequence[Any], start: Sequence[Any] = (), recurrence: type[Recurrence] = Recurrence
    ) -> list[Unrolled]:
        """All steps in each direction.

        Arguments:
            driven: what :meth:`driven` gives.
            start: what each direction begins with, the parts of the first before those of the second; nothing for
                zeros.
            recurrence: makes of it what a step needs.
        """
        times, parts = range(steps(self.in_shape)), len(self.goes_on)
        start = start or [None] * parts * len(self.directions)
        unrolled = []
        for k, weights in enumerate(self.weights(self.W)):
            before = recurrence(self.be, weights.recur, times[::-1] if k else times)
            begin = start[k * parts : (k + 1) * parts]
            unrolled.append(Unrolled(self.be, self.step, driven[k], weights, before, self.goes_on, begin))
        return unrolled

    def parts(self, x: Any) -> list[Any]:
        """What of the inputs goes into each direction."""
        return [x]

    def driven(self, parts: Sequence[Any], weights: Sequence[Weights], inference: bool) -> list[Any]:
        """W_input · x of all steps at once, for each direction and its part of the inputs."""
        return [self.be.dot(W.input, part) for W, part in zip(weights, parts, strict=True)]

    def step(self, inputs: Any, b: Any, before: Recurrence, h: Any) -> dict[str, Any]:
        """The values of one step by name: those of ``goes_on``, and what they are made of.

        Arguments:
            inputs: W_input · x of the step, (gates · output_size, n).
            b: the biases of all gates.
            before: makes the products with what the step before has left.
            h: what the step before has left; None: zeros.
        """
        return {"h": self.activation.forward(self._gate(0, inputs, b, before.dot(h)))}

    def _gate(self, number: int, inputs: Any, b: Any, recurrent: Any, first: int = 0) -> Any:
        """What goes into the activation of a gate; ``first`` is the gate that ``recurrent`` begins with."""
        value = inputs[self._rows(number)]
        if recurrent is not None:
            value = value + recurrent[self._rows(number - first)]
        return value + b[self._rows(number)]

    def _rows(self, gate: int) -> slice:
        return slice(gate * self.output_size, (gate + 1) * self.output_size)


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

    def step(self, inputs: Any, b: Any, before: Recurrence, h: Any, c: Any = None) -> dict[str, Any]:
        """The values of one step: h, c, activation(c) as c_act, and the gates i, f, o, g."""
        recurrent = before.dot(h)
        gates = [self._gate(k, inputs, b, recurrent) for k in range(4)]
        i, f, o = (self.gate_activation.forward(gate) for gate in gates[:3])
        g = self.activation.forward(gates[3])
        kept, new = before.times_gate(f, c), i * g
        c = new if kept is None else kept + new
        c_act = self.activation.forward(c)
        return {"h": o * c_act, "c": c, "c_act": c_act, "i": i, "f": f, "o": o, "g": g}


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

    def step(self, inputs: Any, b: Any, before: Recurrence, h: Any) -> dict[str, Any]:
        """The values of one step: h, the gates r and z, the candidate hcan, and r h as rh_prev."""
        nout = self.output_size
        recurrent = before.dot(h, 0, 2 * nout)
        r, z = (self.gate_activation.forward(self._gate(k, inputs, b, recurrent)) for k in range(2))
        rh = before.times_gate(r, h)
        candidate = self._gate(2, inputs, b, before.dot(rh, 2 * nout, 3 * nout), first=2)
        hcan = self.activation.forward(candidate)
        kept, new = before.times_gate(1.0 - z, h), z * hcan
        return {"h": new if kept is None else kept + new, "r": r, "z": z, "hcan": hcan, "rh_prev": rh}
