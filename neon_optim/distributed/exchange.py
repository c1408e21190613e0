"""Gradients to those who keep them, parameters back to all: in buckets, of which several are under way at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from neon_optim.distributed.communicator import Communicator, Pending
from neon_optim.distributed.shares import Span, pieces
from neon_optim.distributed.travel import AsTheyAre
from neon_optim.distributed.tree import Node, fold, nodes_within, parts_of

__all__ = ["Exchange"]

Flats = Sequence[np.ndarray]
"""For each parameter an array of one axis with all its elements."""

_UNDER_WAY = 2
"""Rounds at a time: while the sums of one are computed, the next one travels."""


class Exchange:
    """Brings gradients of the same parameters together, and parameters back.

    In each round every process gets a piece of its share: a bucket is what all of them get together. What has no gaps
    travels from where it is to where it belongs; small tensors are packed together.

    Arguments:
        comm: the processes.
        shares: what each of them keeps.
        sums, values: dtypes of the gradients as they are added, and of the parameters, for each parameter.
        parts: how many parts a minibatch is cut into.
        bucket: bytes that are under way at a time, about.
        travel: how sums travel.
    """

    def __init__(
        self,
        comm: Communicator,
        shares: Sequence[Sequence[Span]],
        sums: Sequence[np.dtype],
        values: Sequence[np.dtype],
        parts: int,
        bucket: int,
        travel: AsTheyAre,
    ) -> None:
        self._comm, self._travel = comm, travel
        self._sums, self._values = sums, values
        self._travels = [travel.dtype_of(dtype) for dtype in sums]
        limit = max(1024, travel.grain, bucket // (_UNDER_WAY * comm.size * 4))
        kinds = [f"{sums[k]} {values[k]}" for k in range(len(sums))]
        self._pieces = [pieces(share, kinds, limit, travel.grain) for share in shares]
        self._rounds = max(map(len, self._pieces))
        self._root: Node = (0, parts)
        self._nodes = [nodes_within(parts_of(k, comm.size, parts), parts) for k in range(comm.size)]
        self._others = [k for k in range(comm.size) if k != comm.rank]
        self._starts = {span.index: span.start for span in shares[comm.rank]}
        self._scratch: dict[tuple[int, ...], np.ndarray] = {}

    def reduce(self, nodes: Mapping[Node, Flats], out: Mapping[int, np.ndarray], step: int) -> None:
        """Add up gradients, in the order of the tree, where they are kept.

        Arguments:
            nodes: the sums that this process has, by the nodes of the tree.
            out: for each parameter of which something is kept here, where that goes.
            step: number of the step.
        """
        self._in_rounds(lambda number: self._start_reducing(number, nodes, out, step))

    def gather(self, params: Flats) -> None:
        """Fill in what other processes keep of the parameters."""
        self._in_rounds(lambda number: self._start_gathering(number, params))

    def _in_rounds(self, start: Callable[[int], Callable[[], None]]) -> None:
        finishing: deque[Callable[[], None]] = deque()
        for number in range(self._rounds):
            finishing.append(start(number))
            if len(finishing) == _UNDER_WAY:
                finishing.popleft()()
        while finishing:
            finishing.popleft()()

    def _piece(self, process: int, number: int) -> list[Span]:
        own = self._pieces[process]
        return own[number] if number < len(own) else []

    # --- gradients ---

    def _start_reducing(
        self, number: int, nodes: Mapping[Node, Flats], out: Mapping[int, np.ndarray], step: int
    ) -> Callable[[], None]:
        comm, rank, slot = self._comm, self._comm.rank, number % _UNDER_WAY
        mine = self._piece(rank, number)
        pending: list[Pending] = []
        arrived: dict[Node, np.ndarray] = {}
        for process in self._others if mine else ():
            for node in self._nodes[process]:
                into = self._buffer((0, slot, *node), mine, self._travels)
                arrived[node] = into
                pending.append(comm.receive(into, process))
        for process in self._others:
            piece = self._piece(process, number)
            for node in self._nodes[rank] if piece else ():
                packed = self._packed((1, slot, process, *node), piece, nodes[node], self._travels)
                pending.append(comm.send(packed, process))

        def finish() -> None:
            comm.wait(pending)
            at = 0
            for span in mine:
                values = {node: array[at : at + span.size] for node, array in arrived.items()}
                free = {node for node in values if values[node].dtype == self._sums[span.index]}
                for node, flats in nodes.items():
                    values[node] = flats[span.index][span.start : span.stop]
                begin = span.start - self._starts[span.index]
                self._add_up(values, free, span, out[span.index][begin : begin + span.size], step)
                at += span.size

        return finish

    def _add_up(
        self, values: Mapping[Node, np.ndarray], free: set[Node], span: Span, out: np.ndarray, step: int
    ) -> None:
        """The sum over all parts, of the elements of a span.

        Arguments:
            free: nodes whose values may be overwritten.
        """
        dtype = self._sums[span.index]
        ready = {node: (array.astype(dtype, copy=False), node in free) for node, array in values.items()}

        def add(
            node: Node, one: tuple[np.ndarray, bool], other: tuple[np.ndarray, bool]
        ) -> tuple[np.ndarray, bool]:
            target = next((array for array, is_free in (one, other) if is_free), None)
            total = np.add(one[0], other[0], out=out if node == self._root else target)
            if node != self._root:
                total = self._travel.arrived(total, node, span.index, span.start, step)
            return total, True

        with np.errstate(all="ignore"):
            total, _ = fold(self._root, ready, add)
        if total is not out:
            np.copyto(out, total)

    # --- parameters ---

    def _start_gathering(self, number: int, params: Flats) -> Callable[[], None]:
        comm, slot = self._comm, number % _UNDER_WAY
        pending: list[Pending] = []
        unpacking: list[tuple[list[Span], np.ndarray]] = []
        for process in self._others:
            piece = self._piece(process, number)
            if not piece:
                continue
            if len(piece) == 1:
                into = params[piece[0].index][piece[0].start : piece[0].stop]
            else:
                into = self._buffer((2, slot, process), piece, self._values)
                unpacking.append((piece, into))
            pending.append(comm.receive(into, process))
        mine = self._piece(comm.rank, number)
        if mine:
            packed = self._packed((3, slot), mine, params, self._values)
            pending += [comm.send(packed, process) for process in self._others]

        def finish() -> None:
            comm.wait(pending)
            for piece, packed in unpacking:
                at = 0
                for span in piece:
                    params[span.index][span.start : span.stop] = packed[at : at + span.size]
                    at += span.size

        return finish

    # --- memory ---

    def _packed(
        self, key: tuple[int, ...], piece: list[Span], flats: Flats, dtypes: Sequence[np.dtype]
    ) -> np.ndarray:
        """The elements of a piece, one after the other: where they are, if they are so already."""
        if len(piece) == 1 and flats[piece[0].index].dtype == dtypes[piece[0].index]:
            return flats[piece[0].index][piece[0].start : piece[0].stop]
        packed = self._buffer(key, piece, dtypes)
        at = 0
        for span in piece:
            packed[at : at + span.size] = flats[span.index][span.start : span.stop]
            at += span.size
        return packed

    def _buffer(self, key: tuple[int, ...], piece: list[Span], dtypes: Sequence[np.dtype]) -> np.ndarray:
        """Memory for a piece, used again in a later round."""
        dtype, size = dtypes[piece[0].index], sum(span.size for span in piece)
        known = self._scratch.get(key)
        if known is None or known.size < size * dtype.itemsize:
            known = self._scratch[key] = np.empty(size * dtype.itemsize, np.uint8)
        return known[: size * dtype.itemsize].view(dtype)
