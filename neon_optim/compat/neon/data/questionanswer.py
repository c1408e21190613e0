"""neon's stories with questions and answers: bAbI, and an iterator over such."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.data.dataiterator import NervanaDataIterator
from neon_optim.compat.neon.data.datasets import Dataset
from neon_optim.compat.neon.data.text_preprocessing import pad_sentences
from neon_optim.errors import DataError

__all__ = ["BABI", "QA"]

Story = tuple[list[str], list[str], str]
"""Words of a story, words of a question, the answer."""

_TASKS = """single-supporting-fact two-supporting-facts three-supporting-facts two-arg-relations three-arg-relations
yes-no-questions counting lists-sets simple-negation indefinite-knowledge basic-coreference conjunction
compound-coreference time-reasoning basic-deduction basic-induction positional-reasoning size-reasoning path-finding
agents-motivations"""


class QA(NervanaDataIterator):
    """Minibatches of stories, questions and answers, in another order each time.

    Arguments:
        story, query: numbers of words, (samples, words).
        answer: (samples, words), a 1 for the answer.
    """

    def __init__(self, story: np.ndarray, query: np.ndarray, answer: np.ndarray):
        super().__init__(name=None)
        self.story, self.query, self.answer = story, query, answer
        self.ndata = len(self.story)
        self.nbatches: Any = self.ndata // self.be.bsz
        self.story_length = self.story.shape[1]
        self.query_length = self.query.shape[1]
        self.shape = [(self.story_length, 1), (self.query_length, 1)]
        self.batch_index = 0

    def __iter__(self) -> Iterator[tuple[tuple[Any, Any], Any]]:
        """Pairs ((stories, questions), answers)."""
        self.batch_index = 0
        order = self.be.rng.permutation(len(self.story))
        self.story, self.query, self.answer = self.story[order], self.query[order], self.answer[order]
        while self.batch_index < self.nbatches:
            first = self.batch_index * self.be.bsz
            story, query, answer = (
                self.be.array(np.ascontiguousarray(part[first : first + self.be.bsz].T))
                for part in (self.story, self.query, self.answer)
            )
            self.batch_index += 1
            yield (story, query), answer

    def reset(self) -> None:
        """Begin again with the first minibatch."""
        self.batch_index = 0


class BABI(Dataset):
    """The bAbI tasks: stories, questions and answers as numbers of words.

    Arguments:
        path: the folder of ``tasks_1-20_v1-2.tar.gz``.
        task: one of ``tasks``, such as 'qa1_single-supporting-fact'.
        subset: 'en', 'hn' or 'shuffled', each also with '-10k'.

    Attributes:
        train, test: (stories, questions, answers) as :class:`QA` takes them.
        vocab, vocab_size: the words; 0 is no word, ``vocab_size - 1`` one that is not known.

    Raises:
        DataError: the file is not there or damaged, or there is no such task.

    References:
        Weston et al., Towards AI-complete question answering: a set of prerequisite toy tasks, 2015.
    """

    def __init__(self, path: str = ".", task: str = "qa1_single-supporting-fact", subset: str = "en"):
        url = "http://www.thespermwhale.com/jaseweston/babi"
        super().__init__("tasks_1-20_v1-2.tar.gz", url, 11745123, path=path)
        self.task = task
        self.subset = subset
        logger.display("Preparing bAbI dataset or extracting from %s", path)
        logger.display("Task is %s/%s", subset, task)
        self.tasks = [f"qa{number}_{name}" for number, name in enumerate(_TASKS.split(), 1)]
        if task not in self.tasks:
            raise DataError(f"bAbI has no task {task!r}, only {', '.join(self.tasks)}")
        self.train_file, self.test_file = self.load_data(path, task, subset)
        self.train_parsed = self.parse_babi(self.train_file)
        self.test_parsed = self.parse_babi(self.test_file)
        self.compute_statistics()
        self.train = self.vectorize_stories(self.train_parsed)
        self.test = self.vectorize_stories(self.test_parsed)

    def load_data(
        self, path: str = ".", task: str = "qa1_single-supporting-fact", subset: str = "en"
    ) -> tuple[str, str]:
        """The paths of the files for training and for tests, which are unpacked where they are not there.

        Raises:
            DataError: the archive is not there, or has no such files.
        """
        folder, archive = self._valid_path_append(path, "", self.filename)
        base = f"{self.filename.split('.')[0]}/{subset}/{task}"
        files = [f"{base}_{part}.txt" for part in ("train", "test")]
        paths = [os.path.join(folder, *name.split("/")) for name in files]
        if not all(map(os.path.exists, paths)):
            if not os.path.exists(archive):
                self.fetch_dataset(self.url, self.filename, archive, self.size)
            _unpack(archive, dict(zip(files, paths, strict=True)))
        return paths[0], paths[1]

    @staticmethod
    def data_to_list(data: str) -> list[str]:
        """The lines of a text, without blanks at their ends."""
        return [line.strip() for line in data.split("\n")[:-1]]

    @staticmethod
    def tokenize(sentence: str) -> list[str]:
        """Words and marks.

        >>> BABI.tokenize("Where is Mary?")
        ['Where', 'is', 'Mary', '?']
        """
        return [token.strip() for token in re.split(r"(\W+)", sentence) if token.strip()]

    @staticmethod
    def flatten(data: Iterable[Sequence[str]]) -> list[str]:
        """The words of all sentences."""
        return [word for sentence in data for word in sentence]

    @staticmethod
    def parse_babi(babi_file: str) -> list[Story]:
        """The questions of a file, each with the story before it and its answer.

        Raises:
            DataError: it cannot be read as a file of bAbI.
        """
        found: list[Story] = []
        story: list[list[str]] = []
        try:
            with open(babi_file, encoding="utf-8") as file:
                lines = BABI.data_to_list(file.read())
            for line in lines:
                number, text = line.split(" ", 1)
                if int(number) == 1:
                    story = []
                if "\t" in text:
                    question, answer, _ = text.split("\t")
                    found.append((BABI.flatten(story), BABI.tokenize(question), answer))
                else:
                    story.append(BABI.tokenize(text))
        except (OSError, ValueError) as error:
            raise DataError(f"{babi_file} cannot be read as a file of bAbI: {error}") from error
        return found

    def words_to_vector(self, words: Iterable[str]) -> list[int]:
        """The numbers of words."""
        return [self.word_to_index.get(word, self.vocab_size - 1) for word in words]

    def one_hot_vector(self, answer: str) -> np.ndarray:
        """A 1 at the number of an answer."""
        vector = np.zeros(self.vocab_size)
        vector[self.word_to_index[answer]] = 1
        return vector

    def vectorize_stories(self, data: Iterable[Story]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stories, questions and answers as numbers."""
        stories, queries, answers = zip(*data, strict=True)
        return (
            pad_sentences([self.words_to_vector(story) for story in stories], self.story_maxlen),
            pad_sentences([self.words_to_vector(query) for query in queries], self.query_maxlen),
            np.array([self.one_hot_vector(answer) for answer in answers]),
        )

    def compute_statistics(self) -> None:
        """Set the words and their numbers, and how long stories and questions are at most."""
        whole = self.train_parsed + self.test_parsed
        self.vocab = sorted({word for story, query, answer in whole for word in (*story, *query, answer)})
        self.vocab_size = len(self.vocab) + 2
        self.word_to_index = {word: number for number, word in enumerate(self.vocab, 1)}
        self.index_to_word = dict(enumerate(self.vocab, 1))
        self.story_maxlen = max(len(story) for story, _, _ in whole)
        self.query_maxlen = max(len(query) for _, query, _ in whole)


def _unpack(archive: str, files: dict[str, str]) -> None:
    """Copy files of an archive to paths."""
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for name, path in files.items():
                member = packed.extractfile(name)
                if member is None:
                    raise DataError(f"{archive}: {name} is no file")
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(member.read())
    except KeyError as error:
        raise DataError(f"{archive} has no file {name}: look at the subset and the task") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
