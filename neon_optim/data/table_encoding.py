"""Columns of a table as inputs: numbers with mean 0 and deviation 1, categories as one input each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim.data.columns import Column, Scan
from neon_optim.data.encoding import Classes, Encoding, Target, target_from_json
from neon_optim.data.tables import MemoryTable, TableSource, as_table, open_table
from neon_optim.described.listing import first_of
from neon_optim.described.words import suggestion
from neon_optim.errors import DataError, DataWarning
from neon_optim.model.samples import Rows

__all__ = ["Category", "Measure", "TableEncoding", "TableForm", "about_column", "check_columns"]

_BLOCK = 4_096


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


class TableEncoding(Encoding):
    """What is done with the columns of a table.

    Arguments:
        features: the columns that are inputs, in order.
        target: the column that the model is trained to give.

    The rows that it makes are numbers, (n, columns of numbers), the places of the inputs that are 1, (n, columns of
    words), and targets.
    """

    kind = "table"

    def __init__(self, features: Sequence[Measure | Category], target: Target):
        self.features, self.target = tuple(features), target
        begins = np.cumsum([0, *(feature.width for feature in self.features)]).tolist()
        self.width: int = begins[-1]
        self.begins = dict(zip(self.names, begins, strict=False))
        self._of_numbers = [self.begins[f.name] for f in self.features if isinstance(f, Measure)]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The number of inputs."""
        return (self.width,)

    @property
    def names(self) -> list[str]:
        """The columns that are inputs."""
        return [feature.name for feature in self.features]

    def inputs(self, data: Any) -> np.ndarray:
        """See :meth:`Encoding.inputs`."""
        return self._encoded(data, False)[0]

    def samples(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Encoding.samples`."""
        return self._encoded(data, True)

    def scanned(self, table: TableSource, with_target: bool, limit: int) -> Scan:
        """The columns that are needed of a table.

        Raises:
            DataError: it lacks one.
        """
        names = [*self.names, *([self.target.name] if with_target else [])]
        check_columns(names, table.names, table.where)
        kinds = {f.name: "numbers" if isinstance(f, Measure) else "words" for f in self.features}
        return Scan(table, names, limit, kinds)

    def inputs_of(self, rows: Rows) -> np.ndarray:
        """See :meth:`Encoding.inputs_of`."""
        numbers, places = rows[:2]
        count = len(numbers)
        columns = np.zeros(
            (self.width + 1, count), np.float32
        )  # the last for words that training has not seen
        columns[self._of_numbers] = numbers.T
        columns.reshape(-1)[places.astype(np.intp) * count + np.arange(count)[:, None]] = 1.0
        return columns[:-1].T

    def _encoded(self, data: Any, with_target: bool) -> tuple[np.ndarray, Any]:
        if isinstance(data, (str, os.PathLike)):
            table = open_table(data)
        else:
            table = MemoryTable(as_table(data, self.names), "the data")
        scan = self.scanned(table, with_target, limit=1 << 62)
        rows = TableForm(self, scan, with_target).rows(scan.rows.read(0, scan.rows.count))
        X = np.empty((len(rows[0]), self.width), np.float32)
        for at in range(0, len(X), _BLOCK):
            X[at : at + _BLOCK] = self.inputs_of(tuple(array[at : at + _BLOCK] for array in rows))
        return X, rows[-1] if with_target else None

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


class TableForm:
    """How the rows of one scan become those of an encoding.

    Arguments:
        encoding: what is done with columns.
        scan: the columns; words have the numbers that the scan gave them.
        with_target: whether the target is among them.
        drops: whether rows that lack a value have been left out.

    Raises:
        DataError: the columns hold what the encoding cannot take: all of it, with places.
    """

    def __init__(self, encoding: TableEncoding, scan: Scan, with_target: bool, drops: bool = False) -> None:
        problems: list[str] = []
        measures = [f for f in encoding.features if isinstance(f, Measure)]
        categories = [f for f in encoding.features if isinstance(f, Category)]
        for feature in encoding.features:
            kind = "numbers" if isinstance(feature, Measure) else "words"
            fills = feature.fill is not None or drops
            problems += about_column(scan, scan.columns[feature.name], kind, fills)
        if with_target and not drops:
            problems += _about_missing(scan, scan.columns[encoding.target.name])
        if problems:
            raise DataError("\n".join(problems))
        self._encoding = encoding
        self._measures = [scan.place(f.name) for f in measures]
        self._values = [scan.columns[f.name].values_of_words() for f in measures]
        self._mean = np.array([f.mean for f in measures])
        self._deviation = np.array([f.deviation for f in measures])
        self._fill = np.array([np.nan if f.fill is None else f.fill for f in measures])
        self._categories = [scan.place(f.name) for f in categories]
        self._places = [self._places_of(scan, f) for f in categories]
        self._place_type = np.int16 if encoding.width < 1 << 15 else np.int32
        self._target = scan.place(encoding.target.name) if with_target else None
        self._labels = _labels_of(encoding.target, scan) if with_target else None
        self._label = scan.columns[encoding.target.name].label_type if with_target else None

    def rows(self, raw: Any) -> Rows:
        """Rows of the encoding, of raw ones."""
        count = len(raw)
        numbers = raw[:, self._measures]
        for k, values in enumerate(self._values):
            if values is not None:
                numbers[:, k] = _looked_up(values, numbers[:, k], np.nan)
        missing = np.isnan(numbers)
        if missing.any():
            numbers = np.where(missing, self._fill, numbers)
        numbers -= self._mean
        numbers /= self._deviation
        places = np.empty((count, len(self._categories)), self._place_type)
        words = raw[:, self._categories]
        words[np.isnan(words)] = -1.0
        words = words.astype(np.intp)
        for k, known in enumerate(self._places):
            places[:, k] = known.take(words[:, k])
        if self._target is None:
            return numbers.astype(np.float32), places, np.zeros(count, np.int8)
        return numbers.astype(np.float32), places, self._targets(raw[:, self._target])

    def _targets(self, values: np.ndarray) -> np.ndarray:
        target = self._encoding.target
        if self._labels is not None:
            return self._labels[values.astype(np.intp)]
        if isinstance(target, Classes):
            return target.encoded(values.astype(self._label)).astype(np.int32)
        return target.encoded(values)

    def _places_of(self, scan: Scan, feature: Category) -> np.ndarray:
        """The input of each word of the scan; the last is that of a missing one."""
        column, width = scan.columns[feature.name], self._encoding.width
        begin = self._encoding.begins[feature.name]
        known = {word: begin + k for k, word in enumerate(feature.values)}
        new = [word for word in column.words if word not in known]
        if new:
            count = sum(int(column.counts[column.words[word]]) for word in new)
            warnings.warn(
                f"{scan.table.where}: {feature.name}: {count} rows hold what training has not seen, and count as none "
                f"of its values: {first_of(sorted(new), repr)}",
                DataWarning,
                stacklevel=2,
            )
        places = [known.get(word, width) for word in column.words]
        return np.array([*places, known.get(feature.fill or "", width)], np.int64)


def _labels_of(target: Target, scan: Scan) -> np.ndarray | None:
    """The class of each word of a target; None where it holds numbers.

    Raises:
        DataError: a word that is none of the classes.
    """
    column = scan.columns[target.name]
    if column.label != "str":
        return None
    if not isinstance(target, Classes):
        raise DataError(f"{scan.table.where}: {target.name}: words, where the model was trained on numbers")
    return target.encoded(np.array([*column.words], object)).astype(np.int32)


def _looked_up(values: np.ndarray, places: np.ndarray, missing: float) -> np.ndarray:
    return np.append(values, missing)[np.nan_to_num(places, nan=-1.0).astype(np.intp)]


def about_column(scan: Scan, column: Column, kind: str, fills: bool) -> list[str]:
    """What is wrong with a column that is to be an input, or the target.

    Arguments:
        kind: what it is taken for, 'numbers', 'words' or 'target'.
        fills: whether values may be missing.
    """
    where = f"{scan.table.where}: {column.name}"
    if column.odd_type is not None:
        return [f"{where}: {_about_type(column.odd_type, kind)}"]
    found: list[str] = []
    if kind == "numbers" and column.stray.count:
        found += [f"{where}: {column.stray.count} values are no numbers:", *column.stray.lines(scan.table)]
    if column.infinite.count:
        at = column.infinite.listed(scan.table)
        found.append(f"{where}: {column.infinite.count} values are infinite ({scan.table.unit} {at})")
    return found + ([] if fills else _about_missing(scan, column))


def _about_missing(scan: Scan, column: Column) -> list[str]:
    if not column.missing.count:
        return []
    share = f"{column.missing.count:,} of {column.rows:,} values are missing"
    listed = column.missing.listed(scan.table)
    return [f"{scan.table.where}: {column.name}: {share} ({scan.table.unit} {listed})"]


def _about_type(type: Any, kind: str) -> str:
    import pyarrow as pa

    if kind == "target":
        return f"a column of the type {type} is no target"
    if pa.types.is_temporal(type):
        return f"dates and times ({type}) are no inputs; make numbers of them, or leave the column out of the features"
    return f"a column of the type {type} is no input; leave it out of the features"


def check_columns(wanted: Sequence[str], known: Sequence[str], where: str) -> None:
    """Refuse columns that a table lacks."""
    unknown = [name for name in wanted if name not in known]
    if unknown:
        lines = [f"{where}: there is no column {name!r}{suggestion(name, known)}" for name in unknown]
        raise DataError("\n".join([*lines, f"its columns are {', '.join(known)}"]))
