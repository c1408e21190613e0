"""Who keeps what: parameters shared out to processes, in pieces that end where chunks of sums end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neon_optim.backends.sums import CHUNK

__all__ = ["Span", "pieces", "share_out"]


@dataclass(frozen=True, order=True)
class Span:
    """Elements of one parameter, in C order.

    Attributes:
        index: the parameter's place in the list.
        start, stop: the first element, and the one behind the last.
    """

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many elements these are."""
        return self.stop - self.start


def share_out(
    sizes: Sequence[int], weights: Sequence[float], whole: Sequence[bool], processes: int
) -> list[list[Span]]:
    """For each process the spans that it keeps: at most one of a parameter, in the parameters' order.

    What can be cut is cut at multiples of 65,536 elements, so that each chunk of a sum lies in one process; parts of a
    parameter go to processes in their order.

    Arguments:
        sizes: elements of each parameter.
        weights: what an element of each takes.
        whole: which of them are not to be cut.

    >>> share_out([200_000, 10], [1, 1], [False, True], 2)
    [[Span(index=0, start=0, stop=131072), Span(index=1, start=0, stop=10)], [Span(index=0, start=131072, stop=200000)]]
    """
    shares: list[list[Span]] = [[] for _ in range(processes)]
    loads = np.zeros(processes)
    uncut = [k for k in range(len(sizes)) if whole[k] and sizes[k]]
    for k in sorted(uncut, key=lambda k: (-sizes[k] * weights[k], k)):
        process = int(np.argmin(loads))  # the first of the least loaded
        shares[process].append(Span(k, 0, sizes[k]))
        loads[process] += sizes[k] * weights[k]
    chunks = [
        Span(k, start, min(start + CHUNK, sizes[k]))
        for k in range(len(sizes))
        if not whole[k]
        for start in range(0, sizes[k], CHUNK)
    ]
    costs = np.array([chunk.size * weights[chunk.index] for chunk in chunks])
    ends = np.cumsum(_filled(loads, float(costs.sum())))
    middles = np.cumsum(costs) - costs / 2
    owners = np.minimum(np.searchsorted(ends, middles), processes - 1).tolist()
    for chunk, process in zip(chunks, owners, strict=True):
        share = shares[process]
        last = share[-1] if share else None
        if last is not None and (last.index, last.stop) == (chunk.index, chunk.start):
            share[-1] = replace(last, stop=chunk.stop)
        else:
            share.append(chunk)
    return [sorted(share) for share in shares]


def _filled(loads: np.ndarray, amount: float) -> np.ndarray:
    """What is added to each load, as water fills vessels: all that get some end at one level."""
    order = np.sort(loads)
    for count in range(1, len(order) + 1):
        level = (order[:count].sum() + amount) / count
        if count == len(order) or level <= order[count]:
            break
    return np.maximum(0.0, level - loads)


def pieces(spans: Sequence[Span], kinds: Sequence[str], limit: int, grain: int = 1) -> list[list[Span]]:
    """Spans cut and put together to pieces of at most so many elements, each of one kind.

    Arguments:
        grain: spans are cut at multiples of it; it is at most ``limit``.

    >>> pieces([Span(0, 0, 5), Span(1, 0, 2), Span(2, 0, 1)], ["f4", "f4", "f8"], limit=4)
    [[Span(index=0, start=0, stop=4)], [Span(index=0, start=4, stop=5), Span(index=1, start=0, stop=2)], \
[Span(index=2, start=0, stop=1)]]
    """
    found: list[list[Span]] = []
    room, kind = 0, ""
    for span in sorted(spans, key=lambda span: kinds[span.index]):
        start = span.start
        while start < span.stop:
            if not room or kinds[span.index] != kind:
                found.append([])
                room, kind = limit, kinds[span.index]
            stop = span.stop if span.stop - start <= room else (start + room) // grain * grain
            if stop <= start:  # no room for as little as can be cut off
                room = 0
                continue
            found[-1].append(Span(span.index, start, stop))
            room -= stop - start
            start = stop
    return found
