"""The counter-based random numbers: known answers, independence of what is asked together, Dropout's masks."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.backends.philox import DROPOUT, ROUNDING, philox4x32, random_words

# kat_vectors of Random123 (philox 4x32, 10 rounds): counter, key, block.
KNOWN = [
    ([0x00000000] * 4, [0x00000000] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN)
def test_known_answers(counter, key, block):
    words = philox4x32(np.array(counter).reshape(4, 1), tuple(key))
    assert " ".join(f"{word:08x}" for word in words[:, 0]) == block


def test_a_word_does_not_depend_on_how_many_are_asked_for():
    whole = random_words(1001, seed=7, purpose=DROPOUT, stream=3, step=5)
    assert whole.dtype == np.uint32
    assert np.array_equal(random_words(10, 7, DROPOUT, 3, 5), whole[:10])


@pytest.mark.parametrize(
    "other", [(8, DROPOUT, 3, 5), (7, ROUNDING, 3, 5), (7, DROPOUT, 4, 5), (7, DROPOUT, 3, 5 + 2**32)]
)
def test_seed_purpose_stream_and_step_each_give_other_words(other):
    words = random_words(1000, 7, DROPOUT, 3, 5)
    assert np.mean(words == random_words(1000, *other)) < 0.01


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 1.0])
def test_masks_keep_the_asked_share(keep):
    be = gen_backend("cpu", rng_seed=1)
    mask = be.bernoulli(be.empty((100, 1000)), keep, stream=0, step=0).get()
    assert set(np.unique(mask)) <= {0.0, 1.0}
    # Five standard deviations of the mean of 100,000 draws.
    assert abs(mask.mean() - keep) <= 5 * np.sqrt(keep * (1 - keep) / mask.size)


def test_masks_are_a_function_of_seed_stream_and_step():
    masks = []
    for seed in (1, 1, 2):
        be = gen_backend("cpu", rng_seed=seed)
        be.rng.normal(size=seed)  # the other random numbers do not matter
        masks.append(be.bernoulli(be.empty((8, 8)), 0.5, stream=1, step=4).get())
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
