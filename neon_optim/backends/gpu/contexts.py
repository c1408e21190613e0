"""The CUDA context of a backend: current for each piece of work, whatever thread or library had another one."""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any

__all__ = ["DeviceContext"]


class DeviceContext:
    """Makes a context current while work is asked for, and leaves what was current before as it was.

    PyCUDA keeps a stack of contexts for each thread beside the driver's own, and knows nothing of contexts that other
    libraries make current; so both are looked at. ``with`` it where work is asked for; it may be nested.

    Arguments:
        cuda: PyCUDA's driver module.
        device: PyCUDA's device. A context of it that is current for PyCUDA is shared; else its primary context, which
            other libraries use too, becomes current until :meth:`leave`.
    """

    def __init__(self, cuda: Any, device: Any):
        self._cuda = cuda
        self._driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        self._depths = threading.local()
        self._thread = threading.get_ident()
        self._context = cuda.Context.get_current()
        self._owned = self._context is None
        if self._context is not None:
            self._handle = int(self._context.handle)
            with self:
                self._owned = cuda.Context.get_device() != device
        if self._owned:
            self._context = device.retain_primary_context()
            self._context.push()
            self._handle = int(self._context.handle)

    def __enter__(self) -> DeviceContext:
        pushed = self._pushed()
        foreign = self._push_over_others()
        unknown = not self._is_known_to_pycuda()
        if unknown:
            self._context.push()
        pushed.append((foreign, unknown))
        return self

    def __exit__(self, *_: object) -> None:
        foreign, unknown = self._pushed().pop()
        if unknown:
            self._context.pop()
        if foreign:
            self._driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def _push_over_others(self) -> bool:
        """Make it current for the driver; whether another one was, or none."""
        current = ctypes.c_void_p()
        self._driver.cuCtxGetCurrent(ctypes.byref(current))
        if current.value == self._handle:
            return False
        self._driver.cuCtxPushCurrent_v2(ctypes.c_void_p(self._handle))
        return True

    def _is_known_to_pycuda(self) -> bool:
        known = self._cuda.Context.get_current()
        return known is not None and known.handle == self._handle

    def _pushed(self) -> list[tuple[bool, bool]]:
        """What this thread has to undo."""
        try:
            found: list[tuple[bool, bool]] = self._depths.pushed
        except AttributeError:
            found = self._depths.pushed = []
        return found

    def leave(self) -> bool:
        """No longer current, where this object made it so; False in a thread other than the one that did."""
        if self._owned and threading.get_ident() != self._thread:
            return False
        if self._owned and self._is_known_to_pycuda():
            self._push_over_others()  # PyCUDA takes away what is current for the driver
            self._context.pop()
        self._owned = False
        return True
