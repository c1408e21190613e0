"""A curve as plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["chart"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_PLAIN = " ########"
_STEEP = 30.0
"""The range of values beyond which the axis is logarithmic."""


def chart(values: Sequence[float], ends: tuple[str, str], height: int = 6, plain: bool = False) -> list[str]:
    """The lines of a picture of some values, one column for each, from 0 (or the smallest) at the bottom.

    Arguments:
        values: finite numbers >= 0, at least one.
        ends: what stands below the first and the last.
        height: lines of the picture itself.
        plain: draw with ASCII alone.

    >>> print(*chart([1.0, 0.75, 0.5, 0.25, 0.0], ("begin", "end"), height=2, plain=True), sep="\\n")
      1 |##
        |####
      0 +-----
         begin end
    """
    low, high = min(values), max(values)
    steep = low > 0 and high / low > _STEEP
    bottom = low if steep else 0.0

    def share_of(value: float) -> float:
        if high == bottom:
            return float(high > 0)
        return math.log(value / low) / math.log(high / low) if steep else value / high

    shares = list(map(share_of, values))
    blocks = _PLAIN if plain else _BLOCKS
    levels = [
        max(round(share * height * 8), int(value > 0)) for share, value in zip(shares, values, strict=True)
    ]
    labels = {height: f"{high:.4g}", 0: f"{bottom:.4g}"}
    width = max(map(len, labels.values()), default=0)
    lines = []
    for row in range(height, 0, -1):
        cells = "".join(blocks[min(max(level - (row - 1) * 8, 0), 8)] for level in levels)
        lines.append(f"  {labels.get(row, ''):>{width}} |{cells}".rstrip())
    lines.append(f"  {labels[0]:>{width}} +{'-' * len(values)}")
    begin, end = ends
    begin += "  (logarithmic)" if steep else ""
    gap = " " * max(len(values) - len(begin) - len(end), 1)
    lines.append(f"  {'':>{width}}  {begin}{gap}{end}")
    return lines
