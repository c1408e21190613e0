"""A small process beside a run of many: it says which of them has gone or hangs. It imports nothing of this package.

    python watcher.py LISTENING_FD TOKEN PROCESSES SECONDS

Each process of the run connects and sends ``token rank host pid``; from then on a dot from time to time, and ``bye``
before it ends. A connection that ends without that, or is silent for so many seconds, is told on standard error, once,
and the others are told to end.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time

__all__ = ["main"]

_PATIENCE = 120.0
"""Seconds until the first process connects."""


class _Watched:
    """A process of the run, at the other end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.name = ""
        self.last = time.monotonic()
        self._text = b""

    def read(self, token: str, count: int) -> str:
        """What has become of it: 'alive', 'bye' or 'gone'."""
        try:
            data = self.connection.recv(4096)
        except OSError:
            data = b""
        self.last = time.monotonic()
        if not data:
            return "gone"
        self._text += data
        if not self.name:
            line, end, self._text = self._text.partition(b"\n")
            words = line.decode("utf-8", "replace").split(" ")
            if not end or len(words) != 4 or words[0] != token:
                return "bye"  # none of ours
            self.name = f"rank {words[1]} of {count} on {words[2]} (process {words[3]})"
        if b"bye" in self._text:
            return "bye"
        self._text = self._text[-3:]
        return "alive"


def main(fd: int, token: str, count: int, seconds: float) -> None:
    """Watch until all processes have ended."""
    listener = socket.socket(fileno=fd)
    watched: list[_Watched] = []
    begin, seen, ends = time.monotonic(), 0, False
    while watched or not (ends or seen == count or time.monotonic() - begin > _PATIENCE):
        waiting = [listener] if seen < count else []
        ready, _, _ = select.select([*waiting, *(one.connection for one in watched)], [], [], 1.0)
        if listener in ready:
            watched.append(_Watched(listener.accept()[0]))
            seen += 1
        gone = []
        for one in [one for one in watched if one.connection in ready]:
            fate = one.read(token, count)
            if fate != "alive":
                watched.remove(one)
            if fate == "gone":
                gone.append(one)
            ends = ends or bool(one.name and fate == "bye")
        late = [one for one in watched if time.monotonic() - one.last > seconds]
        if len(late) == len(watched):  # a run that was stopped as a whole, and may go on
            late = []
        if gone or late:
            what = (
                "has ended: killed, or out of memory" if gone else f"has not answered for {seconds:g} seconds"
            )
            names = " or ".join(one.name or "a process" for one in gone or late)
            with contextlib.suppress(OSError):
                sys.stderr.write(
                    f"Error: {names} {what}. The others end; --resume goes on from the last checkpoint\n"
                )
                sys.stderr.flush()
            for one in watched:
                with contextlib.suppress(OSError):
                    one.connection.sendall(b"end")
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
