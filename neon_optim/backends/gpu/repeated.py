"""Assignments that were captured, done tree by tree each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_optim.backends.contract import Captured, Tensor
from neon_optim.errors import BackendError

__all__ = ["Repeated"]


class Repeated(Captured):
    """See :meth:`~neon_optim.backends.contract.Backend.capture`.

    Arguments:
        backend: runs the trees.
        inputs: what is given each time is copied to these tensors; and back from those that are written.
        values: nodes whose value is in a tensor each time, with it.
    """

    def __init__(
        self,
        backend: Any,
        assignments: Sequence[tuple[Tensor, Any]],
        inputs: Sequence[Tensor],
        values: Sequence[tuple[Any, Tensor]] = (),
    ):
        self._backend = backend
        self._assignments = list(assignments)
        self._values = list(values)
        self._inputs = list(inputs)
        targets = {id(target) for target, _ in assignments}
        self._written = [id(tensor) in targets for tensor in inputs]

    def __call__(self, *inputs: Any) -> None:
        """See :class:`Captured`."""
        if len(inputs) != len(self._inputs):
            raise BackendError(f"{len(self._inputs)} inputs were named, received {len(inputs)}")
        for given, own in zip(inputs, self._inputs, strict=True):
            if (given.shape, given.dtype) != (own.shape, own.dtype):
                raise BackendError(
                    f"an input has the shape {given.shape} and the type {given.dtype}; captured were "
                    f"{own.shape} and {own.dtype}"
                )
        for given, own, written in zip(inputs, self._inputs, self._written, strict=True):
            if given is not own and not written:
                own[:] = given
        self._backend.assign_all(self._assignments, self._values)
        for given, own, written in zip(inputs, self._inputs, self._written, strict=True):
            if given is not own and written:
                given[:] = own
