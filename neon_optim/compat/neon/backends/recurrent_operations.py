"""The steps of neon's recurrent layers, as its backends do them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["RecurrentOperations"]


class RecurrentOperations:
    """Operations of recurrent layers, run at once; mixed into a backend.

    References:
        neon/backends/backend.py.
    """

    dot: Any
    compound_dot: Any

    def compound_rnn_unroll_fprop(
        self,
        W_recur: Any,
        h_prev_s: Sequence[Any],
        h_ff_s: Sequence[Any],
        h_s: Sequence[Any],
        bias: Any,
        nout: int,
        num_steps: int,
        num_used_steps: int | None,
        activation: Any,
        reverse: bool = False,
    ) -> None:
        """The steps of a recurrent layer: h = activation(W_recur · h_prev + h_ff + bias).

        Arguments:
            h_prev_s, h_ff_s, h_s: for each step the state before it, what comes from the inputs, and the new state; the
                last two may be the same tensors.
            num_steps, num_used_steps: how many steps there are, and how many of them count (None: all).
            reverse: from the last step to the first.
        """
        for h, h_prev, h_ff in _steps(num_used_steps, reverse, h_s, h_prev_s, h_ff_s):
            h[:] = activation(self.dot(W_recur, h_prev) + h_ff + bias)

    def compound_rnn_unroll_bprop(
        self,
        W_recur: Any,
        delta_prev_s: Sequence[Any],
        delta_s: Sequence[Any],
        h_s: Sequence[Any],
        nout: int,
        num_steps: int,
        num_used_steps: int | None,
        activation: Any,
        reverse: bool = True,
    ) -> None:
        """The steps of a recurrent layer backwards: delta = activation'(h) · delta, and W_recur · delta is added to the
        delta of the step before.

        Arguments:
            W_recur: the transpose of the recurrent weights.
            delta_prev_s, delta_s, h_s: for each step the delta of the step before it, its own, and its state.
        """
        for h, delta, delta_prev in _steps(num_used_steps, reverse, h_s, delta_s, delta_prev_s):
            delta[:] = activation.bprop(h) * delta
            self.compound_dot(W_recur, delta, delta_prev, beta=1.0)

    def bibnrnn_layer(
        self, h_buffer_all: Any, h_ff_buffer: Any, W_recur_f: Any, W_recur_b: Any, nsteps: int, nout: int
    ) -> None:
        """None."""

    def compound_rnn_unroll_fprop_bibnrnn(
        self,
        ngLayer: Any,
        h_buffer_all: Any,
        h_ff_buffer: Any,
        W_recur_f: Any,
        h_prev: Sequence[Any],
        h_ff_f: Sequence[Any],
        h_f: Sequence[Any],
        b_f: Any,
        W_recur_b: Any,
        h_next: Sequence[Any],
        h_ff_b: Sequence[Any],
        h_b: Sequence[Any],
        b_b: Any,
        nout: int,
        nsteps: int,
        used_nsteps: int | None,
        activation: Any,
    ) -> None:
        """The steps of a recurrent layer in both directions; see :meth:`compound_rnn_unroll_fprop`."""
        common = nout, nsteps, used_nsteps, activation
        self.compound_rnn_unroll_fprop(W_recur_f, h_prev, h_ff_f, h_f, b_f, *common, False)
        self.compound_rnn_unroll_fprop(W_recur_b, h_next, h_ff_b, h_b, b_b, *common, True)

    def compound_rnn_unroll_bprop_bibnrnn(
        self,
        ngLayer: Any,
        error: Any,
        in_deltas_f: Sequence[Any],
        prev_in_deltas: Sequence[Any],
        in_deltas_b: Sequence[Any],
        next_in_deltas: Sequence[Any],
        W_recur_f: Any,
        W_recur_b: Any,
        h_f: Sequence[Any],
        h_b: Sequence[Any],
        nout: int,
        nsteps: int,
        used_nsteps: int | None,
        activation: Any,
        h_buffer_all: Any,
    ) -> None:
        """The steps of a recurrent layer in both directions backwards; see :meth:`compound_rnn_unroll_bprop`."""
        common = nout, nsteps, used_nsteps, activation
        self.compound_rnn_unroll_bprop(W_recur_f.T, prev_in_deltas, in_deltas_f, h_f, *common, True)
        self.compound_rnn_unroll_bprop(W_recur_b.T, next_in_deltas, in_deltas_b, h_b, *common, False)


def _steps(used: int | None, reverse: bool, *by_step: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What belongs to each step that counts, in the order of the work."""
    steps = list(zip(*by_step, strict=False))[:used]
    return steps[::-1] if reverse else steps
