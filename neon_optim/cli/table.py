"""A table as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["table_lines"]


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, right: Sequence[int] = ()
) -> Iterator[str]:
    """Lines of a table, as narrow as they can be; where they are too wide, names stand above what is said of them."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    apart = sum(widths) + 2 * len(widths) > width
    if apart:
        widths[0] = max(len(head[0]), width - sum(widths[1:]) - 2 * len(widths))
    for row in (head, *rows):
        if row is not head and apart and len(row[0]) > widths[0]:
            yield f"  {row[0]}"
            row = ("", *row[1:])
        cells = [
            f"{cell:>{widths[k]}}" if k in right else f"{cell:<{widths[k]}}" for k, cell in enumerate(row)
        ]
        first = f"{row[0]:<{widths[0] + 2}}" if row is head else f"  {cells[0]}"
        yield "  ".join([first, *cells[1:]]).rstrip()
