"""Sizes of memory: a number of bytes, or a text such as '500MB'."""

from __future__ import annotations

import re

from neon_optim.described.checks import Check, Schema, SchemaOfKind

__all__ = ["Size", "bytes_of"]

_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}
_TEXT = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?)?B?", re.IGNORECASE)
_PATTERN = r"^\d+(\.\d+)? ?([KMGTkmgt][iI]?)?[bB]?$"
_LEAST = 1 << 20


def bytes_of(size: int | str) -> int:
    """The bytes of a size.

    >>> bytes_of("500MB"), bytes_of("1.5 GiB"), bytes_of(2048)
    (500000000, 1610612736, 2048)
    """
    if isinstance(size, str):
        found = _TEXT.fullmatch(size.strip())
        if found is None:
            raise ValueError(f"no size: {size!r}")
        return int(float(found[1]) * _UNITS[(found[2] or "").upper()])
    return int(size)


class Size(Check):
    """A size of memory of a megabyte or more."""

    allowed = "a size of at least 1MiB: a number of bytes, or a text such as '500MB' or '4GB'"

    def verdict(self, value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            return "type"
        try:
            return None if bytes_of(value) >= _LEAST else "value"
        except ValueError:
            return "value"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": _LEAST}, {"type": "string", "pattern": _PATTERN}]}
