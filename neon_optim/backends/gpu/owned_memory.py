"""Memory of the driver that any thread may let go of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neon_optim.backends.gpu.contexts import DeviceContext

__all__ = ["OwnedMemory"]


class OwnedMemory:
    """An allocation, given back when the last reference goes; ``int()`` of it is the address.

    PyCUDA gives memory back only where its context is current, or in the thread that created it: elsewhere it warns
    and loses the memory. A garbage collector runs in whatever thread it likes, so the context is made current first.

    Arguments:
        context: in which it was allocated.
        allocation: PyCUDA's object, with ``free``; nobody else keeps it.
    """

    def __init__(self, context: DeviceContext, allocation: Any):
        self._context = context
        self._allocation = allocation

    def __int__(self) -> int:
        return int(self._allocation)

    def __del__(self) -> None:
        with self._context:
            self._allocation.free()


class MirroredMemory(OwnedMemory):
    """Page-locked host memory that the device writes, as what NumPy makes an array from."""

    def __init__(self, context: DeviceContext, words: Any):
        super().__init__(context, words.base)
        self.__array_interface__ = words.__array_interface__

    def __int__(self) -> int:
        return int(self._allocation.get_device_pointer())
