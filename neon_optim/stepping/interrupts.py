"""Ctrl-C waits for the end of a step."""

from __future__ import annotations

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
        handler = getsignal(SIGINT)
        if callable(handler):
            try:
                signal(SIGINT, self._receive)
            except ValueError:  # not the main thread
                return
            self._handler = handler

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number, frame

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal(SIGINT, self._handler)
            if self._received is not None:
                self._handler(*self._received)
