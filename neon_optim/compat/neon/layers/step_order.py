"""LSTM and GRU whose backward passes do neon's operations in neon's order, which gives neon's bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_optim import model
from neon_optim.backends.optree import stated
from neon_optim.compat.neon.layers.unrolled import AddedUp, StartLeftOut
from neon_optim.model.recurrence import Recurrence, Unrolled

__all__ = ["OrderedBiLSTM", "OrderedGRU", "OrderedLSTM"]


class _LSTMSteps:
    """Steps of an LSTM in neon's order; mixed into a layer of ours, whose values they have."""

    def unroll(
        self, driven: Sequence[Any], start: Sequence[Any] = (), recurrence: type[Recurrence] = StartLeftOut
    ) -> list[Unrolled]:
        """All steps; see :meth:`neon_optim.model.Recurrent.unroll`."""
        found: list[Unrolled] = super().unroll(driven, start, recurrence)  # type: ignore[misc]
        return found

    def step(self, inputs: Any, b: Any, before: Recurrence, h: Any, c: Any = None) -> dict[str, Any]:
        """The values of one step; see :meth:`neon_optim.model.LSTM.step`."""
        layer: Any = self
        values: dict[str, Any] = super().step(inputs, b, before, h, c)  # type: ignore[misc]
        i, f, o, g, c_act = (values[name] for name in ("i", "f", "o", "g", "c_act"))
        by_gate, by_cell = layer.gate_activation.bprop, layer.activation.bprop
        nout, z = layer.output_size, inputs if h is None else inputs + before.dot(h)
        z_i, z_f, z_o, z_g = (z[k * nout : (k + 1) * nout] for k in range(4))
        seen = c if before.counts() else 0.0
        start = [] if c is None else [c]

        def of_cells(error: Any, *_: Any) -> list[Any]:
            of_gates = [by_gate(i) * error * g, by_gate(f) * error * seen, by_cell(g) * error * i]
            return of_gates if c is None else [*of_gates, error * f]

        def of_outputs(error: Any, *_: Any) -> list[Any]:
            return [by_gate(o) * error * c_act, by_cell(c_act) * (o * error)]

        cells = stated(values["c"], [z_i, z_f, z_g, *start], of_cells)
        return {**values, "c": cells, "h": stated(values["h"], [z_o, cells], of_outputs)}


class OrderedLSTM(_LSTMSteps, model.LSTM):
    """:class:`neon_optim.model.LSTM`, backwards in neon's order. Its activations are neon's."""


class OrderedBiLSTM(_LSTMSteps, model.BiLSTM):
    """:class:`neon_optim.model.BiLSTM`, backwards in neon's order. Its activations are neon's."""


class OrderedGRU(model.GRU):
    """:class:`neon_optim.model.GRU`, backwards in neon's order. Its activations are neon's."""

    def step(self, inputs: Any, b: Any, before: Recurrence, h: Any) -> dict[str, Any]:
        """The values of one step; see :meth:`neon_optim.model.GRU.step`."""
        be, nout = self.be, self.output_size
        values = super().step(inputs, b, before, h)
        r, z, hcan = values["r"], values["z"], values["hcan"]
        by_gate, by_candidate = self.gate_activation.bprop, self.activation.bprop
        of_gates, of_candidate = before.rows(0, 2 * nout), before.rows(2 * nout, 3 * nout)
        seen = h if before.counts() else 0.0

        def backward(error: Any, *_: Any) -> list[Any]:
            hcan_delta = by_candidate(hcan) * error * z
            z_delta = by_gate(z) * error * (hcan - seen)
            by_rh = be.dot(of_candidate.T, hcan_delta)
            r_delta = by_gate(r) * by_rh * seen
            rz_delta = be.concatenate([r_delta, z_delta], axis=0)
            by_inputs = be.concatenate([rz_delta, hcan_delta], axis=0)
            if h is None:
                return [by_inputs]
            return [by_inputs, error * (1 - z) + be.dot(of_gates.T, rz_delta) + r * by_rh]

        operands = [inputs] if h is None else [inputs, h]
        return {**values, "h": stated(values["h"], operands, backward)}

    def unroll(
        self, driven: Sequence[Any], start: Sequence[Any] = (), recurrence: type[Recurrence] = AddedUp
    ) -> list[Unrolled]:
        """All steps; see :meth:`neon_optim.model.Recurrent.unroll`."""
        return super().unroll(driven, start, recurrence)
