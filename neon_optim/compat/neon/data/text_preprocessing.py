"""neon's preparation of text: numbers of words, sentences of one length, vectors of words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.compat.neon.data.datasets import plain_pickle
from neon_optim.errors import DataError

__all__ = ["clean_string", "get_google_word2vec_W", "get_paddedXY", "pad_data", "pad_sentences"]

_APART = [(ending, f" {ending}") for ending in ("'re", "'d", "'ll", "'s", "'ve", "n't")]
_APART += [("!", " ! "), (",", " , "), (")", r" \) "), ("(", r" \( "), ("?", r" \? ")]
"""What is set apart from the words around, and how."""


def clean_string(base: str) -> str:
    """Text in small letters, with blanks between words, endings and marks.

    Parentheses and question marks get a backslash, as in neon.

    >>> clean_string("She's here,  isn't she?")
    "she 's here , is n't she \\\\?"
    """
    base = re.sub(r"[^A-Za-z0-9(),!?'`]", " ", base)
    for part, apart in _APART:
        base = base.replace(part, apart)
    return re.sub(r"\s{2,}", " ", base).strip().lower()


def pad_sentences(
    sentences: Sequence[Sequence[int]],
    sentence_length: int | None = None,
    dtype: Any = np.int32,
    pad_val: float = 0.0,
) -> np.ndarray:
    """Sentences, lists of numbers, as the rows of an array: short ones are filled up, long ones cut, at the beginning.

    Arguments:
        sentences: the sentences.
        sentence_length: columns of the array; None: those of the longest sentence.
        dtype: type of the array.
        pad_val: what is filled up with.

    >>> pad_sentences([[1, 2, 3, 4], [5]], sentence_length=3).tolist()
    [[2, 3, 4], [0, 0, 5]]
    """
    if sentence_length is None:
        sentence_length = max(map(len, sentences), default=0)
    padded = np.full((len(sentences), sentence_length), pad_val, dtype=dtype)
    for row, sentence in zip(padded, sentences, strict=True):
        kept = sentence[-sentence_length:] if sentence_length else []
        row[sentence_length - len(kept) :] = kept
    return padded


def pad_data(
    path: str,
    vocab_size: int = 20000,
    sentence_length: int = 100,
    oov: int | None = 2,
    start: int | None = 1,
    index_from: int = 3,
    seed: int = 113,
    test_split: float = 0.2,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], int]:
    """Sentences and their class numbers from a pickle, as ((X, y) for training, (X, y) for tests, number of classes).

    The file holds two lists: sentences, which are lists of word numbers, and class numbers.

    Arguments:
        path: the file.
        vocab_size: numbers from here on are words that are not known; 0: all are.
        sentence_length: columns of X.
        oov: stands for words that are not known; None: they stay.
        start: is put before each sentence; None: nothing is.
        index_from: is added to the number of every word.
        seed: decides the order of the sentences, by NumPy's global generator, as in neon.
        test_split: share of the sentences for tests.

    Raises:
        DataError: the file is not there, or is no pickle of such lists.
    """
    try:
        with open(path, "rb") as file:
            value = plain_pickle(file, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not (isinstance(value, (list, tuple)) and len(value) == 2 and len(value[0]) == len(value[1])):
        raise DataError(f"{path} must hold a list of sentences and a list of as many class numbers")
    sentences, classes = map(list, value)
    _shuffle(sentences, classes, seed)
    X = _with_known_words(sentences, vocab_size, oov, start, index_from)
    first = int(len(X) * (1 - test_split))
    y = np.array(classes).reshape(-1, 1)
    train, test = (
        (pad_sentences(X[part], sentence_length), y[part]) for part in (slice(first), slice(first, None))
    )
    return train, test, 1 + int(y.max())


def get_paddedXY(  # noqa: N802 (neon's name)
    X: Any,
    y: Any,
    vocab_size: int = 20000,
    sentence_length: int = 100,
    oov: int | None = 2,
    start: int | None = 1,
    index_from: int = 3,
    seed: int = 113,
    shuffle: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Sentences, lists of word numbers, and their class numbers as arrays (samples, sentence_length) and (samples, 1).

    Arguments:
        X, y: the lists; with ``shuffle`` they are shuffled themselves, as in neon.
        vocab_size, sentence_length, start, index_from, seed: see :func:`pad_data`.
        oov: stands for words that are not known; None: they are left out.
        shuffle: change the order of the sentences.
    """
    if shuffle:
        _shuffle(X, y, seed)
    sentences = _with_known_words(X, vocab_size, oov, start, index_from)
    if oov is None and vocab_size:
        sentences = [[word for word in sentence if word < vocab_size] for sentence in sentences]
    return pad_sentences(sentences, sentence_length), np.array(y, dtype=np.int32).reshape(-1, 1)


