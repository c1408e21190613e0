"""Ctrl-C waits for the end of a step."""

from __future__ import annotations

import threading
from signal import SIGINT
from types import FrameType, TracebackType
from typing import Any

try:  # without the conversions to enumerations, which take longer than all else in a small step
    from _signal import getsignal, signal  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from signal import getsignal, signal

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
            handler = getsignal(SIGINT)
            if callable(handler):
                self._handler = handler
                signal(SIGINT, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number, frame

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal(SIGINT, self._handler)
            if self._received is not None:
                self._handler(*self._received)
