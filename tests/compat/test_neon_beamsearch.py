"""Beam search: it finds what trying all sequences finds, where it follows enough of them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from neon_optim import NervanaObject
from neon_optim.compat.neon.backends import cleanup_backend
from neon_optim.compat.neon.backends.nervanacpu import NervanaCPU
from neon_optim.compat.neon.initializers import Gaussian
from neon_optim.compat.neon.layers import GRU
from neon_optim.compat.neon.transforms import Logistic, Softmax, Tanh
from neon_optim.compat.neon.util.beamsearch import BeamSearch
from neon_optim.errors import ArgumentError

TOKENS, STEPS, SAMPLES = 4, 2, 3


@pytest.fixture(autouse=True)
def be():
    NervanaObject.be = NervanaCPU(rng_seed=7, engine="numpy")
    NervanaObject.be.bsz = SAMPLES
    yield NervanaObject.be
    cleanup_backend()


def gru(steps):
    layer = GRU(TOKENS, Gaussian(scale=2.0), activation=Tanh(), gate_activation=Logistic(), reset_cells=True)
    layer.configure((TOKENS, steps))
    layer.allocate()
    return layer


class Decoder:
    """A recurrent layer whose outputs, times 4, go through a softmax; a container as far as a search asks for one."""

    def __init__(self, start_index=None):
        self.start_index = start_index
        self.out_shape = (TOKENS, 1)
        self._recurrent = [gru(1)]

    def switch_mode(self, inference):
        assert inference

    def fprop(self, z, inference=False, init_state_list=None):
        (layer,), (state,) = self._recurrent, init_state_list
        out = layer.be.empty((TOKENS, SAMPLES))
        out[:] = Softmax()(4.0 * layer.fprop(z, inference, init_state=state))
        return out


def container(**settings):
    layer = gru(STEPS)
    encoder = SimpleNamespace(
        fprop=lambda x, inference: layer.fprop(x, inference),
        get_final_states=lambda connections: [layer.final_state() for _ in connections],
    )
    return SimpleNamespace(
        hasLUT=False,
        encoder=encoder,
        decoder=Decoder(**settings),
        decoder_connections=[0],
        out_shape=(TOKENS, STEPS),
        in_shape=(TOKENS, STEPS),
    )


def onehot(be, tokens):
    out = be.zeros((TOKENS, SAMPLES))
    for column, token in enumerate(tokens):
        out[token : token + 1, column : column + 1] = 1.0
    return out


@pytest.mark.parametrize("start_index", [None, 2])
def test_with_as_many_beams_as_tokens_two_steps_are_searched_to_the_end(be, start_index):
    seq2seq = container(start_index=start_index)
    x = be.array(np.random.RandomState(0).normal(size=(TOKENS, STEPS * SAMPLES)))
    search = BeamSearch(seq2seq)
    best = search.beamsearch(x, num_beams=TOKENS).get()

    seq2seq.encoder.fprop(x, inference=True)
    begin = seq2seq.encoder.get_final_states([0])[0].copy()
    first = be.zeros((TOKENS, SAMPLES)) if start_index is None else onehot(be, [start_index] * SAMPLES)
    scores = {}
    for a, b in itertools.product(range(TOKENS), repeat=2):
        one = np.log(seq2seq.decoder.fprop(first, init_state_list=[begin]).get()[a])
        state = seq2seq.decoder._recurrent[0].final_state().copy()
        two = np.log(seq2seq.decoder.fprop(onehot(be, [a] * SAMPLES), init_state_list=[state]).get()[b])
        scores[a, b] = one + two
    for k in range(SAMPLES):
        expected = max(scores, key=lambda pair: scores[pair][k])
        assert tuple(best[:, k].astype(int)) == expected
        np.testing.assert_allclose(search.scores[-1][k], scores[expected][k], rtol=1e-4)
    found = np.stack(search.scores)
    assert (np.diff(found, axis=0) >= 0).all()  # the best is the last


def test_more_beams_than_tokens_are_refused():
    with pytest.raises(
        ArgumentError, match="num_beams must be from 1 to 4, the number of tokens; received 5"
    ):
        BeamSearch(container()).beamsearch(None)


def test_each_recurrent_layer_of_the_decoder_needs_a_connection(be):
    seq2seq = container()
    seq2seq.decoder_connections = [0, 0]
    with pytest.raises(ValueError, match="has 1 recurrent layers, and connections for 2"):
        BeamSearch(seq2seq).beamsearch(be.zeros((TOKENS, STEPS * SAMPLES)), num_beams=2)


def test_of_equal_sequences_the_same_is_kept(be):
    seq2seq = container()
    seq2seq.decoder.fprop = lambda *args, **settings: be.ones((TOKENS, SAMPLES))
    search = BeamSearch(seq2seq)
    best = search.beamsearch(be.zeros((TOKENS, STEPS * SAMPLES)), num_beams=3).get()
    assert best.tolist() == [[TOKENS - 1] * SAMPLES] * STEPS  # the last of all that are equal
