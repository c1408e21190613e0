"""The processes of a run under watch: one that is killed, or hangs, is named, and the others end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from neon_optim.distributed import watcher
from neon_optim.distributed.communicator import Communicator

__all__ = ["watched"]

_ADDRESS_OF = 0x8915
"""Asks the kernel of Linux for the address of an interface (SIOCGIFADDR)."""

_BEAT = 2.0
"""Seconds between two signs of life."""

_SILENCE = 20.0
"""Seconds without one after which a process hangs."""


@contextmanager
def watched(comm: Communicator) -> Iterator[None]:
    """A block in which a small process beside process 0 watches all; called by all together.

    A process that cannot reach it goes on unwatched: the launcher ends the others where one is gone.
    """
    if comm.size == 1:
        yield
        return
    where = None
    if comm.rank == 0:
        where = _start(comm.size)
    port, token, addresses = comm.broadcast(where)
    connection = _connected(port, ["127.0.0.1"] if comm.on_one_host else addresses)
    if connection is None:
        yield
        return
    host = socket.gethostname()
    connection.sendall(f"{token} {comm.rank} {host} {os.getpid()}\n".encode())
    threading.Thread(target=_beat, args=[connection], daemon=True, name="neon_optim-alive").start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(b"bye")


def _start(count: int) -> tuple[int, str, list[str]]:
    """Start the small process; where it listens, and the word that it lets in."""
    token = secrets.token_hex(16)
    with socket.create_server(("", 0)) as listener:
        port = int(listener.getsockname()[1])
        words = [str(listener.fileno()), token, str(count), str(_SILENCE)]
        subprocess.Popen(
            [sys.executable, "-S", "-E", watcher.__file__, *words],
            pass_fds=[listener.fileno()],
            start_new_session=True,  # who ends the processes of this one does not end it too
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sys.__stderr__,
        )
    return port, token, [*_addresses(), socket.gethostname()]


def _addresses() -> list[str]:
    """Under which this host can be reached, as its interfaces say; loopback comes last."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asking, _ADDRESS_OF, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return sorted(found, key=lambda address: address.startswith("127."))


def _connected(port: int, hosts: list[str]) -> socket.socket | None:
    for host in hosts:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((host, port), timeout=2.0)
            connection.settimeout(None)
            return connection
    return None


def _beat(connection: socket.socket) -> None:
    """Give signs of life, and end this process where it is told to."""
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b".")
            if select.select([connection], [], [], _BEAT)[0]:
                if connection.recv(16) == b"end":
                    os._exit(1)
                return  # it has gone itself
