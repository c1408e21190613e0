"""neon's assignments run by our CPU backend: each kind is translated once, and found again by its key."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.compat.inside.reading import Reading, UnreadableTreeError
from neon_optim.compat.inside.translation import Kind
from neon_optim.errors import BackendError

__all__ = ["Assignments"]

_MOST = 4_096
"""Kinds that are remembered; a program that has more translates them anew."""


class Assignments:
    """Runs neon's assignments.

    Arguments:
        be: our backend.

    Attributes:
        small: where no array has as many elements as that, neon's own NumPy is done before a plan is found.
    """

    def __init__(self, be: CPUBackend):
        self.small = 10_000
        self._be = be
        self._kinds: dict[Any, Kind | None] = {}

    def run(self, target: Any, tree: Any) -> bool:
        """Assign a tree to a tensor of neon's. False: neon does it, and nothing was done."""
        if not isinstance(tree, tuple):
            return False  # a copy
        if target.size < self.small and self._are_small(tree):
            return False
        try:
            reading = Reading(target, tree)
        except UnreadableTreeError:
            return False
        kind = self._kinds.get(reading.key, _UNKNOWN)
        if kind is _UNKNOWN:
            return self._run_new(reading, tree)
        if kind is None:
            return False
        self._be.run(kind.flat(reading), kind)
        return True

    def _are_small(self, tree: Any) -> bool:
        """Whether all arrays of a tree are."""
        for x in tree[1:]:
            if isinstance(x, tuple):
                if not self._are_small(x):
                    return False
            elif getattr(x, "size", 0) >= self.small:
                return False
        return True

    def _run_new(self, reading: Reading, tree: Any) -> bool:
        """Translate a kind and run it; one that is refused is left to neon, which says so in its own words."""
        if len(self._kinds) >= _MOST:
            self._kinds.clear()
        try:
            kind = Kind(reading, tree)
            self._be.run(kind.flat(reading), kind)
        except BackendError:
            self._kinds[reading.key] = None
            return False
        self._kinds[reading.key] = kind
        return True


_UNKNOWN: Any = object()
