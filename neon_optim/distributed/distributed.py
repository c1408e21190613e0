"""An optimizer on many processes: gradients joined, the state shared out, the same bits however many there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from neon_optim.backends import gen_backend
from neon_optim.described.arguments import require
from neon_optim.described.checks import Choice, Either, Nothing, Number
from neon_optim.distributed.bound import BoundTogether
from neon_optim.distributed.checkpoints import save_together
from neon_optim.distributed.communicator import Communicator
from neon_optim.distributed.joined import Joined
from neon_optim.distributed.mpi import communicator_for
from neon_optim.distributed.tree import fold, parts_of
from neon_optim.errors import DistributedError, StateError
from neon_optim.optimizers import Optimizer
from neon_optim.serialization.checkpoint import sharded
from neon_optim.stepping.interrupts import Uninterrupted
from neon_optim.stepping.kept_lists import KeptLists
from neon_optim.stepping.lenders import backend_for
from neon_optim.stepping.numbers import Numbers
from neon_optim.stepping.parameters import NamedParameter, Parameter

__all__ = ["Distributed"]


class Distributed:
    """Any optimizer, wrapper or MultiOptimizer on several processes that train one model together.

    Arguments:
        optimizer: what updates the parameters.
        comm: the processes: a communicator of mpi4py's; None: all that were started together. A process that no
            launcher has started is by itself, and MPI is not started.
        shards: parts that each minibatch is cut into; None: as many as there are processes. With the same number the
            bits are the same for 1, 2, … processes.
        bucket_mb: megabytes of gradients, and of parameters, that are under way at a time.
        compress: 'bfloat16': gradients travel in 16 bits, rounded stochastically; None: as they are.
        timeout: seconds after which a process that does not answer has failed.

    Each process computes the gradients of its parts, and calls :meth:`optimize` (or ``bind(…).step()``) as often as the
    others do. Gradients are added up over all parts, in the order of a fixed tree; each process updates its share of
    the parameters, whose state it alone has, and all of them get all parameters.

    What each gradient is a sum over is ``be.bsz`` samples, as always, here those of one part; where they are means (and
    ``be.bsz`` is not set), the update sees their mean.

    A process that computes several parts says so:

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.optimizers import SGD
    >>> be = gen_backend("cpu")
    >>> optimizer = Distributed(SGD(1.0), shards=2)
    >>> w, dw = np.array([1.0]), np.array([0.0])
    >>> for part in optimizer.own_parts:  # of one process: both
    ...     dw[:] = part
    ...     optimizer.add([((w, dw), [])])
    >>> optimizer.optimize([((w, dw), [])], epoch=0)
    >>> print(w)
    [0.5]

    Everything else (hyper-parameters, counters, schedules, the description) is the optimizer's, and can be read and set
    here, too.

    Raises:
        DistributedError: several processes were started, and MPI cannot be used; or more processes than shards.
    """

    kind = "optimizer"

    def __init__(
        self,
        optimizer: Any,
        comm: Any = None,
        shards: int | None = None,
        *,
        bucket_mb: float = 25,
        compress: str | None = None,
        timeout: float | None = None,
    ) -> None:
        if getattr(optimizer, "kind", None) != "optimizer" or isinstance(optimizer, Distributed):
            raise DistributedError(
                f"optimizer must be an optimizer of neon_optim, received {optimizer!r:.60}"
            )
        require("Distributed", "bucket_mb", bucket_mb, Number(gt=0))
        if shards is not None:
            require("Distributed", "shards", shards, Number(ge=1, integer=True))
        self.__dict__["inner"] = optimizer
        self.comm: Communicator = communicator_for(comm)
        if timeout is not None:
            require("Distributed", "timeout", timeout, Number(gt=0))
            self.comm.timeout = timeout
        self.shards = self.comm.size if shards is None else int(shards)
        if self.comm.size > self.shards:
            raise DistributedError(
                f"{self.comm.size} processes cannot share {self.shards} {'part' if self.shards == 1 else 'parts'} of a "
                f"minibatch: start at most {self.shards}, or set shards to {self.comm.size} or more"
            )
        require("Distributed", "compress", compress, Either(Choice("bfloat16"), Nothing()))
        self._compress = compress is not None
        self._bucket = int(bucket_mb * 1e6)
        self._stepping = threading.RLock()
        self._joined: KeptLists[Joined] = KeptLists()

    # --- the optimizer inside ---

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "inner" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_joined" in self.__dict__ and name not in self.__dict__ and hasattr(self.inner, name):
            setattr(self.inner, name, value)
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Distributed({self.inner!r}, shards={self.shards}; {self.comm.name_of(self.comm.rank)})"

    @property
    def own_parts(self) -> range:
        """The numbers of the parts that this process computes."""
        return parts_of(self.comm.rank, self.comm.size, self.shards)

    def sum_of_parts(self, numbers: np.ndarray) -> np.ndarray:
        """The sum over all parts of some float64 numbers of each, in the order of the tree.

        Arguments:
            numbers: those of the parts of this process, (parts, numbers); every process has as many of each.
        """
        comm, count = self.comm, numbers.shape[1]
        sizes = [count * len(parts_of(k, comm.size, self.shards)) for k in range(comm.size)]
        leaves = np.concatenate(comm.gather_arrays(numbers, sizes)).reshape(self.shards, count)
        by_node = {(k, k + 1): leaf for k, leaf in enumerate(leaves)}
        total: np.ndarray = fold((0, self.shards), by_node, lambda node, one, other: one + other)
        return total

    @property
    def is_alone(self) -> bool:
        """Whether nothing has to be joined: one process computes a minibatch as a whole."""
        return self.comm.size == self.shards == 1

    # --- a step ---

    def add(self, layer_list: Any, batch_size: float | None = None) -> None:
        """Take the gradients of the next part of this process; those of its last part :meth:`optimize` takes itself.

        Arguments:
            layer_list: as for :meth:`optimize`.
            batch_size: samples that they are sums over; None: ``be.bsz``. 0: a part without samples, whose gradients
                are not looked at.
        """
        if not self.is_alone:
            with self._stepping, self.comm.telling():
                joined, rows = self._joined_of(layer_list)
                joined.add(rows, self._samples(batch_size))

    def optimize(self, layer_list: Any, epoch: int) -> None:
        """Update every parameter of the layers once, in place: on all processes, by the gradients of all.

        See :meth:`BaseOptimizer.optimize`. All processes call it together, with the same parameters.

        Raises:
            DistributedError: another process has failed, or does not answer.
        """
        self.step(layer_list, epoch)

    def step(self, layer_list: Any, epoch: float, batch_size: float | None = None) -> Numbers:
        """:meth:`optimize` for gradients that are sums over ``batch_size`` samples; None: over ``be.bsz``."""
        if self.is_alone:
            return self.inner.step(layer_list, epoch, batch_size)
        with self._stepping, Uninterrupted(), self.comm.telling():
            joined, rows = self._joined_of(layer_list, epoch)
            if joined.missing:
                joined.add(rows, self._samples(batch_size))
            if joined.missing:
                count = joined.missing
                joined.clear()
                raise StateError(
                    f"this process computes {len(self.own_parts)} parts of each minibatch, and {count} of them "
                    f"{'was' if count == 1 else 'were'} not added: call add(layers) after each but the last"
                )
            if getattr(self.inner, "_evaluating", False):
                raise StateError(f"{self.name}: no step while the parameters are set for evaluation")
            return joined.step(rows, epoch, self._samples(None) != 1)

    def _samples(self, batch_size: float | None) -> float:
        return float(getattr(self.be, "bsz", 0) or 1) if batch_size is None else float(batch_size)

    def _joined_of(self, layer_list: Any, epoch: float = 0) -> tuple[Joined, Any]:
        """What is kept for a list of parameters, and its tuples."""

        def fits(joined: Joined, given: Any, rows: list[Parameter]) -> bool:
            return joined.be is (self.be or backend_for(rows)) and joined.is_of(rows)

        def make(given: Any, rows: list[Parameter]) -> Joined:
            be = self.be or backend_for(rows)
            return Joined(
                self.comm, self.inner, be, given, rows, self.shards, self._bucket, self._compress, epoch
            )

        return self._joined.of(layer_list, fits, make)

    def bind(self, parameters: Any, batch_size: float = 1) -> BoundTogether:
        """See :meth:`BaseOptimizer.bind`; where this process computes several parts, ``add()`` comes after each but the
        last."""
        if self.be is None:
            gen_backend("cpu")
        return BoundTogether(self, parameters, batch_size)

    # --- state ---

    @property
    def keeps_shares(self) -> bool:
        """Whether each process has its share of the states alone."""
        return self.comm.size > 1

    def named_parameters(self, layer_list: Any) -> list[tuple[NamedParameter, Any]]:
        """See :meth:`BaseOptimizer.named_parameters`; the states are the shares of this process."""
        if not self.keeps_shares:
            named: list[tuple[NamedParameter, Any]] = self.inner.named_parameters(layer_list)
            return named
        joined, rows = self._joined_of(layer_list)
        joined.take_states(rows)
        return joined.named_rows()

    def save(self, path: str | os.PathLike[str], **state: Any) -> str:
        """Save a checkpoint, a part from each process; called by all together. See ``save_checkpoint``.

        Arguments:
            state: the arguments of ``save_checkpoint``.
        """
        return save_together(self.comm, partial(sharded.begin, path, self.comm.size), self, state)

    @contextmanager
    def evaluation(self, layer_list: Any) -> Iterator[None]:
        """See :meth:`BaseOptimizer.evaluation`; called by all processes together."""
        if self.comm.size == 1:
            with self.inner.evaluation(layer_list):
                yield
            return
        joined, rows = self._joined_of(layer_list)
        joined.take_states(rows)
        if not joined.are_evaluated_otherwise:
            with self.inner.evaluation(joined.own):
                yield
            return
        try:
            with self.inner.evaluation(joined.own):
                joined.spread()
                yield
        finally:
            joined.spread()


Optimizer.register(Distributed)
