"""Arrays of measured numbers that programs of neon's time print as one number."""

from __future__ import annotations

import numpy as np

__all__ = ["Measured"]


class Measured(np.ndarray):
    """An array that is also a number where it has one element, as all arrays were until NumPy 2.4.

    neon's scripts write ``"%.1f" % (model.eval(data, metric) * 100)``.

    >>> "%.1f" % (np.array([0.125]).view(Measured) * 100)
    '12.5'
    """

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())
