"""What is learned of a table: the target, which rows validate, and what becomes of each column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.data.columns import Column, Scan
from neon_optim.data.encoding import Quantities, Target, classes_of, goal_of
from neon_optim.data.learning import Chosen, Moments, Split, chunks_of
from neon_optim.data.spool import Spool
from neon_optim.data.table_encoding import Category, Measure, TableEncoding, about_column
from neon_optim.errors import DataError

__all__ = ["TableLearning", "useless_columns"]

_MOST_CATEGORIES = 1_000
_FEW_CATEGORIES = 50
"""Different words of a column, at most, and those that it may have in however few rows."""


class TableLearning:
    """What a table to train on tells.

    Arguments:
        scan: its columns.
        features: those that are inputs.
        target: the one that is to be predicted.
        task: 'classification', 'regression' or 'auto'.
        missing: 'error', 'mean' or 'drop'.
        share: of the rows that validate, of each class where there are classes; None: none of them.
        seed: decides which.

    Attributes:
        encoding: what is learned of the rows to train on.
        train, valid: which rows these are.
        counts: how many there are of each.
        apart: the rows that validate, where all rows are on disk and would have to be read for a few of them.

    Raises:
        DataError: the table cannot be used: all mistakes at once.
    """

    def __init__(
        self,
        scan: Scan,
        features: Sequence[str],
        target: str,
        task: str,
        missing: str,
        share: float | None,
        seed: int,
    ) -> None:
        self._scan, self._missing = scan, missing
        self._column = scan.columns[target]
        self._place = scan.place(target)
        self._used = [scan.place(name) for name in [*features, target]]
        self._refuse(about_column(scan, self._column, "target", missing == "drop"))
        if self._column.is_full:
            text = f"{len(self._column.words):,} or more different words are no classes"
            self._refuse([f"{scan.table.where}: {target}: {text}"])
        self._goal, classes = self._classes(task)
        self.train, self.valid = Chosen(), Chosen()
        self.counts = [0, 0]
        self.apart: Spool | None = None
        if scan.rows.on_disk and share is not None:
            self.apart = Spool(scan.rows.shape, np.float64, 0, scan.table.where)
        of_class = dict(enumerate(classes.values()))
        split = None if share is None else Split(of_class, share, seed)
        self._read(features, split, {label: k for k, label in enumerate(classes)})
        self.encoding = self._encoding(features)

    def _refuse(self, problems: Sequence[str]) -> None:
        if problems:
            raise DataError("\n".join(problems))

    def _chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows in chunks, and which of them have all that is needed."""
        rows = self._scan.rows
        for first, last in chunks_of(rows.count, rows.shape[0]):
            chunk = rows.read(first, last)
            if self._missing == "drop":
                yield chunk, ~np.isnan(chunk[:, self._used]).any(axis=1)
            else:
                yield chunk, np.ones(len(chunk), bool)

    def _classes(self, task: str) -> tuple[Target | None, dict[float, int]]:
        """The target where it is classes, and how many rows there are of each, by its number in the rows."""
        column, name = self._column, self._column.name
        counts: Counter[float] = Counter()
        whole = 0
        for chunk, used in self._chunks():
            values = chunk[used, self._place]
            whole += len(values)
            if column.label != "float" or task == "classification":
                found, times = np.unique(values, return_counts=True)
                counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
        if not whole:
            raise DataError(
                f"{self._scan.table.where}: every row lacks a value; none is left with missing: drop"
            )
        if goal_of(name, np.dtype(column.label_type).kind, task, lambda: len(counts)) == "regression":
            return None, {0.0: whole}
        words = list(column.words)
        label_of = (lambda n: words[int(n)]) if column.label == "str" else np.dtype(column.label_type).type
        labels = {_plain(label_of(number)): number for number in counts}
        target = classes_of(name, labels.keys())
        return target, {labels[label]: counts[labels[label]] for label in target.labels}

    def _read(self, features: Sequence[str], split: Split | None, classes: dict[float, int]) -> None:
        """Go through all rows once: which validate, and what those to train on hold."""
        columns = [self._scan.columns[name] for name in features]
        self._measured = [c for c in columns if not c.has_words and c.odd_type is None]
        self._worded = [c for c in columns if c.has_words]
        if self._goal is None:
            self._measured.append(self._column)
        places = [self._scan.place(c.name) for c in self._measured]
        values = [c.values_of_words() for c in self._measured]
        self._moments = Moments(len(places))
        self._words = {c.name: np.zeros(len(c.words), np.int64) for c in self._worded}
        for chunk, used in self._chunks():
            valid = np.zeros(len(chunk), bool)
            if split is not None:
                numbers = chunk[used, self._place]
                valid[used] = split.of_next(
                    _numbered(numbers, classes) if self._goal else np.zeros(len(numbers))
                )
            train = used & ~valid
            for k, (part, chosen) in enumerate(((self.train, train), (self.valid, valid))):
                part.add(chosen)
                self.counts[k] += int(np.count_nonzero(chosen))
            if self.apart is not None:
                self.apart.append(chunk[valid])
            rows = chunk if train.all() else chunk[train]
            measured = rows[:, places]
            for k, known in enumerate(values):
                if known is not None:
                    measured[:, k] = _looked_up(known, measured[:, k])
            self._moments.add(measured)
            for column in self._worded:
                numbers = rows[:, self._scan.place(column.name)]
                known_words = numbers[numbers >= 0].astype(np.intp)
                self._words[column.name] += np.bincount(known_words, minlength=len(column.words))

    def _encoding(self, features: Sequence[str]) -> TableEncoding:
        mean, deviation = self._moments.standardizing()
        moments = {c.name: k for k, c in enumerate(self._measured)}
        learned: list[Measure | Category] = []
        problems: list[str] = []
        for name in features:
            column = self._scan.columns[name]
            found = about_column(
                self._scan, column, "words" if column.has_words else "numbers", self._missing != "error"
            )
            if not found and column.has_words:
                found = self._about_words(column)
            elif not found and not self._moments.count[moments[name]]:
                text = "there is no value to train on; leave it out of the features"
                found = [f"{self._scan.table.where}: {name}: {text}"]
            problems += found
            if found:
                continue
            fills = self._missing == "mean"
            if column.has_words:
                counts = self._words[name].tolist()
                seen = {word: counts[k] for word, k in sorted(column.words.items()) if counts[k]}
                learned.append(
                    Category(name, tuple(seen), max(seen, key=seen.__getitem__) if fills else None)
                )
            else:
                k = moments[name]
                learned.append(Measure(name, mean[k], deviation[k], mean[k] if fills else None))
        self._refuse(problems)
        target = self._goal or Quantities(self._column.name, mean[-1:], deviation[-1:])
        return TableEncoding(learned, target)

    def _about_words(self, column: Column) -> list[str]:
        count, rows = int(np.count_nonzero(self._words[column.name])), self.counts[0]
        where = f"{self._scan.table.where}: {column.name}"
        if not count:
            return [f"{where}: there is no value to train on; leave it out of the features"]
        if _is_text(count, rows):
            return [
                f"{where}: {count:,}{' or more' if column.is_full else ''} different words in {rows:,} rows: it is no "
                "category, rather a name or a text; leave it out of the features"
            ]
        return []


