"""Notices that a setting of some objects, or of those that they hold, has been set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neon_optim.described.arguments import constructor_arguments
from neon_optim.described.object import NervanaObject

__all__ = ["SettingsWatch"]


class SettingsWatch:
    """Remembers how often settings have been set by now.

    Arguments:
        things: objects, or lists of such; what is none is passed over.

    >>> from neon_optim.model import Activation, Rectlin
    >>> layer = Activation(Rectlin())
    >>> watch = SettingsWatch([layer])
    >>> layer.transform.slope = 0.1
    >>> watch.unchanged()
    False
    """

    def __init__(self, things: Any):
        self._settings = [vars(found) for found in dict.fromkeys(_within(things))]
        self._before = self._count()

    def _count(self) -> list[int]:
        return [values["_changes"] for values in self._settings]

    def unchanged(self) -> bool:
        """Whether none has been set since."""
        return self._count() == self._before


def _within(thing: Any) -> Iterator[NervanaObject]:
    """An object, and those that its settings hold."""
    if isinstance(thing, NervanaObject):
        yield thing
        for name in constructor_arguments(type(thing)):
            yield from _within(getattr(thing, name, None))
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from _within(item)
