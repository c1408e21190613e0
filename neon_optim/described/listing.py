"""The first of many things, in messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["first_lines", "first_of"]


def first_of(values: Sequence[Any], say: Callable[[Any], str] = str, most: int = 10) -> str:
    """The first values with commas between them, and dots where there are more.

    >>> first_of([1, 2, 3]), first_of(range(5), most=2)
    ('1, 2, 3', '0, 1, …')
    """
    return ", ".join(map(say, values[:most])) + (", …" if len(values) > most else "")


def first_lines(
    values: Sequence[Any], say: Callable[[Any], str] = str, most: int = 10, indent: str = "  "
) -> list[str]:
    """A line for each of the first values, and one that says how many more there are.

    >>> first_lines(["a", "b", "c"], most=2)
    ['  a', '  b', '  and 1 more']
    """
    lines = [*map(say, values[:most])]
    if len(values) > most:
        lines.append(f"and {len(values) - most} more")
    return [indent + line for line in lines]
