"""What an object keeps for itself: copies of it, and what is read from a pickle, begin without."""

from __future__ import annotations

from typing import Any

__all__ = ["Transient"]


class Transient(dict[Any, Any]):
    """A dict whose copies and pickles are empty.

    >>> import copy
    >>> copy.deepcopy(Transient(kept=1))
    {}
    """

    def __reduce__(self) -> Any:
        return Transient, ()
