"""Writes what a model has answered: CSV, Parquet or an archive of arrays, whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.errors import DataError
from neon_optim.serialization.durable import replacing

__all__ = ["check_output", "write_answers"]

_ENDINGS = (".csv", ".parquet", ".npz")


def check_output(path: str) -> None:
    """Refuse a file that cannot be written, before there is work to lose.

    Raises:
        DataError: it has another ending, exists already, or there is no such folder.
    """
    place = Path(path)
    if place.suffix.lower() not in _ENDINGS:
        raise DataError(f"{path}: predictions are written to a file that ends in {', '.join(_ENDINGS)}")
    if os.path.lexists(place):
        raise DataError(f"{path} exists already; nothing was changed")
    if not place.parent.is_dir():
        raise DataError(f"{path}: there is no folder {str(place.parent)!r}")


def write_answers(answers: Mapping[str, np.ndarray], to: Any) -> None:
    """Write columns of equal length.

    Arguments:
        to: the name of a file, whose ending says how; or a binary stream, which gets CSV.

    Raises:
        DataError: the file cannot be written.
    """
    if not isinstance(to, (str, os.PathLike)):
        to.write(_as_csv(answers))
        to.flush()
        return
    made = {".csv": _as_csv, ".parquet": _as_parquet, ".npz": _as_npz}[Path(to).suffix.lower()](answers)
    try:
        with replacing(to) as file:
            file.write(made)
    except OSError as error:
        raise DataError(f"{to} cannot be written: {error.strerror or error}") from error


def _as_csv(answers: Mapping[str, np.ndarray]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answers)
    writer.writerows(zip(*[column.tolist() for column in map(_short, answers.values())], strict=True))
    return text.getvalue().encode()


def _short(column: np.ndarray) -> np.ndarray:
    """float32 as the shortest words that stand for it, not as the float64 next to it."""
    return column.astype(str) if column.dtype == np.float32 else column


def _as_parquet(answers: Mapping[str, np.ndarray]) -> bytes:
    import pyarrow.parquet as parquet

    from neon_optim.data.tables import as_table

    made = io.BytesIO()
    parquet.write_table(as_table(answers, []), made)
    return made.getvalue()


def _as_npz(answers: Mapping[str, np.ndarray]) -> bytes:
    made = io.BytesIO()
    columns = {n: np.array(c.tolist()) if c.dtype == object else c for n, c in answers.items()}
    np.savez(made, **columns)  # type: ignore[arg-type]
    return made.getvalue()