def _shuffle(X: Any, y: Any, seed: int) -> None:
    for values in (X, y):
        np.random.seed(seed)
        np.random.shuffle(values)


def _with_known_words(
    sentences: Any, vocab_size: int, oov: int | None, start: int | None, index_from: int
) -> list[list[int]]:
    """Sentences with ``index_from`` added to the numbers, ``start`` before and ``oov`` for those that are too large."""
    before = [] if start is None else [start]
    found = [[*before, *[word + index_from for word in sentence]] for sentence in sentences]
    if oov is None or not vocab_size:
        return found
    return [[oov if word >= vocab_size else word for word in sentence] for sentence in found]


def get_google_word2vec_W(  # noqa: N802 (neon's name)
    fname: str, vocab: Mapping[Any, int], vocab_size: int = 1000000, index_from: int = 3
) -> tuple[np.ndarray, int, int]:
    """(W, features, rows): a vector for each word of a vocabulary, from a binary file of word2vec.

    Row ``vocab[word] + index_from`` is that of a word. Words that the file does not have, and the first ``index_from``
    rows, get evenly distributed numbers in ± 0.25 of NumPy's global generator.

    Arguments:
        fname: the file.
        vocab: the numbers of words, which are text, or bytes as in the file.
        vocab_size: most rows.
        index_from: rows that stand for no words.

    Raises:
        DataError: the file is not there, or damaged.
    """
    rows = min(len(vocab) + index_from, vocab_size)
    try:
        with open(fname, "rb") as file:
            features, vectors = _word_vectors(file, fname)
            W, found = np.zeros((rows, features)), set()
            for word, vector in vectors:
                number = vocab.get(word, vocab.get(word.decode("utf-8", "replace")))
                if number is not None and number + index_from < rows:
                    W[number + index_from] = vector
                    found.add(number + index_from)
    except OSError as error:
        raise DataError(f"{fname} cannot be read: {error}") from error
    for row in range(rows):
        if row not in found:
            W[row] = np.random.uniform(-0.25, 0.25, features)
    return W, features, rows


def _word_vectors(file: Any, name: str) -> tuple[int, Iterator[tuple[bytes, np.ndarray]]]:
    """The number of features, and words with their vectors."""
    header = file.readline(100).split()
    if len(header) != 2 or not all(number.isdigit() for number in header):
        raise DataError(f"{name} is no binary file of word2vec: it does not begin with two numbers")
    count, features = map(int, header)

    def vectors() -> Iterator[tuple[bytes, np.ndarray]]:
        for _ in range(count):
            word = bytearray()
            while (letter := file.read(1)) != b" ":
                if not letter:
                    raise DataError(f"{name} ends within its {count} vectors")
                word += letter
            vector = file.read(4 * features)
            if len(vector) < 4 * features:
                raise DataError(f"{name} ends within its {count} vectors")
            yield bytes(word).lstrip(b"\n"), np.frombuffer(vector, np.float32)

    return features, vectors()
