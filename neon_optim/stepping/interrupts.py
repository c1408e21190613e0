"""Ctrl-C waits for the end of a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Uninterrupted"]


class Uninterrupted:
    """A ``with`` block that SIGINT does not break: its handler is called when the block is left.

    Only the main thread is ever interrupted by a signal; in others this does nothing.
    """

    __slots__ = ("_handler", "_received")

    def __enter__(self) -> None:
        self._handler: Any = None
        self._received: tuple[int, FrameType | None] | None = None
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number, frame

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            if self._received is not None:
                self._handler(*self._received)
