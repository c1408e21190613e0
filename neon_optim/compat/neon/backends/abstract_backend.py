"""neon.backends.abstract_backend: the register of backends, which every subclass of Backend enters by itself."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

__all__ = ["AbstractBackend", "Backend_ABC_Meta"]


class Backend_ABC_Meta(ABCMeta):  # noqa: N801 (neon's name)
    """Enters each class below the first into ``backends``, by its ``backend_name`` or else its own name."""

    backends: dict[str, Any]

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]):
        if not hasattr(cls, "backends"):
            cls.backends = {}
        else:
            name = getattr(cls, "backend_name", name)
            if name != "Backend":
                cls.backends[name] = cls
        super().__init__(name, bases, namespace)


class AbstractBackend(metaclass=Backend_ABC_Meta):
    """What all backends derive from."""
