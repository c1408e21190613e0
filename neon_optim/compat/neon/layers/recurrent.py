"""neon's recurrent layers."""

from __future__ import annotations

from typing import Any, cast

from neon_optim import model
from neon_optim.compat.neon.layers.bidirectional import BiLSTM, BiRNN
from neon_optim.compat.neon.layers.deep_bidirectional import BiSum, DeepBiLSTM, DeepBiRNN
from neon_optim.compat.neon.layers.dense import UNUSED
from neon_optim.compat.neon.layers.normalized_steps import BiBNRNN
from neon_optim.compat.neon.layers.of_sequence import (
    RecurrentLast,
    RecurrentMean,
    RecurrentOutput,
    RecurrentSum,
)
from neon_optim.compat.neon.layers.parameters import Shared
from neon_optim.compat.neon.layers.step_order import OrderedGRU, OrderedLSTM
from neon_optim.compat.neon.layers.unrolled import (
    AddedUp,
    AddedUpPasses,
    AddedUpWithStart,
    Passes,
    StartLeftOut,
    StepsLayer,
    get_steps,
    interpret_in_shape,
)
from neon_optim.model.recurrence import Recurrence

__all__ = [
    "GRU",
    "LSTM",
    "BiBNRNN",
    "BiLSTM",
    "BiRNN",
    "BiSum",
    "DeepBiLSTM",
    "DeepBiRNN",
    "Recurrent",
    "RecurrentLast",
    "RecurrentMean",
    "RecurrentOutput",
    "RecurrentSum",
    "get_steps",
    "interpret_in_shape",
]


class Recurrent(StepsLayer):
    """h = activation(W_input · x + W_recur · h + b), for each step of a sequence: (F, T) becomes (output_size, T).

    Each minibatch goes on where the one before has ended, if its inputs are in the same tensor, be it in training or
    not; the gradients of W_recur leave out what it began with.

    Arguments:
        output_size: features that go out.
        init: initializer of the weights of the inputs.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function; must be given.
        reset_cells: every minibatch starts from zeros.

    Attributes:
        W_input, W_recur, b: views on W; dW_input, dW_recur, db on dW.
        h: the outputs step by step.
    """

    passes_class = cast("Any", AddedUpPasses)

    def __init__(
        self,
        output_size: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        reset_cells: bool = False,
        name: str | None = None,
    ):
        self.core = model.Recurrent(output_size=output_size, init=UNUSED, activation=activation)
        super().__init__(init, init_inner, reset_cells, name)

    def __str__(self) -> str:
        sizes = f"{self.nin} inputs, {self.nout} outputs, {self.nsteps} steps"
        return f"{self.classnm} Layer '{self.name}': {sizes}"

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features and of steps."""
        super().configure(in_obj)
        self.i_shape = (self.nin, self.nsteps)
        self.out_shape = (self.nout, self.nsteps)
        self.gate_shape = (self.nout * self.ngates, self.nsteps)
        return self

    def allocate(self, shared_outputs: Any = None) -> None:  # type: ignore[override]
        """Make outputs and the tensors of the steps, and parameters where there are none."""
        super().allocate(shared_outputs)
        self.h = get_steps(self.outputs, self.out_shape)
        self.h_prev = self.h[-1:] + self.h[:-1]
        self.bufs_to_reset = [self.outputs]
        self.final_state_buffer = self.be.iobuf(self.nout)
        self.final_hidden_error = self.be.zeros_like(self.final_state_buffer)
        self.last, self.by_start = [self.final_state_buffer], [self.final_hidden_error]
        self.kept = [self.make_kept()]

    def make_kept(self) -> dict[str, Any]:
        """Tensors for the values of the steps, by name."""
        return {"h": self.h}

    def buffer_of_steps(self, shape: Any) -> tuple[Any, list[Any]]:
        """A tensor for all steps, and its views for each."""
        buffer = self.be.iobuf(shape)
        return buffer, get_steps(buffer, shape)

    def set_deltas(self, delta_buffers: Any) -> None:
        """Take the deltas."""
        super().set_deltas(delta_buffers)
        self.out_delta = get_steps(self.out_deltas_buffer, self.i_shape)

    def states_before(self) -> list[Any]:
        """What the last step of the minibatch before has left."""
        return [self.h[-1]]

    def fprop(self, inputs: Any, inference: bool = False, init_state: Any = None) -> Any:
        """The outputs of all steps.

        Arguments:
            init_state: outputs to begin with, (output_size, samples).

        Raises:
            ValueError: ``init_state`` has another shape.
        """
        if init_state is not None and init_state.shape != self.h[-1].shape:
            expected = self.h[-1].shape
            raise ValueError(f"init_state shape mismatch. Expected: {expected}, found: {init_state.shape}.")
        self.init_buffers(inputs)
        for start, before in zip(self.start, self.states_before(), strict=True):
            if self.reset_cells:
                start.fill(0.0)
            else:
                start[:] = before
        if init_state is not None:
            self.start[0][:] = init_state
        self.run_forward(self.recurrence_from(init_state))
        return self.outputs

    def recurrence_from(self, init_state: Any) -> type[Recurrence]:
        """What makes of the start what the first step needs: given outputs count in the gradients."""
        return AddedUp if init_state is None else AddedUpWithStart

    def bprop(self, deltas: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the inputs, and those by W in dW."""
        return self.run_backward(deltas, alpha, beta)

    def final_state(self) -> Any:
        """The outputs of the last step, for a decoder to begin with."""
        return self.final_state_buffer

    def get_final_hidden_error(self) -> Any:
        """The derivative by the outputs that the first step began with, for an encoder."""
        return self.final_hidden_error


