"""Columns of a table as numbers: values, and words by their numbers; what is odd about them, with its places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from neon_optim.data.spool import Spool
from neon_optim.data.tables import MISSING_WORDS, TableSource
from neon_optim.described.listing import first_of
from neon_optim.errors import DataError

__all__ = ["Column", "Odd", "Scan"]

_LISTED = 10
_MOST_WORDS = 100_000
"""Different words of a column that are remembered."""

_STRAY = 0.05
"""The share of values that are no numbers up to which a column is taken for one of numbers, with mistakes in it."""

_FEW = 1_000
Kind = Literal["numbers", "words", "neither"]


class Odd:
    """Rows where something was found: how many, and the first of them.

    Attributes:
        count: of the rows.
        first: the first ones, from 0, each with what was found.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, Any]] = []

    def add(self, found: np.ndarray, begin: int, say: Callable[[int], Any] = int) -> None:
        """Add the rows of a block where ``found`` is true.

        Arguments:
            begin: the number of the block's first row.
            say: what was found in a row of the block.
        """
        rows = np.flatnonzero(found)
        self.count += len(rows)
        for row in rows[: _LISTED + 1 - len(self.first)].tolist():
            self.first.append((begin + row, say(row)))

    def listed(self, table: TableSource) -> str:
        """The places, on one line."""
        return first_of(table.places([row for row, _ in self.first]), most=_LISTED)

    def lines(self, table: TableSource) -> list[str]:
        """A line for each place, with what was found there."""
        some = self.first[:_LISTED]
        places = table.places([row for row, _ in some])
        lines = [
            f"  {table.unit[:-1]} {place}: {what!r}" for place, (_, what) in zip(places, some, strict=True)
        ]
        return lines + ([f"  and {self.count - _LISTED} more"] if self.count > _LISTED else [])


class Column:
    """What has been seen of a column so far.

    Arguments:
        expected: what the column must be, where that is known: 'numbers' or 'words'.

    Attributes:
        label: the Python type of its values: 'int', 'float', 'bool' or 'str'.
        words: the number of each word; the numbers from 0 in the order of appearance.
        counts: in how many rows each word stands.
        missing, infinite, stray: rows without a value, with an infinite one, with a word that is no number.
        odd_type: its type, where it can be neither numbers nor words.
    """

    def __init__(self, name: str, expected: str | None = None) -> None:
        self.name, self.expected = name, expected
        self.label: str | None = None
        self.words: dict[str, int] = {}
        self.counts = np.zeros(0, np.int64)
        self.missing, self.infinite, self.stray = Odd(), Odd(), Odd()
        self.odd_type: Any = None
        self.rows = 0
        self._kind: Kind | None = None
        self._may_be_numbers = expected != "words"
        self._judged = False

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing.count

    @property
    def has_words(self) -> bool:
        """Whether it holds words: texts of which more than a few are no numbers."""
        if self._kind != "words" or self.expected == "numbers":
            return False
        return self.expected == "words" or not (self._may_be_numbers and self._are_nearly_numbers())

    @property
    def is_full(self) -> bool:
        """Whether it has more different words than are remembered."""
        return len(self.words) >= _MOST_WORDS

    @property
    def label_type(self) -> Any:
        """NumPy's type of its values."""
        return {"int": np.int64, "bool": np.bool_, "str": np.object_}.get(self.label or "", np.float64)

    def values_of_words(self) -> np.ndarray | None:
        """The number that each word stands for, where numbers came as texts."""
        if self._kind != "words" or self.has_words:
            return None
        return np.array([_number(word) for word in self.words])

    def fits(self, kind: Kind | None) -> bool:
        """Whether a block of this kind can follow those so far."""
        return kind is None or self._kind is None or kind == self._kind

    def add(self, array: Any) -> np.ndarray:
        """The values of the next block in float64: numbers, or the numbers of words; NaN where there is none."""
        kind, begin = kind_of(array.type), self.rows
        self.rows += len(array)
        self._kind = self._kind or kind
        if self.expected == "words" and kind == "numbers":
            array, kind = array.cast("string"), "words"
            self._kind = "words"
        if kind == "words":
            values = self._add_words(array, begin)
        elif kind == "numbers":
            values = self._add_numbers(array, begin)
        else:
            if kind == "neither":
                self.odd_type = array.type
            values = np.full(len(array), np.nan)
        self.missing.add(np.isnan(values), begin)
        return values

    def _add_numbers(self, array: Any, begin: int) -> np.ndarray:
        import pyarrow as pa

        found = "float"
        if pa.types.is_boolean(array.type):
            array, found = array.cast(pa.int8()), "bool"
        elif pa.types.is_integer(array.type):
            found = "int"
        self.label = found if self.label in (None, found) else "float"
        values: np.ndarray = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        infinite = np.isinf(values)
        if infinite.any():
            self.infinite.add(infinite, begin)
        return values

    def _add_words(self, array: Any, begin: int) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.label = "str"
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        words = pc.utf8_trim_whitespace(array.dictionary.cast(pa.string())).to_pylist()
        numbers = np.array([*map(self._number_of, words), np.nan])
        places = array.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
        values: np.ndarray = numbers.take(places)
        known = values[values >= 0].astype(np.int64)
        counts = np.bincount(known, minlength=len(self.words))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        if self._may_be_numbers:
            self._look_for_stray(words, places, begin)
        return values

    def _number_of(self, word: str | None) -> float:
        if word is None or word in MISSING_WORDS:
            return np.nan
        if len(self.words) >= _MOST_WORDS:
            return self.words.get(word, -1)
        return self.words.setdefault(word, len(self.words))

    def _look_for_stray(self, words: Sequence[str | None], places: np.ndarray, begin: int) -> None:
        """Find the rows of a block whose words are no numbers, as long as they are few."""
        is_stray = np.array(
            [w is not None and w not in MISSING_WORDS and _number(w) is None for w in words] + [False]
        )
        stray = is_stray[places]
        if not self._judged and self.expected is None:
            self._judged = True
            some = stray[places < len(words)][:_FEW]
            if not _nearly(int(some.sum()), len(some)):
                self._may_be_numbers = False
                return
        self.stray.add(stray, begin, lambda row: words[places[row]])

    def _are_nearly_numbers(self) -> bool:
        return _nearly(self.stray.count, self.present)


