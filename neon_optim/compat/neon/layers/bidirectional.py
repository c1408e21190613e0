"""neon's recurrent layers that go through sequences in both directions."""

from __future__ import annotations

from typing import Any

from neon_optim import model
from neon_optim.compat.neon.layers.dense import UNUSED
from neon_optim.compat.neon.layers.parameters import Shared
from neon_optim.compat.neon.layers.step_order import OrderedBiLSTM
from neon_optim.compat.neon.layers.unrolled import (
    StepsLayer,
    get_steps,
)

__all__ = ["BiLSTM", "BiRNN"]


class BiRNN(StepsLayer):
    """Two recurrent layers, of which one goes backwards: (F, T) becomes (2 · output_size, T).

    Arguments:
        output_size: features that go out of each direction.
        init: initializer of the weights of the inputs.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function; must be given.
        reset_cells: every minibatch starts from zeros; else each direction goes on where it has ended.
        split_inputs: the upper half of the features goes forwards, the lower half backwards.

    Attributes:
        W_input_f, W_recur_f, b_f, W_input_b, W_recur_b, b_b: views on W; dW_input_f, … on dW.
        h_buffer: the outputs; ``h_f`` and ``h_b`` are those of the directions, step by step.
        h_f_last, h_b_last: what the directions begin with.
    """

    def __init__(
        self,
        output_size: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        reset_cells: bool = False,
        split_inputs: bool = False,
        name: str | None = None,
        parallelism: str = "Data",
    ):
        self.core = model.BiRNN(
            output_size=output_size, init=UNUSED, activation=activation, split_inputs=split_inputs
        )
        super().__init__(init, init_inner, reset_cells, name, parallelism)
        self.split_inputs = split_inputs

    def __str__(self) -> str:
        inputs = f"({self.nin // 2} inputs) * 2" if self.split_inputs else f"{self.nin} inputs"
        sizes = f"{inputs}, ({self.nout} outputs) * 2, {self.nsteps} steps"
        return f"{self.classnm} Layer '{self.name}': {sizes}"

    def configure(self, in_obj: Any) -> Any:
        """Learn the number of features and of steps; features to split are even in number."""
        super().configure(in_obj)
        steps = self.nsteps
        self.out_shape = (2 * self.nout, steps)
        self.gate_shape = (2 * self.nout * self.ngates, steps)
        self.hidden_shape = (2 * self.nout, steps + 2)
        self.o_shape = (self.nout, steps)
        self.g_shape = (self.nout * self.ngates, steps)
        self.i_shape = (self.core.features_in, steps)
        return self

    def allocate(self, shared_outputs: Any = None) -> None:  # type: ignore[override]
        """Make the tensors of the steps, with one step more at both ends, and parameters where there are none."""
        if self.outputs is None:
            self.h_buffer_all = self.be.iobuf(
                self.hidden_shape, shared=shared_outputs, parallelism=self.parallelism
            )
            self.outputs = self.h_buffer_all[:, self.be.bsz : -self.be.bsz]
        super().allocate(shared_outputs)
        nout, padded = self.nout, (self.nout, self.nsteps + 2)
        self.h_buffer = self.outputs
        self.h_buffer_f, self.h_buffer_b = self.h_buffer[:nout], self.h_buffer[nout:]
        of_f, of_b = (
            get_steps(half, padded) for half in (self.h_buffer_all[:nout], self.h_buffer_all[nout:])
        )
        self.h_f, self.h_prev, self.h_f_last = of_f[1:-1], of_f[:-2], of_f[0]
        self.h_b, self.h_next, self.h_b_last = of_b[1:-1], of_b[2:], of_b[-1]
        self.bufs_to_reset = [self.h_buffer]
        self.kept = [*self.make_kept()]

    def make_kept(self) -> list[dict[str, Any]]:
        """Tensors for the values of the steps of both directions, by name."""
        return [{"h": self.h_f}, {"h": self.h_b}]

    def begin(self) -> None:
        """Set what the directions begin with."""
        for last, ended in ((self.h_f_last, self.h_f[-1]), (self.h_b_last, self.h_b[0])):
            if self.reset_cells:
                last.fill(0.0)
            else:
                last[:] = ended
        self.start[0][:], self.start[1][:] = self.h_f_last, self.h_b_last

    def is_other(self, inputs: Any) -> bool:
        """neon goes on from the minibatch before only where the inputs had to be reshaped."""
        return self.x.base is not inputs

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs of all steps, those of the way forwards above those of the way backwards."""
        self.init_buffers(inputs)
        self.begin()
        self.run_forward()
        return self.h_buffer

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 1.0) -> Any:
        """The derivative by the inputs, and those by W in dW; ``beta`` is neon's, without effect there either."""
        return self.run_backward(error, alpha, 0.0)


