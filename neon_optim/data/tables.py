"""Reads tables block by block: CSV and Parquet files, and what programs have in memory, as pyarrow's arrays."""

from __future__ import annotations

import codecs
import csv
import io
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.described.listing import first_lines
from neon_optim.errors import DataError, shown

__all__ = [
    "MISSING_WORDS",
    "TABLE_FORMATS",
    "CsvTable",
    "MemoryTable",
    "TableSource",
    "as_table",
    "open_table",
]

TABLE_FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}
"""The format of a table by the ending of its file."""

MISSING_WORDS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?")
"""What stands for a missing value."""

_SEPARATORS = ",;\t|"
_SNIFFED = 1 << 16
_BLOCK = 1 << 23
"""Bytes of a CSV file that are parsed at a time."""
_LONGEST_QUOTED = 1 << 26
_QUOTE = ord('"')
_BATCH = 1 << 16
"""Rows of other tables that are read at a time."""
_MOST_WORKERS = 8
_DICTIONARY = 1_000


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            "tables are read by pyarrow, which is not installed: pip install 'neon_optim[data]'"
        ) from error
    return pyarrow


class TableSource(ABC):
    """A table that can be read from its beginning, again and again.

    Attributes:
        where: its name in messages.
        names: of its columns, without white space around them.
    """

    unit = "rows"
    where: str

    def __init__(self, where: str, raw_names: Sequence[str]) -> None:
        self.where, self._raw_names = where, list(raw_names)
        self.names = [name.strip() for name in raw_names]
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise DataError(f"{where}: the column {', '.join(map(repr, twice))} stands there more than once")

    @abstractmethod
    def blocks(self, columns: Sequence[str], texts: Collection[str] = ()) -> Iterator[list[Any]]:
        """The arrays of some columns, in the order given, for one part of the rows after the other.

        Arguments:
            texts: columns that are read as text, whatever they look like.

        Raises:
            DataError: the table cannot be read.
        """

    def places(self, rows: Sequence[int]) -> list[int]:
        """Where people find rows (from 0): their numbers, or the lines of a text."""
        return list(rows)

    def _raw(self, name: str) -> str:
        return self._raw_names[self.names.index(name)]


class MemoryTable(TableSource):
    """What a program has: one of pyarrow's tables."""

    def __init__(self, table: Any, where: str = "the table") -> None:
        super().__init__(where, table.column_names)
        self._table = table

    def blocks(self, columns: Sequence[str], texts: Collection[str] = ()) -> Iterator[list[Any]]:
        """See :meth:`TableSource.blocks`."""
        raw = [self._raw(name) for name in columns]
        for batch in self._table.to_batches(_BATCH):
            yield [batch.column(name) for name in raw]


