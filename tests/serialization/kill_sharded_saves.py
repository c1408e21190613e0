"""Kills processes inside a sharded save: ``python kill_sharded_saves.py FOLDER KILLS MEGABYTES`` prints counts as JSON.

A forked leader saves one step after the other under a manager that keeps the last; for each it forks a worker, which
writes the second of two parts. The leader tells through a pipe when a save starts and when it has returned. At a random
moment inside a save the leader, the worker, or both are killed. The newest checkpoint must then be a whole step, the
last acknowledged or a later one; a leader whose worker has died goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import sys
import time
import warnings

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization import CheckpointManager
from neon_optim.serialization.checkpoint.sharded import share_out, write_part
from neon_optim.serialization.checkpoint.stored import read_checkpoint


def save(manager: CheckpointManager, step: int, arrays: dict[str, np.ndarray]) -> bool:
    """Whether both parts were written, and so the checkpoint."""
    for array in arrays.values():
        array.fill(step)
    with manager.begin(step, parts=2) as saving:
        reader, writer = os.pipe()
        worker = os.fork()
        if worker == 0:
            with contextlib.suppress(BrokenPipeError, CheckpointError):  # the leader is dead, or has given up
                os.close(reader)
                os.write(writer, json.dumps(write_part(saving.ticket, 1, share_out(arrays, 1, 2))).encode())
            os._exit(0)
        os.close(writer)
        receipt = write_part(saving.ticket, 0, share_out(arrays, 0, 2))
        with os.fdopen(reader, "rb") as file:
            told = file.read()
        os.waitpid(worker, 0)
        if told:
            saving.commit([receipt, json.loads(told)], {"step": step})
    return bool(told)


def leader(folder: str, step: int, megabytes: float, pipe: int) -> None:
    os.setpgid(0, 0)
    count = int(megabytes * (1 << 20) / 8)
    arrays = {name: np.empty(count, np.float32) for name in ("param", "state")}
    with CheckpointManager(folder, keep_last=1) as manager:
        while True:
            step += 1
            os.write(pipe, b"saving\n")
            os.write(pipe, b"%d\n" % step if save(manager, step, arrays) else b"given up\n")


def kill(victim: str, pid: int, pause: float) -> None:
    """The leader, its worker and after a pause the leader too, or all at once."""
    if victim == "all":
        os.killpg(pid, signal.SIGKILL)
        return
    if victim == "worker":
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            for child in file.read().split():
                with contextlib.suppress(ProcessLookupError):  # it has ended since
                    os.kill(int(child), signal.SIGKILL)
        time.sleep(pause)
    os.kill(pid, signal.SIGKILL)


def newest(folder: str) -> int:
    """The step of the newest checkpoint, every array of which must be of that step."""
    path = CheckpointManager(folder).latest()
    assert path is not None
    contents = read_checkpoint(path)
    step: int = contents.state["step"]
    assert all((array == step).all() for array in contents.arrays.values())
    return step


def files(folder: str) -> int:
    """How many files there are but for the lock."""
    return sum(len(names) for _, _, names in os.walk(folder)) - 1


def leftovers(folder: str) -> int:
    """How many files belong to no checkpoint; each of these has an index and two parts."""
    return files(folder) - 3 * len(CheckpointManager(folder).steps())


def main(folder: str, kills: int, megabytes: float) -> dict[str, int]:
    warnings.simplefilter("error")  # a damaged checkpoint is told by a warning
    counts = {"inside": 0, "outside": 0, "given up": 0, "lost": 0, "newer": 0, "most leftovers": 0}
    seconds, moments, step = 0.2, random.Random(0), 0
    with CheckpointManager(folder, keep_last=1) as manager:
        save(manager, 0, {"param": np.zeros(4, np.float32)})
    while counts["inside"] < kills:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            leader(folder, step, megabytes, writer)
        os.close(writer)
        told = os.read(reader, len(b"saving\n"))
        started = time.monotonic()
        select.select([reader], [], [], moments.uniform(0, 1.1 * seconds))
        if select.select([reader], [], [], 0)[0]:
            seconds = 0.8 * seconds + 0.2 * (time.monotonic() - started)
        else:
            seconds *= 1.02
        kill(moments.choice(["leader", "worker", "all"]), pid, moments.uniform(0, seconds))
        os.waitpid(pid, 0)
        while more := os.read(reader, 4096):  # until a worker that was not killed has ended, too
            told += more
        os.close(reader)
        lines = told.decode().split()
        counts["inside" if lines[-1] == "saving" else "outside"] += 1
        counts["given up"] += lines.count("given")
        acknowledged = max([step, *(int(line) for line in lines if line.isdigit())])
        step = newest(folder)
        counts["lost"] += step < acknowledged
        counts["newer"] += step > acknowledged
        counts["most leftovers"] = max(counts["most leftovers"], leftovers(folder))
    with CheckpointManager(folder, keep_last=1) as manager:
        save(manager, step + 1, {"param": np.zeros(4, np.float32)})
    counts["files at the end"] = files(folder)
    return counts


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
