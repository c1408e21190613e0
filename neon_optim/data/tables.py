"""Reads tables: CSV and Parquet files, and what programs have in memory, as pyarrow's Table."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.described.listing import first_lines
from neon_optim.errors import DataError, shown

__all__ = ["TABLE_FORMATS", "as_table", "line_of", "read_table"]

TABLE_FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}
"""The format of a table by the ending of its file."""

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?"]
_SEPARATORS = ",;\t|"
_SNIFFED = 1 << 16


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


def read_table(path: str | os.PathLike[str], format: str | None = None) -> Any:
    """The table in a file. Names of columns and texts are without white space around them.

    Arguments:
        format: 'csv' (separated by commas, semicolons, tabs or bars, with a line of names) or 'parquet'; None: by the
            ending of the file.

    Raises:
        DataError: the file cannot be read, is empty, or has lines of another length: each of these with its line.
    """
    path = Path(path).expanduser()
    kind = format or TABLE_FORMATS.get(path.suffix.lower())
    if kind not in ("csv", "parquet"):
        endings = ", ".join(TABLE_FORMATS)
        raise DataError(f"{path}: a table is known by the ending of its file, one of {endings}")
    pa = _pyarrow()
    try:
        table = _read_csv(pa, path) if kind == "csv" else pa.parquet.read_table(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a table") from None
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}") from error
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no {kind} file: {str(error).splitlines()[0]}") from error
    return _tidy(pa, table, str(path))


def as_table(values: Any, names: list[str]) -> Any:
    """A table of what a program has: a table, a data frame, a mapping from names to columns, or a matrix.

    Arguments:
        names: the columns of a matrix, in order.
    """
    pa = _pyarrow()
    if isinstance(values, pa.Table):
        return _tidy(pa, values, "the table")
    if isinstance(values, Mapping) or (hasattr(values, "columns") and hasattr(values, "__getitem__")):
        keys = list(values if isinstance(values, Mapping) else values.columns)
        columns = {str(key): np.asarray(values[key]) for key in keys}
        try:
            table = pa.table({key: pa.array(column, from_pandas=True) for key, column in columns.items()})
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
            raise DataError(f"the columns make no table: {error}") from error
        return _tidy(pa, table, "the table")
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(names):
        received = (
            f"an array of shape {array.shape}" if array.dtype != object or array.ndim else shown(values)
        )
        raise DataError(
            f"inputs must be a table, a data frame, a mapping from names to columns, or an array of (samples, "
            f"{len(names)}) with the columns {', '.join(names)}; received {received}"
        )
    return _tidy(
        pa, pa.table({name: pa.array(array[:, k].tolist()) for k, name in enumerate(names)}), "the array"
    )


def line_of(row: int) -> int:
    """The line of a CSV file in which a row (from 0) stands: names are in the first, and a row takes one."""
    return row + 2


def _read_csv(pa: Any, path: Path) -> Any:
    with open(path, "rb") as file:
        head = file.read(_SNIFFED)
    if not head.strip():
        raise DataError(f"{path} is empty")
    separator = _separator(head)
    as_text: dict[str, Any] = {}
    while True:
        wrong: list[Any] = []
        try:
            table = pa.csv.read_csv(
                path,
                parse_options=pa.csv.ParseOptions(
                    delimiter=separator,
                    invalid_row_handler=lambda row, wrong=wrong: wrong.append(row) or "skip",
                ),
                convert_options=pa.csv.ConvertOptions(
                    null_values=_MISSING, strings_can_be_null=True, column_types=as_text
                ),
            )
        except pa.ArrowInvalid as error:
            name = _column_of_other_type(str(error), head, separator)
            if name is None or name in as_text:
                raise
            as_text[name] = pa.string()  # so that whoever wants numbers can say which are none
            continue
        if wrong:
            _refuse_lines(path, wrong[0].expected_columns, separator)
        return table


def _separator(head: bytes) -> str:
    """What stands between the fields of the first line."""
    first = head.split(b"\n", 1)[0].decode("utf-8", "replace")
    return max(_SEPARATORS, key=first.count)


def _column_of_other_type(message: str, head: bytes, separator: str) -> str | None:
    """The name of the column that a message says does not keep to its type."""
    _, found, rest = message.partition("In CSV column #")
    if not found:
        return None
    number = int(rest.split(":")[0])
    names = next(csv.reader([head.split(b"\n", 1)[0].decode("utf-8-sig", "replace")], delimiter=separator))
    return names[number].rstrip("\r") if number < len(names) else None


def _refuse_lines(path: Path, expected: int, separator: str) -> None:
    """Raise the error that lists the lines whose number of fields is another."""
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file, delimiter=separator)
        found = [(reader.line_num, len(fields)) for fields in reader if len(fields) not in (0, expected)]
    lines = first_lines(found, lambda of_line: "line {}: {}".format(*of_line))
    raise DataError(
        "\n".join(
            [
                f"{path}: lines with another number of fields than the first, which has {expected}:",
                *lines,
            ]
        )
    )


def _tidy(pa: Any, table: Any, what: str) -> Any:
    """Names and texts without white space around them; words for missing values are missing."""
    names = [name.strip() for name in table.column_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{what}: the column {', '.join(map(repr, twice))} stands there more than once")
    if not table.num_rows:
        raise DataError(f"{what} has no rows")
    columns = []
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pa.compute.utf8_trim_whitespace(column.cast(pa.string()))
            is_missing = pa.compute.is_in(column, value_set=pa.array(_MISSING))
            column = pa.compute.if_else(is_missing, pa.scalar(None, pa.string()), column)
        columns.append(column)
    return pa.table(columns, names=names)
