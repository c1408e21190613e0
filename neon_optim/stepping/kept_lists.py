"""What an optimizer keeps for lists of parameters: found again by the list, for the lists that were used last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from neon_optim.stepping.parameters import Parameter, get_param_list

__all__ = ["KeptLists"]

_MOST = 16
"""Lists that are kept: what is kept holds on to their arrays, so lists that come and go must not pile up."""

Kept = TypeVar("Kept")


class KeptLists(Generic[Kept]):
    """Things that were made for lists of parameters."""

    def __init__(self) -> None:
        self._kept: dict[Any, Kept] = {}

    def of(
        self,
        layer_list: Any,
        fits: Callable[[Kept, Any, list[Parameter]], bool],
        make: Callable[[Any, list[Parameter]], Kept],
    ) -> tuple[Kept, list[Parameter]]:
        """What is kept for a list, or a new thing; and the parameters in the list.

        Arguments:
            layer_list: layers, as somebody gave them.
            fits: whether what is kept is for that list, given it and the parameters in it.
            make: makes a new thing for them.
        """
        if hasattr(layer_list, "__next__"):
            layer_list = list(layer_list)
        rows = get_param_list(layer_list)
        key = (len(rows), id(rows[0][0][0]) if rows else None)
        found = self._kept.get(key)
        if found is None or not fits(found, layer_list, rows):
            found = make(layer_list, rows)
        self._kept.pop(key, None)
        self._kept[key] = found  # the last one
        while len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
        return found, rows
