"""Times that can be compared on a machine that does other things too."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["Times", "interleaved"]

_PAUSE = 0.02  # seconds: threads that another library left spinning come to rest


class Times:
    """Seconds of each contender, a column for each round."""

    def __init__(self, seconds: dict[str, list[float]]):
        self.seconds = seconds

    def median(self, name: str) -> float:
        """Seconds in the middle."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """The middle of the ratios of the rounds: what slows down a whole round leaves it as it is."""
        return statistics.median(a / b for a, b in zip(self.seconds[name], self.seconds[other], strict=True))

    def best_ratio(self, name: str, other: str) -> float:
        """The ratio of the least disturbed run of each."""
        return min(self.seconds[name]) / min(self.seconds[other])


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3, pause: float = _PAUSE
) -> Times:
    """Run every contender once in each round, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    gc.collect()
    gc.disable()
    try:
        for k in range(warm_up + rounds):
            for name, step in contenders.items():
                time.sleep(pause)
                start = time.perf_counter()
                step()
                taken = time.perf_counter() - start
                if k >= warm_up:
                    seconds[name].append(taken)
    finally:
        gc.enable()
    return Times(seconds)
