"""Tables of the users as datasets: ``dataset: {name: csv, path: iris.csv, target: species}``."""

from __future__ import annotations

from dataclasses import KW_ONLY
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from neon_optim.data.columns import Scan
from neon_optim.data.encoded_dataset import EncodedDataset, Parts
from neon_optim.data.encoded_samples import EncodedSamples, HeldRows, RowSource, StreamedRows
from neon_optim.data.learning import Chosen, chunks_of
from neon_optim.data.spool import Spool
from neon_optim.data.table_encoding import TableEncoding, TableForm, check_columns
from neon_optim.data.table_learning import TableLearning
from neon_optim.data.tables import open_table
from neon_optim.described.arguments import Name
from neon_optim.described.checks import Either, Items, Nothing, Text
from neon_optim.described.registry import register
from neon_optim.errors import DataError

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

    @classmethod
    def of(cls, scan: Scan, **arguments: Any) -> TableDataset:
        """The dataset of a table whose columns have been read already."""
        made = cls(**arguments)
        vars(made)["scan"] = scan
        return made

    def blamed(self, message: str) -> str:
        """See :meth:`EncodedDataset.blamed`."""
        if f"no column {self.target!r}" in message:
            return "target"
        return "features" if "no column" in message and self.features is not None else "path"

    @cached_property
    def scan(self) -> Scan:
        """The columns that are used."""
        table = open_table(self.path, self.format)
        return Scan(table, [*self._features(table.names), self.target], self._in_memory)

    @property
    def _in_memory(self) -> int:
        """Bytes of a table that may stay in memory as they were read, beside what is made of them."""
        return self.memory_bytes // 2

    def _features(self, known: list[str]) -> list[str]:
        """The columns that are inputs.

        Raises:
            DataError: the table lacks one of them, or the target.
        """
        wanted = (
            [name for name in known if name != self.target] if self.features is None else list(self.features)
        )
        check_columns([self.target, *wanted], known, self.path)
        if self.target in wanted:
            raise DataError(f"{self.path}: the target {self.target!r} cannot be one of the features as well")
        if not wanted:
            raise DataError(f"{self.path}: there is no column beside the target that could be an input")
        return wanted

    def read(self) -> Parts:
        """See :meth:`EncodedDataset.read`."""
        scan = self.scan
        features = self._features(list(scan.columns))
        drops = self.missing == "drop"
        learned = TableLearning(
            scan, features, self.target, self.task, self.missing, self.share, self.split_seed
        )
        self.check_counts(*learned.counts)
        encoding = learned.encoding
        form = TableForm(encoding, scan, True, drops)
        train = self._samples(encoding, scan, form, scan.rows, learned.train)
        if isinstance(self.validation, str):
            other = encoding.scanned(open_table(self.validation, self.format), True, self._in_memory)
            every = _complete(other) if drops else None
            form = TableForm(encoding, other, True, drops)
            valid = self._samples(encoding, other, form, other.rows, every)
        elif learned.apart is not None:
            valid = self._samples(encoding, scan, form, learned.apart, None)
        else:
            valid = self._samples(encoding, scan, form, scan.rows, learned.valid)
        del vars(self)["scan"]  # what is needed of it is in the samples
        return Parts(encoding, train, valid)

    def _samples(
        self, encoding: TableEncoding, scan: Scan, form: TableForm, rows: Spool, chosen: Chosen | None
    ) -> EncodedSamples:
        source: RowSource = StreamedRows(rows, form.rows, chosen, self.memory_bytes)
        if not rows.on_disk:
            source = HeldRows(source.all())
        return EncodedSamples(source, encoding, scan.rows.digest())


def _complete(scan: Scan) -> Chosen:
    """The rows that lack no value."""
    found = Chosen()
    for first, last in chunks_of(scan.rows.count, scan.rows.shape[0]):
        found.add(~np.isnan(scan.rows.read(first, last)).any(axis=1))
    return found


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
        memory: what samples may take of it, in bytes or as '500MB' or '4GB'. More than that goes to a temporary file
            and is read again in each epoch, in windows of a quarter of it.
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
