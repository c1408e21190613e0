"""Counters: what optimizers, schedules and models remember from step to step, beside their arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_optim.errors import StateError

__all__ = ["set_all_counters"]


def set_all_counters(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Set the counters of several objects: all of them, or with an error none.

    Arguments:
        pairs: objects with ``get_counters()`` and ``set_counters(counters)``, each with its new counters.

    Raises:
        StateError: some do not fit.
    """
    before = [(counting, counting.get_counters()) for counting, _ in pairs]
    try:
        for counting, counters in pairs:
            counting.set_counters(counters)
    except StateError:
        for counting, counters in before:
            counting.set_counters(counters)
        raise