def _nearly(stray: int, count: int) -> bool:
    """Whether nearly all of some words are numbers: then the others are mistakes."""
    return stray <= max(1, _STRAY * count) and 2 * stray < count


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def kind_of(type: Any) -> Kind | None:
    """What a column of one of pyarrow's types holds; None: nothing."""
    import pyarrow as pa

    types = pa.types
    if types.is_null(type):
        return None
    if types.is_dictionary(type):
        return kind_of(type.value_type)
    if types.is_string(type) or types.is_large_string(type) or types.is_string_view(type):
        return "words"
    numeric = types.is_integer(type) or types.is_floating(type) or types.is_decimal(type)
    return "numbers" if numeric or types.is_boolean(type) else "neither"


class _OtherKindError(Exception):
    """A column of a text file turned out to be of another kind; it has to be read as text."""


class Scan:
    """Some columns of a table, read once: a row of float64 for each row of the table.

    Arguments:
        table: where they are.
        names: of the columns.
        limit: bytes that may stay in memory.
        expected: what columns must be, where that is known: 'numbers' or 'words'.

    Attributes:
        columns: by their names, in order.
        rows: their values; words as their numbers, NaN where a value is missing.

    Raises:
        DataError: the table cannot be read or has no rows.
    """

    def __init__(
        self,
        table: TableSource,
        names: Sequence[str],
        limit: int,
        expected: Mapping[str, str] | None = None,
    ) -> None:
        self.table, self._names, self._limit = table, list(names), limit
        self._expected = dict(expected or {})
        texts = [name for name, kind in self._expected.items() if kind == "words" and name in names]
        while True:
            try:
                self._read(texts)
                break
            except _OtherKindError as other:
                texts.append(str(other))
        if not next(iter(self.columns.values())).rows:
            raise DataError(f"{table.where} has no rows")

    def place(self, name: str) -> int:
        """Which number of a row is that of a column."""
        return self._names.index(name)

    def _read(self, texts: Sequence[str]) -> None:
        self.columns = {name: Column(name, self._expected.get(name)) for name in self._names}
        self.rows = Spool((len(self._names),), np.float64, self._limit, self.table.where)
        for arrays in self.table.blocks(self._names, texts):
            block = np.empty((len(arrays[0]), len(self._names)))
            for k, (column, array) in enumerate(zip(self.columns.values(), arrays, strict=True)):
                if (
                    self.table.unit == "lines"
                    and column.name not in texts
                    and not column.fits(kind_of(array.type))
                ):
                    raise _OtherKindError(column.name)
                block[:, k] = column.add(array)
            self.rows.append(block)
