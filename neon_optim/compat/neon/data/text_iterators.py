"""neon's iterators over text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.data.dataiterator import NervanaDataIterator
from neon_optim.compat.neon.data.hdf5iterator import opened
from neon_optim.compat.neon.data.text_preprocessing import pad_data, pad_sentences
from neon_optim.errors import DataError

__all__ = ["Text", "TextNMT"]


class Text(NervanaDataIterator):
    """Minibatches of sequences of tokens; the target of a token is the one that follows.

    The text is cut into ``be.bsz`` pieces, each of which goes on from minibatch to minibatch. What is left over at the
    end is left out.

    Arguments:
        time_steps: tokens of a sequence.
        path: the file.
        vocab: all tokens; None: those of the text.
        tokenizer: makes a list of tokens of a text; None: its letters.
        onehot_input: inputs are columns with a single 1, (tokens, time_steps · samples); else the numbers of the
            tokens, (time_steps, samples).
        reverse_target: targets are the inputs in reverse, for models of two sequences.
        get_prev_target: inputs are pairs, the second the targets one step later, for a decoder.

    Raises:
        DataError: the file cannot be read, is too short for one minibatch, or has tokens that are not in ``vocab``.
    """

    def __init__(
        self,
        time_steps: int,
        path: str,
        vocab: Any = None,
        tokenizer: Callable[[str], Any] | None = None,
        onehot_input: bool = True,
        reverse_target: bool = False,
        get_prev_target: bool = False,
    ):
        super().__init__(name=None)
        self.seq_length = time_steps
        self.onehot_input = onehot_input
        self.batch_index = 0
        self.reverse_target = reverse_target
        self.get_prev_target = get_prev_target
        X, y = self._get_data(path, tokenizer, vocab)
        if not len(X):
            raise DataError(
                f"{path} is too short for one minibatch of {self.be.bsz} sequences of {time_steps} tokens"
            )
        self.X, self.y = (tokens.reshape(self.be.bsz, self.nbatches, time_steps) for tokens in (X, y))
        self.nout = self.nclass
        self.shape = (self.nout, time_steps) if onehot_input else (time_steps, 1)
        self.decoder_shape = self.shape
        self.dev_X = self._inputs()
        if get_prev_target:
            self.dev_Z = self._inputs()
        self.dev_y = self.be.iobuf((self.nout, time_steps))
        self.dev_lbl = self.be.iobuf(time_steps, dtype=np.int32)
        self.dev_lblflat = self.dev_lbl.reshape((1, -1))

    def _inputs(self) -> Any:
        if self.onehot_input:
            return self.be.iobuf(self.shape)
        return self.be.iobuf(self.seq_length, dtype=np.int32)

    def _get_data(self, path: str, tokenizer: Any, vocab: Any) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of all tokens, and of the targets."""
        tokens = self.get_tokens(_text_of(path), tokenizer)
        of_minibatch = self.be.bsz * self.seq_length
        self.nbatches: Any = len(tokens) // of_minibatch
        self.ndata = self.nbatches * self.be.bsz
        tokens = tokens[: self.nbatches * of_minibatch]
        self.vocab = sorted(self.get_vocab(tokens, vocab))
        self.nclass = len(self.vocab)
        self.token_to_index = {token: number for number, token in enumerate(self.vocab)}
        self.index_to_token = dict(enumerate(self.vocab))
        X = np.asarray([self.token_to_index[token] for token in tokens], dtype=np.uint32)
        return X, X.copy() if self.reverse_target else np.roll(X, -1)

    @staticmethod
    def create_valid_file(path: str, valid_split: float = 0.1) -> tuple[str, str]:
        """Write the text of a file to two beside it, ``x_train.txt`` and ``x_valid.txt``; gives their paths.

        Arguments:
            path: the file.
            valid_split: share of the letters that go into the second.

        Raises:
            DataError: a file cannot be read or written.
        """
        text, (name, extension) = _text_of(path), os.path.splitext(path)
        first = int(len(text) * (1 - valid_split))
        parts = {f"{name}_train{extension}": text[:first], f"{name}_valid{extension}": text[first:]}
        for beside, part in parts.items():
            try:
                with open(beside, "w", encoding="utf-8", newline="") as file:
                    file.write(part)
            except OSError as error:
                raise DataError(f"{beside} cannot be written: {error}") from error
        train, valid = parts
        return train, valid

    @staticmethod
    def get_tokens(string: str, tokenizer: Callable[[str], Any] | None = None) -> Any:
        """The tokens of a text: what the tokenizer gives; without one the letters, as the text itself."""
        return string if tokenizer is None else tokenizer(string)

    @staticmethod
    def get_vocab(tokens: Any, vocab: Any = None) -> set[Any]:
        """All tokens, each once; or ``vocab``, which must hold them.

        Raises:
            DataError: it does not.
        """
        if vocab is None:
            return set(tokens)
        missing = sorted(set(tokens) - set(vocab))
        if missing:
            shown = ", ".join(map(repr, missing[:5]))
            raise DataError(
                f"{len(missing)} tokens of the text are not in vocab: {shown}{', …' if missing[5:] else ''}"
            )
        return set(vocab)

    @staticmethod
    def pad_sentences(*args: Any, **kwargs: Any) -> np.ndarray:
        """The old name of :func:`neon.data.text_preprocessing.pad_sentences`."""
        logger.error("Text.pad_sentences is deprecated: use neon.data.text_preprocessing.pad_sentences")
        return pad_sentences(*args, **kwargs)

    @staticmethod
    def pad_data(*args: Any, **kwargs: Any) -> Any:
        """The old name of :func:`neon.data.text_preprocessing.pad_data`."""
        logger.error("Text.pad_data is deprecated: use neon.data.text_preprocessing.pad_data")
        return pad_data(*args, **kwargs)

    def reset(self) -> None:
        """Begin again with the first minibatch."""
        self.batch_index = 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs (inputs, targets); inputs are a pair with ``get_prev_target``."""
        self.batch_index = 0
        while self.batch_index < self.nbatches:
            X, y = self.X[:, self.batch_index].T, self.y[:, self.batch_index].T
            if self.reverse_target:
                y = y[::-1]
            self._onehot(y, self.dev_y)
            if self.onehot_input:
                self._onehot(X, self.dev_X)
            else:
                self.dev_X.set(np.ascontiguousarray(X))
            if self.get_prev_target:
                self._set_targets_before(y)
            self.batch_index += 1
            yield ((self.dev_X, self.dev_Z) if self.get_prev_target else self.dev_X), self.dev_y

    def _onehot(self, numbers: np.ndarray, out: Any) -> None:
        self.dev_lbl.set(np.ascontiguousarray(numbers))
        out[:] = self.be.onehot(self.dev_lblflat, axis=0)

    def _set_targets_before(self, y: np.ndarray) -> None:
        if self.onehot_input:
            size = self.be.bsz
            self.dev_Z[:, size:] = self.dev_y[:, :-size]
            self.dev_Z[:, :size] = 0
        else:
            before = np.zeros(y.shape, np.int32)
            before[1:] = y[:-1]
            self.dev_Z.set(before)


class TextNMT(Text):
    """Minibatches of sentences and their translations, from the HDF5 files that neon's nmt example prepares.

    A file ``<dataset>-<split>.h5`` holds the arrays ``X`` and ``y``, (sentences, time_steps), and the lists of tokens
    ``s_vocab`` and ``t_vocab``. The targets are in reverse.

    Arguments:
        time_steps: tokens of a sentence.
        path: the folder of the files.
        tokenizer: neon's; not used.
        onehot_input, get_prev_target: see :class:`Text`.
        split: 'train' or 'valid'.
        dataset: 'un2000' or 'europarl7'.
        subset_pct: how many percent of the sentences to use.

    Raises:
        DataError: the file is not there or is another, h5py is not installed, or there is no such dataset.
    """

    def __init__(
        self,
        time_steps: int,
        path: str,
        tokenizer: Any = None,
        onehot_input: bool = False,
        get_prev_target: bool = False,
        split: str | None = None,
        dataset: str = "un2000",
        subset_pct: float = 100,
    ):
        if dataset not in ("europarl7", "un2000"):
            raise DataError(f"dataset must be 'un2000' or 'europarl7', received {dataset!r}")
        self.subset_pct = subset_pct
        file = os.path.join(path, f"{dataset}-{split}.h5")
        settings = {"onehot_input": onehot_input, "get_prev_target": get_prev_target}
        super().__init__(time_steps, file, tokenizer=tokenizer, reverse_target=True, **settings)

    def _get_data(self, path: str, tokenizer: Any, vocab: Any) -> tuple[np.ndarray, np.ndarray]:
        with opened(path) as file:
            missing = [name for name in ("s_vocab", "t_vocab", "X", "y") if name not in file]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}")
            self.s_vocab, self.t_vocab = file["s_vocab"][:].tolist(), file["t_vocab"][:].tolist()
            X, y = file["X"][:], file["y"][:]
        self.s_token_to_index = {token: number for number, token in enumerate(self.s_vocab)}
        self.t_token_to_index = {token: number for number, token in enumerate(self.t_vocab)}
        self.s_index_to_token = dict(enumerate(self.s_vocab))
        self.t_index_to_token = dict(enumerate(self.t_vocab))
        self.nclass = len(self.t_vocab)
        self.nbatches = int(len(X) * self.subset_pct / 100.0) // self.be.bsz
        self.ndata = self.nbatches * self.be.bsz
        return X[: self.ndata], y[: self.ndata]


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