class _Gated(Recurrent):
    """Recurrent layers whose steps have gates, with an activation function of their own."""

    core_class: Any
    gate_activation = Shared()
    passes_class = cast("Any", Passes)

    def __init__(
        self,
        output_size: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        gate_activation: Any = None,
        reset_cells: bool = False,
        name: str | None = None,
    ):
        functions = {"activation": activation, "gate_activation": gate_activation}
        self.core = self.core_class(output_size=output_size, init=UNUSED, **functions)
        StepsLayer.__init__(self, init, init_inner, reset_cells, name)


class LSTM(_Gated):
    """Long short-term memory; see :class:`neon_optim.model.LSTM` for its formulas.

    Arguments:
        output_size: features that go out.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of g and c; must be given. Usually Tanh.
        gate_activation: activation function of the gates i, f, o; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros; see :class:`Recurrent`.

    Attributes:
        ifog_buffer: the gates i, f, o, g of all steps; also step by step as ``ifog``, ``i``, ``f``, ``o``, ``g``.
        ifog_delta_buffer: the derivatives by what goes into them.
        c_buffer, c_act_buffer: the cells, and their activation; step by step ``c`` and ``c_act``.
    """

    core_class = OrderedLSTM

    def make_kept(self) -> dict[str, Any]:
        """Tensors for the outputs, the cells and the gates of the steps."""
        self.c_buffer, self.c = self.buffer_of_steps(self.out_shape)
        self.c_prev = self.c[-1:] + self.c[:-1]
        self.c_act_buffer, self.c_act = self.buffer_of_steps(self.out_shape)
        self.ifog_buffer, self.ifog = self.buffer_of_steps(self.gate_shape)
        self.ifog_delta_buffer, self.ifog_delta = self.buffer_of_steps(self.gate_shape)
        self.bufs_to_reset.append(self.c_buffer)
        self.by_driven = [self.ifog_delta_buffer]
        nout = self.nout
        self.ifo = [gates[: 3 * nout] for gates in self.ifog]
        self.i, self.f, self.o, self.g = (
            [gates[k * nout : (k + 1) * nout] for gates in self.ifog] for k in range(4)
        )
        names = ("h", "c", "c_act", "i", "f", "o", "g")
        return {name: getattr(self, name) for name in names}

    def states_before(self) -> list[Any]:
        """Outputs and cells of the last step."""
        return [self.h[-1], self.c[-1]]

    def recurrence_from(self, init_state: Any) -> type[Recurrence]:
        """Given outputs do not count in the gradients either."""
        return StartLeftOut


class GRU(_Gated):
    """Gated recurrent unit; see :class:`neon_optim.model.GRU` for its formulas.

    Arguments:
        output_size: features that go out.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of the candidate; must be given. Usually Tanh.
        gate_activation: activation function of r and z; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros; see :class:`Recurrent`.

    Attributes:
        rzhcan_buffer: the gates r and z and the candidate of all steps; also step by step as ``rzhcan``, ``r``, ``z``,
            ``hcan``.
        rzhcan_delta_buffer: the derivatives by what goes into them.
        rh_prev_buffer: r times the outputs of the step before; step by step ``rh_prev``.
    """

    core_class = OrderedGRU

    def make_kept(self) -> dict[str, Any]:
        """Tensors for the outputs, the gates and the candidates of the steps."""
        self.rzhcan_buffer, self.rzhcan = self.buffer_of_steps(self.gate_shape)
        self.rzhcan_delta_buffer, self.rzhcan_delta = self.buffer_of_steps(self.gate_shape)
        self.rh_prev_buffer, self.rh_prev = self.buffer_of_steps(self.out_shape)
        self.by_driven = [self.rzhcan_delta_buffer]
        nout = self.nout
        self.rz = [gates[: 2 * nout] for gates in self.rzhcan]
        self.r, self.z, self.hcan = (
            [gates[k * nout : (k + 1) * nout] for gates in self.rzhcan] for k in range(3)
        )
        return {name: getattr(self, name) for name in ("h", "r", "z", "hcan", "rh_prev")}

    def init_params(self, shape: Any) -> None:
        """Make W and dW, and fill W by the initializers; what was loaded stays."""
        super().init_params(shape)
        parts = {"rz": slice(0, 2 * self.nout), "hcan": slice(2 * self.nout, 3 * self.nout)}
        (weights,), (grads,) = self.core.weights(self.W), self.core.weights(self.dW)
        for name, rows in parts.items():
            setattr(self, f"W{name}_recur", weights.recur[rows])
            setattr(self, f"dW{name}_recur", grads.recur[rows])
            setattr(self, f"b_{name}", weights.b[rows])


for _name in __all__:
    globals()[_name].__module__ = __name__  # what descriptions and pickles call it
