"""Philox 4x32-10: counter-based random numbers, the same on every backend.

A number depends on what it is for and on nothing else: there is no hidden state, so restoring the counters restores the
numbers. A block of four 32-bit words comes from

- the key: (seed, purpose);
- the counter: (number of the block, stream, step modulo 2³², step / 2³²).

Element k of a tensor takes word k mod 4 of block k / 4. The stream tells tensors or layers apart, the step the
minibatches.

Reference: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["DROPOUT", "ROUNDING", "SHUFFLE", "permutation", "philox4x32", "random_words"]

#: Purposes: the second word of the key.
ROUNDING, DROPOUT, SHUFFLE = 0, 1, 2

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counter: Any, key: tuple[int, int]) -> np.ndarray:
    """The block of each counter.

    Arguments:
        counter: array of (4, n) words below 2³².
        key: two words below 2³².

    Returns an array of (4, n) uint32.

    >>> [f"{word:08x}" for word in philox4x32(np.zeros((4, 1)), (0, 0))[:, 0]]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = np.asarray(counter).astype(np.uint64)
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0), (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _WORD, product0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def random_words(n: int, seed: int, purpose: int, stream: int, step: int, first: int = 0) -> np.ndarray:
    """The 32-bit words of n elements, from element ``first`` on.

    >>> print(random_words(3, seed=1, purpose=DROPOUT, stream=0, step=0))
    [2714744177  753884053 3575498877]
    >>> print(random_words(1, seed=1, purpose=DROPOUT, stream=0, step=0, first=2))
    [3575498877]
    """
    before = first // 4
    blocks = -(-(first + n) // 4) - before
    counter = np.empty((4, blocks), np.uint64)
    counter[0] = np.arange(before, before + blocks, dtype=np.uint64)
    counter[1], counter[2], counter[3] = stream, step & 0xFFFFFFFF, step >> 32
    words = philox4x32(counter, (seed & 0xFFFFFFFF, purpose)).T.reshape(-1)
    return words[first - 4 * before :][:n]


def permutation(n: int, seed: int, stream: int, step: int) -> np.ndarray:
    """The numbers 0 to n - 1 in a random order, the same on every platform and with every NumPy.

    >>> print(permutation(6, seed=1, stream=0, step=0))
    [0 2 4 1 5 3]
    """
    return np.argsort(random_words(n, seed, SHUFFLE, stream, step), kind="stable")
