"""Columns of a table as inputs: numbers with mean 0 and deviation 1, categories as one input each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim.data.encoding import Encoding, Target, standardizing, target_from_json
from neon_optim.data.tables import as_table, line_of, read_table
from neon_optim.described.listing import first_lines, first_of
from neon_optim.described.words import suggestion
from neon_optim.errors import DataError, DataWarning

__all__ = [
    "Category",
    "Measure",
    "TableEncoding",
    "complete_rows",
    "target_values",
    "used_columns",
    "useless_columns",
]

_MOST_CATEGORIES = 1_000
_FEW_CATEGORIES = 50
"""Different words of a column, at most, and those that it may have in however few rows."""

_BLOCK = 4_096
_STRAY = 0.05
"""The share of values that are no numbers up to which a column is taken for one of numbers, with mistakes in it."""


@dataclass(frozen=True)
class Measure:
    """A column of numbers.

    Attributes:
        mean, deviation: of the samples to train on.
        fill: what stands for a missing number; None: none may be missing.
    """

    name: str
    mean: float
    deviation: float
    fill: float | None = None
    width = 1

    def encoded(self, column: Any, where: str) -> np.ndarray:
        """A column of a table as the model sees it, in float32."""
        numbers = _numbers(column, self.name, where)
        missing = np.isnan(numbers)
        if missing.any():
            if self.fill is None:
                raise DataError(_about_missing({self.name: missing}, where))
            numbers = np.where(missing, self.fill, numbers)
        return ((numbers - self.mean) / self.deviation).astype(np.float32)


@dataclass(frozen=True)
class Category:
    """A column of words; each that was seen in training is an input of its own, which is 1 where it stands.

    Attributes:
        values: the words, in the order of the inputs.
        fill: what stands for a missing word; None: none may be missing.
    """

    name: str
    values: tuple[str, ...]
    fill: str | None = None

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.values)

    def encoded(self, column: Any, where: str) -> np.ndarray:
        """For each row the place of its word; -1 for one that is new, with a warning."""
        words = _words(column)
        missing = _is_null(words)
        if missing.any():
            if self.fill is None:
                raise DataError(_about_missing({self.name: missing}, where))
            words = words.fill_null(self.fill)
        places = _places(words, self.values)
        known = places >= 0
        if not known.all():
            new = sorted(set(words.filter(_arrow_mask(~known)).to_pylist()))
            warnings.warn(
                f"{where}: {self.name}: {int((~known).sum())} rows hold what training has not seen, and count as none "
                f"of its values: {first_of(new, repr)}",
                DataWarning,
                stacklevel=2,
            )
        return places


class TableEncoding(Encoding):
    """What is done with the columns of a table.

    Arguments:
        features: the columns that are inputs, in order.
        target: the column that the model is trained to give.
    """

    kind = "table"

    def __init__(self, features: Sequence[Measure | Category], target: Target):
        self.features, self.target = tuple(features), target

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The number of inputs."""
        return (sum(feature.width for feature in self.features),)

    @property
    def names(self) -> list[str]:
        """The columns that are inputs."""
        return [feature.name for feature in self.features]

    @classmethod
    def learned(
        cls,
        table: Any,
        rows: np.ndarray,
        features: Sequence[str],
        target: Target,
        fills: bool,
        where: str,
    ) -> TableEncoding:
        """From a table, of which some rows are to train on; the others are only checked.

        Arguments:
            rows: numbers of the rows to train on.
            features: the columns that are inputs.
            fills: let the mean, or the most frequent word, stand for what is missing; else nothing may be.

        Raises:
            DataError: a column is missing, or is neither numbers nor words; all mistakes at once.
        """
        problems: list[str] = []
        learned: list[Measure | Category] = []
        for name in features:
            try:
                learned.append(_feature(table.column(name), rows, name, fills, where))
            except DataError as error:
                problems += str(error).splitlines()
        if problems:
            raise DataError("\n".join(problems))
        return cls(learned, target)

    def inputs(self, data: Any) -> np.ndarray:
        """See :meth:`Encoding.inputs`."""
        return self.encoded(*_table(data, self.names))

    def samples(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Encoding.samples`."""
        table, where = _table(data, [*self.names, self.target.name])
        return self.encoded(table, where), self.encoded_target(table, where)

    def encoded(self, table: Any, where: str) -> np.ndarray:
        """The inputs, (samples, inputs), in float32."""
        return self.assembled(self.columns(table, where), np.arange(table.num_rows))

    def columns(self, table: Any, where: str) -> list[np.ndarray]:
        """What each column gives: numbers as the model sees them, or the places of words."""
        unknown = [name for name in self.names if name not in table.column_names]
        if unknown:
            raise DataError(_about_unknown(unknown, table.column_names, where))
        return [feature.encoded(table.column(feature.name), where) for feature in self.features]

    def assembled(self, columns: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """The inputs of some rows, made of what the columns give."""
        columns = [column[rows] for column in columns]
        count = len(rows)
        X = np.zeros((count, *self.shape), np.float32)
        for first in range(0, count, _BLOCK):  # rows whose inputs are near to the processor
            self._fill(X[first : first + _BLOCK], [column[first : first + _BLOCK] for column in columns])
        return X

    def _fill(self, X: np.ndarray, columns: Sequence[np.ndarray]) -> None:
        begin, every = 0, np.arange(len(X))
        for feature, column in zip(self.features, columns, strict=True):
            if isinstance(feature, Measure):
                X[:, begin] = column
            elif (column >= 0).all():
                X[every, begin + column] = 1.0
            else:
                known = column >= 0
                X[every[known], begin + column[known]] = 1.0
            begin += feature.width

    def encoded_target(self, table: Any, where: str) -> np.ndarray:
        """The targets as the model sees them."""
        name = self.target.name
        if name not in table.column_names:
            raise DataError(_about_unknown([name], table.column_names, where))
        return self.target.encoded(target_values(table.column(name), name, where))

    def to_json(self) -> dict[str, Any]:
        """See :meth:`Encoding.to_json`."""
        features = [
            {"column": f.name, "mean": f.mean, "deviation": f.deviation, "fill": f.fill}
            if isinstance(f, Measure)
            else {"column": f.name, "values": list(f.values), "fill": f.fill}
            for f in self.features
        ]
        return {"kind": self.kind, "features": features, "target": self.target.to_json()}

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> TableEncoding:
        """See :meth:`Encoding.from_json`."""
        features: list[Measure | Category] = [
            Category(f["column"], tuple(f["values"]), f["fill"])
            if "values" in f
            else Measure(f["column"], f["mean"], f["deviation"], f["fill"])
            for f in described["features"]
        ]
        return cls(features, target_from_json(described["target"]))

    def summary(self) -> list[str]:
        """See :meth:`Encoding.summary`."""
        lines = []
        numbers = [f.name for f in self.features if isinstance(f, Measure)]
        if numbers:
            lines.append(f"{len(numbers)} columns of numbers, standardized: {', '.join(numbers)}")
        words = [f"{f.name} ({f.width})" for f in self.features if isinstance(f, Category)]
        if words:
            lines.append(f"{len(words)} columns of words, an input for each word: {', '.join(words)}")
        return lines


def _table(data: Any, names: list[str]) -> tuple[Any, str]:
    if isinstance(data, (str, os.PathLike)):
        return read_table(data), str(data)
    return as_table(data, names), "the data"


def used_columns(table: Any, target: str, features: Sequence[str] | None, where: str) -> list[str]:
    """The columns that are inputs.

    Raises:
        DataError: the table lacks one of them, or the target.
    """
    known = table.column_names
    wanted = [name for name in known if name != target] if features is None else list(features)
    unknown = [name for name in [target, *wanted] if name not in known]
    if unknown:
        raise DataError(_about_unknown(unknown, known, where))
    if target in wanted:
        raise DataError(f"{where}: the target {target!r} cannot be one of the features as well")
    return wanted


def useless_columns(table: Any, target: str, where: str) -> dict[str, str]:
    """Columns that can be no inputs, or tell nothing but which row it is; with the reason."""
    reasons: dict[str, str] = {}
    rows = np.arange(table.num_rows)
    for name in table.column_names:
        if name == target:
            continue
        column = table.column(name)
        try:
            feature = _feature(column, rows, name, True, where)
        except DataError as error:
            reasons[name] = str(error).splitlines()[0].removeprefix(f"{where}: {name}: ")
            continue
        if isinstance(feature, Measure) and _counts_rows(column):
            reasons[name] = "it numbers the rows"
        elif isinstance(feature, Category) and feature.width == table.num_rows > 1:
            reasons[name] = "each row has a word of its own"
    return reasons


def _counts_rows(column: Any) -> bool:
    """Whether a column of integers rises by one from row to row."""
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count or len(column) < 3:
        return False
    return bool((np.diff(column.to_numpy()) == 1).all())


def complete_rows(table: Any, names: Sequence[str], where: str) -> np.ndarray:
    """Which rows of a table have all of some columns."""
    complete = np.ones(table.num_rows, bool)
    for name in names:
        column = table.column(name)
        complete &= ~_is_null(column)
        if not _holds_words(column):
            complete &= ~np.isnan(_numbers(column, name, where))
    return complete


def _holds_words(column: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(column.type)) and not _are_nearly_numbers(column)


def _feature(column: Any, rows: np.ndarray, name: str, fills: bool, where: str) -> Measure | Category:
    """What is learned of a column from the rows to train on."""
    if not _holds_words(column):
        numbers = _numbers(column, name, where)
        missing = np.isnan(numbers)
        if missing.any() and not fills:
            raise DataError(_about_missing({name: missing}, where))
        present = numbers[rows][~missing[rows]]
        if not len(present):
            raise DataError(f"{where}: {name}: there is no value to train on; leave it out of the features")
        (mean,), (deviation,) = standardizing(present)
        return Measure(name, mean, deviation, mean if fills else None)
    missing = _is_null(column)
    if missing.any() and not fills:
        raise DataError(_about_missing({name: missing}, where))
    counts = _counts(column, rows)
    if len(counts) > _MOST_CATEGORIES or 2 * len(counts) > max(len(rows), 2 * _FEW_CATEGORIES):
        raise DataError(
            f"{where}: {name}: {len(counts):,} different words in {len(rows):,} rows: it is no category, rather a name "
            "or a text; leave it out of the features"
        )
    values = tuple(sorted(counts))
    return Category(name, values, max(values, key=lambda word: counts[word]) if fills else None)


def _counts(column: Any, rows: np.ndarray) -> dict[str, int]:
    import pyarrow as pa

    words = column.take(pa.array(rows)).drop_null()
    return {item["values"]: item["counts"] for item in words.value_counts().to_pylist()}


def _numbers(column: Any, name: str, where: str) -> np.ndarray:
    """A column as float64; NaN where nothing stands.

    Raises:
        DataError: it holds something else, with the places.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind):
        numbers, wrong = _parsed(column)
        if wrong:
            places = first_lines(wrong, lambda row: f"line {line_of(row)}: {column[row].as_py()!r}")
            raise DataError("\n".join([f"{where}: {name}: {len(wrong)} values are no numbers:", *places]))
        return numbers
    if pa.types.is_temporal(kind):
        raise DataError(
            f"{where}: {name}: dates and times ({kind}) are no inputs; make numbers of them, or leave the column out "
            "of the features"
        )
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        if pa.types.is_null(kind):
            return np.full(len(column), np.nan)
        raise DataError(
            f"{where}: {name}: a column of the type {kind} is no input; leave it out of the features"
        )
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    numbers = np.asarray(pc.cast(column, pa.float64()).to_numpy())
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise DataError(
            f"{where}: {name}: {len(infinite)} values are infinite, first in line {line_of(int(infinite[0]))}"
        )
    return numbers


def _parsed(column: Any) -> tuple[np.ndarray, list[int]]:
    """Words as numbers, and the rows where they are none."""
    numbers = np.full(len(column), np.nan)
    wrong: list[int] = []
    for row, word in enumerate(column.to_pylist()):
        if word is not None:
            try:
                numbers[row] = float(word)
            except ValueError:
                wrong.append(row)
    return numbers, wrong


def _are_nearly_numbers(column: Any) -> bool:
    """Whether nearly all of some words are numbers: then the others are mistakes."""
    words = column.drop_null()
    for some in (words.slice(0, 1_000), words):  # of most columns of words a few tell
        _, wrong = _parsed(some)
        if len(wrong) > max(1, _STRAY * len(some)) or 2 * len(wrong) >= len(some):
            return False
    return True


def target_values(column: Any, name: str, where: str) -> np.ndarray:
    """The values of a column that is a target: words, or numbers.

    Raises:
        DataError: some are missing, or they are neither.
    """
    import pyarrow as pa

    missing = _is_null(column)
    if missing.any():
        raise DataError(_about_missing({name: missing}, where))
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), object)
    values = column.to_numpy()
    if values.dtype.kind not in "iufb":
        raise DataError(f"{where}: {name}: a column of the type {column.type} is no target")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(_about_missing({name: ~np.isfinite(values)}, where))
    return values


def _words(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return column if pa.types.is_string(column.type) else pc.cast(column, pa.string())


def _is_null(column: Any) -> np.ndarray:
    return np.asarray(column.is_null().to_numpy())


def _arrow_mask(mask: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.array(mask)


def _places(words: Any, values: Sequence[str]) -> np.ndarray:
    """The place of each word among the values; -1 where it is none of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(words, value_set=pa.array(values, pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy())


def _about_missing(missing: Mapping[str, np.ndarray], where: str) -> str:
    lines = []
    for name, rows in missing.items():
        listed = first_of(np.flatnonzero(rows).tolist(), lambda row: str(line_of(row)))
        share = f"{int(rows.sum()):,} of {len(rows):,} values are missing"
        lines.append(f"{where}: {name}: {share} (lines {listed})")
    return "\n".join(lines)


def _about_unknown(unknown: Sequence[str], known: Sequence[str], where: str) -> str:
    lines = [f"{where}: there is no column {name!r}{suggestion(name, known)}" for name in unknown]
    return "\n".join([*lines, f"its columns are {', '.join(known)}"])