class BiLSTM(BiRNN):
    """Two LSTM layers, of which one goes backwards: (F, T) becomes (2 · output_size, T).

    Arguments:
        output_size: features that go out of each direction.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of g and c; must be given. Usually Tanh.
        gate_activation: activation function of the gates i, f, o; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros; else the cells of each direction go on, the outputs do not.
        split_inputs: the upper half of the features goes forwards, the lower half backwards.

    Attributes:
        ifog_buffer: the gates of all steps, those of the way forwards above those of the way backwards; step by step
            ``i_f``, …, ``g_b``.
        c_buffer, c_act_buffer: the cells, and their activation.
    """

    gate_activation = Shared()

    def __init__(
        self,
        output_size: int,
        init: Any,
        init_inner: Any = None,
        activation: Any = None,
        gate_activation: Any = None,
        reset_cells: bool = False,
        split_inputs: bool = False,
        name: str | None = None,
    ):
        functions = {"activation": activation, "gate_activation": gate_activation}
        self.core = OrderedBiLSTM(
            output_size=output_size, init=UNUSED, split_inputs=split_inputs, **functions
        )
        StepsLayer.__init__(self, init, init_inner, reset_cells, name, "Data")
        self.split_inputs = split_inputs

    def make_kept(self) -> list[dict[str, Any]]:
        """Tensors for the outputs, the cells and the gates of the steps of both directions."""
        nout, wide = self.nout, self.ngates * self.nout
        self.c_buffer, self.c_act_buffer = self.be.iobuf(self.out_shape), self.be.iobuf(self.out_shape)
        self.ifog_buffer = self.be.iobuf(self.gate_shape)
        self.bufs_to_reset.append(self.c_buffer)
        kept = []
        self.ends: list[Any] = []  # the cells of the last step of each direction: -1 forwards, 0 backwards
        for k, ending in enumerate(self.core.directions):
            rows, gates = slice(k * nout, (k + 1) * nout), slice(k * wide, (k + 1) * wide)
            by_name = {
                "c": get_steps(self.c_buffer[rows], self.o_shape),
                "c_act": get_steps(self.c_act_buffer[rows], self.o_shape),
            }
            ifog = get_steps(self.ifog_buffer[gates], self.g_shape)
            for number, gate in enumerate("ifog"):
                by_name[gate] = [step[number * nout : (number + 1) * nout] for step in ifog]
            for name, tensors in {**by_name, "ifog": ifog}.items():
                setattr(self, name + ending, tensors)
            self.ends.append(by_name["c"][k - 1])
            kept.append({"h": getattr(self, f"h{ending}"), **by_name})
        return kept

    def begin(self) -> None:
        """The cells go on, and the outputs from the steps at the ends, which stay zeros."""
        for k, (h, c) in enumerate(zip((self.h_f_last, self.h_b_last), self.ends, strict=True)):
            self.start[2 * k][:] = h
            if self.reset_cells:
                self.start[2 * k + 1].fill(0.0)
            else:
                self.start[2 * k + 1][:] = c

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The derivative by the inputs, and those by W in dW."""
        return self.run_backward(error, alpha, beta)
