"""neon's beam search: the most probable outputs of a Seq2Seq container, of which many are followed at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError

__all__ = ["BeamSearch"]


class BeamSearch(NervanaObject):
    """Searches for the sequences of tokens that the decoder of a Seq2Seq container gives the highest probability.

    Arguments:
        seq2seq: the container; its decoder is switched to single steps.

    Attributes:
        candidates: after a search the tokens of each beam, (steps, samples), the best last.
        scores: the logarithm of their probability, for each sample.
    """

    def __init__(self, seq2seq: Any):
        super().__init__(name=None)
        self.layers = seq2seq
        self.hasLUT = seq2seq.hasLUT
        seq2seq.decoder.switch_mode(inference=True)
        self.z_shape = 1 if self.hasLUT else (seq2seq.out_shape[0], 1)

    def beamsearch(self, inputs: Any, num_beams: int = 5, steps: int | None = None) -> Any:
        """The best sequence of tokens for each sample, (steps, samples).

        Arguments:
            inputs: a minibatch for the encoder.
            num_beams: how many sequences are followed; at most as many as there are tokens.
            steps: their length; None: that of the container's.

        Raises:
            ArgumentError: there are more beams than tokens.
            ValueError: the recurrent layers of the decoder are not as many as its connections.
        """
        tokens = self.layers.out_shape[0]
        if not 1 <= num_beams <= tokens:
            raise ArgumentError(
                f"num_beams must be from 1 to {tokens}, the number of tokens; received {num_beams}"
            )
        steps = self.layers.in_shape[1] if steps is None else steps
        samples, decoder = self.be.bsz, self.layers.decoder
        self.num_beams, self.num_live, self.num_dead = num_beams, 1, 0
        self.candidates = [np.zeros((steps, samples)) for _ in range(num_beams)]
        self.scores = [np.zeros(samples) for _ in range(num_beams)]
        self.scores_list: list[np.ndarray] = []
        self.z_list = [self._first_token() for _ in range(num_beams)]
        self.init_state_lists = [self._zeros() for _ in range(num_beams)]
        self._encode(inputs)
        outputs = [self.be.iobuf(decoder.out_shape) for _ in range(num_beams)]
        states = [self._zeros() for _ in range(num_beams)]
        for t in range(steps):
            for beam in range(self.num_live):
                given = self.init_state_lists[beam]
                outputs[beam][:] = decoder.fprop(self.z_list[beam], inference=True, init_state_list=given)
                for state, layer in zip(states[beam], decoder._recurrent, strict=True):
                    state[:] = layer.final_state()
            self._beamsearch_step(t, outputs, states)
        return self.be.array(self.candidates[-1])

    def _first_token(self) -> Any:
        """What the decoder begins with: the token of its ``start_index``, where it has one; else zeros."""
        first, start = self.be.iobuf(self.z_shape), getattr(self.layers.decoder, "start_index", None)
        if start is not None:
            if self.hasLUT:
                first.fill(start)
            else:
                first[start : start + 1].fill(1.0)
        return first

    def _zeros(self) -> list[Any]:
        """A state for each recurrent layer of the decoder."""
        return [self.be.zeros_like(layer.h[-1]) for layer in self.layers.decoder._recurrent]

    def _encode(self, inputs: Any) -> None:
        """Let the first beam begin with what the encoder leaves."""
        self.layers.encoder.fprop(inputs, inference=True)
        ended = self.layers.encoder.get_final_states(self.layers.decoder_connections)
        layers = self.layers.decoder._recurrent
        if len(ended) != len(layers):
            raise ValueError(
                f"the decoder has {len(layers)} recurrent layers, and connections for {len(ended)}"
            )
        for state, end in zip(self.init_state_lists[0], ended, strict=True):
            if end is not None:
                state[:] = end

    def _beamsearch_step(self, t: int, z_list_t: list[Any], init_state_lists: list[list[Any]]) -> None:
        """Go on with the best of all tokens behind all beams.

        Arguments:
            t: which step it is.
            z_list_t: for each beam the probabilities of the tokens, (tokens, samples).
            init_state_lists: for each beam what its recurrent layers have left.
        """
        with np.errstate(divide="ignore"):
            live = range(self.num_live)
            self.scores_list = [np.log(z_list_t[beam].get()) + self.scores[beam] for beam in live]
        scores = np.vstack(self.scores_list)
        self.num_live = self.num_beams - self.num_dead
        best = scores.argsort(axis=0, kind="stable")[-self.num_live :]  # of equal ones the last
        parents, tokens = np.divmod(best, self.layers.out_shape[0])
        columns = np.arange(scores.shape[1])
        before = np.stack(self.candidates)
        states = [
            np.stack([beam[k].get() for beam in init_state_lists]) for k in range(len(init_state_lists[0]))
        ]
        for beam, (parent, token) in enumerate(zip(parents, tokens, strict=True)):
            self.scores[beam] = scores[best[beam], columns]
            self.candidates[beam][:] = before[parent, :, columns].T
            self.candidates[beam][t] = token
            for state, of_beams in zip(self.init_state_lists[beam], states, strict=True):
                state[:] = of_beams[parent, :, columns].T
            self._set_token(self.z_list[beam], token)

    def _set_token(self, z: Any, token: np.ndarray) -> None:
        if self.hasLUT:
            z[:] = self.be.array(token.reshape(1, -1))
        else:
            z[:] = self.be.onehot(self.be.array(token, dtype=np.int32), axis=0)