class ParquetTable(TableSource):
    """A Parquet file, read in parts of its row groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(path, "parquet") as pa:
            self._schema = pa.parquet.read_schema(path)
        super().__init__(str(path), self._schema.names)

    def blocks(self, columns: Sequence[str], texts: Collection[str] = ()) -> Iterator[list[Any]]:
        """See :meth:`TableSource.blocks`."""
        raw = [self._raw(name) for name in columns]
        with _reading(self._path, "parquet") as pa:
            words = [name for name in raw if pa.types.is_string(self._schema.field(name).type)]
            with pa.parquet.ParquetFile(
                self._path, read_dictionary=words, buffer_size=1 << 20, pre_buffer=False
            ) as file:
                for batch in file.iter_batches(_BATCH, columns=raw):
                    yield [batch.column(name) for name in raw]


class CsvTable(TableSource):
    """A text file, parsed in blocks by several threads; fields are separated by commas, semicolons, tabs or bars."""

    unit = "lines"

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(path, "csv"), open(path, "rb") as file:
            head = file.read(_SNIFFED)
        if not head.strip():
            raise DataError(f"{path} is empty")
        text = codecs.getincrementaldecoder("utf-8-sig")("replace").decode(head)
        self._separator = max(_SEPARATORS, key=text.splitlines()[0].count)
        super().__init__(
            str(path), next(csv.reader(io.StringIO(text, newline=""), delimiter=self._separator))
        )

    def blocks(self, columns: Sequence[str], texts: Collection[str] = ()) -> Iterator[list[Any]]:
        """See :meth:`TableSource.blocks`."""
        raw, as_text = [self._raw(name) for name in columns], [self._raw(name) for name in texts]
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        with _reading(self._path, "csv") as pa:
            options = pa.csv.ConvertOptions(
                null_values=MISSING_WORDS,
                strings_can_be_null=True,
                include_columns=raw,
                column_types={name: pa.string() for name in as_text},
                auto_dict_encode=True,
                auto_dict_max_cardinality=_DICTIONARY,
            )
            with ThreadPoolExecutor(workers, "neon_optim-csv") as pool:
                parsing: deque[Future[Any]] = deque()
                for number, text in enumerate(self._texts()):
                    parsing.append(pool.submit(self._parsed, text, number == 0, options))
                    if len(parsing) > workers:
                        yield from parsing.popleft().result()
                while parsing:
                    yield from parsing.popleft().result()

    def places(self, rows: Sequence[int]) -> list[int]:
        """See :meth:`TableSource.places`: the lines where rows begin, with empty lines counted."""
        wanted, found, row, before = set(rows), {}, -1, 0
        with open(self._path, newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.reader(file, delimiter=self._separator)
            for fields in reader:
                if fields:
                    if row in wanted:
                        found[row] = before + 1
                        if len(found) == len(wanted):
                            break
                    row += 1
                before = reader.line_num
        return [found.get(row, row + 2) for row in rows]

    def _texts(self) -> Iterator[bytes]:
        """The file in pieces of whole rows."""
        left = b""
        with open(self._path, "rb") as file:
            while data := file.read(_BLOCK):
                text = left + data if left else data
                end = _end_of_rows(text)
                left = text[end:]
                if end:
                    yield text[:end]
        if left:
            yield left

    def _parsed(self, text: bytes, has_names: bool, options: Any) -> list[list[Any]]:
        import pyarrow as pa
        import pyarrow.csv

        wrong: list[Any] = []

        def noted(row: Any) -> str:
            wrong.append(row)
            return "skip"

        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(text),
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False,
                    block_size=len(text) + 1,
                    column_names=None if has_names else self._raw_names,
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self._separator,
                    invalid_row_handler=noted,
                ),
                convert_options=options,
            )
        except pa.ArrowInvalid as error:
            if "invalid UTF8" in str(error):
                self._refuse_bytes()
            raise
        if wrong:
            self._refuse_lines(wrong[0].expected_columns)
        if any(pa.types.is_binary(field.type) for field in table.schema):
            self._refuse_bytes()
        return [[batch.column(name) for name in options.include_columns] for batch in table.to_batches()]

    def _refuse_lines(self, expected: int) -> None:
        """Raise the error that lists the lines whose number of fields is another."""
        with open(self._path, newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.reader(file, delimiter=self._separator)
            found = [(reader.line_num, len(fields)) for fields in reader if len(fields) not in (0, expected)]
        lines = first_lines(found, lambda of_line: "line {}: {}".format(*of_line))
        text = f"{self._path}: lines with another number of fields than the first, which has {expected}:"
        raise DataError("\n".join([text, *lines]))

    def _refuse_bytes(self) -> None:
        """Raise the error that lists the lines that are no UTF-8."""
        found = []
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    found.append((number, line[error.start : error.start + 1].hex()))
        lines = first_lines(found, lambda of_line: "line {}: the byte 0x{}".format(*of_line))
        text = f"{self._path}: the text is no UTF-8; save the file in that encoding:"
        raise DataError("\n".join([text, *lines]))


def _end_of_rows(text: bytes) -> int:
    """Where the last whole row ends; 0 where there is none. Line ends between quotes end no row."""
    end = text.rfind(b"\n") + 1
    if b'"' in text and len(text) < _LONGEST_QUOTED:
        is_quote = np.frombuffer(text, np.uint8) == _QUOTE
        while end and np.count_nonzero(is_quote[:end]) % 2:
            end = text.rfind(b"\n", 0, end - 1) + 1
    return end


def open_table(path: str | os.PathLike[str], format: str | None = None) -> TableSource:
    """The table in a file. Names of columns and texts are without white space around them.

    Arguments:
        format: 'csv' (separated by commas, semicolons, tabs or bars, with a line of names) or 'parquet'; None: by the
            ending of the file.

    Raises:
        DataError: the file cannot be read or is empty.
    """
    path = Path(path).expanduser()
    kind = format or TABLE_FORMATS.get(path.suffix.lower())
    if kind not in ("csv", "parquet"):
        endings = ", ".join(TABLE_FORMATS)
        raise DataError(f"{path}: a table is known by the ending of its file, one of {endings}")
    return CsvTable(path) if kind == "csv" else ParquetTable(path)


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[Any]:
    """Within the block errors of reading are ours; gives pyarrow."""
    pa = _pyarrow()
    try:
        yield pa
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a table") from None
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}") from error
    except (pa.ArrowException, csv.Error) as error:
        raise DataError(f"{path} is no {kind} file: {str(error).splitlines()[0]}") from error


def as_table(values: Any, names: list[str]) -> Any:
    """A table of what a program has: a table, a data frame, a mapping from names to columns, or a matrix.

    Arguments:
        names: the columns of a matrix, in order.
    """
    pa = _pyarrow()
    if isinstance(values, pa.Table):
        return values
    if isinstance(values, Mapping) or (hasattr(values, "columns") and hasattr(values, "__getitem__")):
        keys = list(values if isinstance(values, Mapping) else values.columns)
        columns = {str(key): np.asarray(values[key]) for key in keys}
        try:
            return pa.table({key: pa.array(column, from_pandas=True) for key, column in columns.items()})
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
            raise DataError(f"the columns make no table: {error}") from error
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(names):
        received = (
            f"an array of shape {array.shape}" if array.dtype != object or array.ndim else shown(values)
        )
        raise DataError(
            f"inputs must be a table, a data frame, a mapping from names to columns, or an array of (samples, "
            f"{len(names)}) with the columns {', '.join(names)}; received {received}"
        )
    return pa.table({name: pa.array(array[:, k].tolist()) for k, name in enumerate(names)})
