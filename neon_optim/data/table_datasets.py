"""Tables of the users as datasets: ``dataset: {name: csv, path: iris.csv, target: species}``."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar, Literal

from neon_optim.data.encoded_dataset import EncodedDataset
from neon_optim.data.encoding import Encoding
from neon_optim.data.table_encoding import TableEncoding, complete_rows, target_values, used_columns
from neon_optim.data.tables import read_table
from neon_optim.described.arguments import Name
from neon_optim.described.checks import Either, Items, Nothing, Text
from neon_optim.described.registry import register
from neon_optim.errors import DataError
from neon_optim.model.datasets import Arrays

__all__ = ["Csv", "Parquet", "TableDataset"]

Columns = Annotated[Any, Either(Items(Text()), Nothing())]


class TableDataset(EncodedDataset, abstract=True):
    """A table in a file.

    Arguments:
        path: of the file; relative to the current folder.
        target: the column that the model is trained to give.
        features: the columns that are its inputs; None: all others.
        missing: what is done where a value is missing: 'error', 'mean' (the mean, or the most frequent word, stands for
            it), or 'drop' (the row is left out).
    """

    positional: ClassVar[tuple[str, ...]] = ("path", "target", "features")
    format: ClassVar[str]

    _: KW_ONLY
    path: str
    target: str
    features: Columns = None
    missing: Literal["error", "mean", "drop"] = "error"

    def blamed(self, message: str) -> str:
        """See :meth:`EncodedDataset.blamed`."""
        if f"no column {self.target!r}" in message:
            return "target"
        return "features" if "no column" in message and self.features is not None else "path"

    def read(self) -> tuple[Encoding, Arrays, Arrays]:
        """See :meth:`EncodedDataset.read`."""
        table, names = self._table(self.path)
        values = target_values(table.column(self.target), self.target, self.path)
        target, train, valid = self.split(self.target, values)
        encoding = TableEncoding.learned(table, train, names, target, self.missing == "mean", self.path)
        y = target.encoded(values)
        if not isinstance(self.validation, str):
            columns = encoding.columns(table, self.path)
            parts = [(encoding.assembled(columns, rows), y[rows]) for rows in (train, valid)]
            return encoding, parts[0], parts[1]
        X = encoding.encoded(table, self.path)
        other, _ = self._table(self.validation)
        return (
            encoding,
            (X, y),
            (
                encoding.encoded(other, self.validation),
                encoding.encoded_target(other, self.validation),
            ),
        )

    def _table(self, path: str) -> tuple[Any, list[str]]:
        """The table in a file, and its columns that are inputs."""
        table = read_table(path, self.format)
        names = used_columns(table, self.target, self.features, path)
        if self.missing == "drop":
            complete = complete_rows(table, [*names, self.target], path)
            if not complete.any():
                raise DataError(f"{path}: every row lacks a value; none is left with missing: drop")
            table = table.filter(complete)
        return table, names


@register(name="csv")
class Csv(TableDataset):
    """A table in a text file: a line for each row, with commas, semicolons, tabs or bars between the fields.

    The first line holds the names of the columns. Columns of numbers are standardized with the mean and the deviation
    of the rows to train on; each word of a column of words becomes an input of its own.

    Arguments:
        path: of the file; relative to the current folder.
        target: the column that the model is trained to give.
        features: the columns that are its inputs; None: all others.
        validation: the share of the rows that is kept for validation, of each class where there are classes; or the
            path of another file to validate with.
        split_seed: decides which rows.
        task: 'classification' or 'regression'; 'auto': classes where targets are words, truth values, or integers of
            few different values.
        missing: what is done where a value is missing: 'error', 'mean' (the mean, or the most frequent word, stands for
            it), or 'drop' (the row is left out).
    """

    format = "csv"
    name: Name = "csv"


@register(name="parquet")
class Parquet(TableDataset):
    """A table in a Parquet file. Its columns and arguments are treated as those of :class:`Csv`."""

    format = "parquet"
    name: Name = "parquet"