def _is_text(words: int, rows: int) -> bool:
    """Whether a column has too many different words for one of categories."""
    return words > _MOST_CATEGORIES or 2 * words > max(rows, 2 * _FEW_CATEGORIES)


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _numbered(values: np.ndarray, classes: dict[float, int]) -> np.ndarray:
    """The class numbers of values."""
    known = np.array(sorted(classes))
    numbers = np.array([classes[value] for value in known.tolist()])
    found: np.ndarray = numbers[np.searchsorted(known, values)]
    return found


def _looked_up(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.append(values, np.nan)[np.nan_to_num(places, nan=-1.0).astype(np.intp)]
    return found


def useless_columns(scan: Scan, target: str) -> dict[str, str]:
    """Columns that can be no inputs, or tell nothing but which row it is; with the reason."""
    reasons: dict[str, str] = {}
    for name, column in scan.columns.items():
        if name == target:
            continue
        found = about_column(scan, column, "words" if column.has_words else "numbers", True)
        count, rows = len(column.words), scan.rows.count
        if found:
            reasons[name] = found[0].removeprefix(f"{scan.table.where}: {name}: ")
        elif not column.present:
            reasons[name] = "there is no value to train on"
        elif column.has_words and _is_text(count, rows):
            reasons[name] = (
                f"{count:,} different words in {rows:,} rows: it is no category, rather a name or a text"
            )
        elif column.has_words and count == rows > 1:
            reasons[name] = "each row has a word of its own"
        elif _counts_rows(scan, name):
            reasons[name] = "it numbers the rows"
    return reasons


def _counts_rows(scan: Scan, name: str) -> bool:
    """Whether a column of integers rises by one from row to row."""
    column, place = scan.columns[name], scan.place(name)
    if column.label != "int" or column.missing.count or column.rows < 3:
        return False
    before = None
    for first, last in chunks_of(scan.rows.count, scan.rows.shape[0]):
        values = scan.rows.read(first, last)[:, place]
        if (before is not None and values[0] != before + 1) or (np.diff(values) != 1).any():
            return False
        before = values[-1]
    return True
