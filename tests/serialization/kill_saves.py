"""Kills processes inside a save: ``python kill_saves.py FOLDER KILLS MEGABYTES [pickle]`` prints counts as JSON.

A forked child saves one step after the other to one file, telling through a pipe when a save starts and when it has
returned; it is killed at a random moment inside one. Then the file must hold a whole step, the last acknowledged or a
later one. With ``pickle`` the child writes a pickle in place, as neon did.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import select
import signal
import sys
import time

import numpy as np

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import archive


def save(path: str, step: int, arrays: dict[str, np.ndarray], kind: str) -> None:
    for array in arrays.values():
        array.fill(step)
    if kind == "pickle":
        with open(path, "wb") as file:
            pickle.dump({"step": step, "arrays": arrays}, file, protocol=2)
    else:
        archive.write(path, arrays, {"step": step})


def load(path: str, kind: str) -> int | None:
    """The step in the file; None where it cannot be read or holds a mixture."""
    try:
        if kind == "pickle":
            with open(path, "rb") as file:
                content = pickle.load(file)  # noqa: S301 (our own file of a moment ago)
            step, arrays = content["step"], content["arrays"]
        else:
            contents = archive.read(path)
            step, arrays = contents.state["step"], contents.arrays
    except (CheckpointError, OSError, EOFError, pickle.UnpicklingError, KeyError, ValueError):
        return None
    return step if all((array == step).all() for array in arrays.values()) else None


def child(path: str, step: int, megabytes: float, kind: str, pipe: int) -> None:
    count = int(megabytes * (1 << 20) / 8)
    arrays = {name: np.empty(count, np.float32) for name in ("param", "state")}
    while True:
        step += 1
        os.write(pipe, b"S")
        save(path, step, arrays, kind)
        os.write(pipe, b"A")


def main(folder: str, kills: int, megabytes: float, kind: str) -> dict[str, int]:
    path = os.path.join(folder, "run.safetensors")
    save(path, 0, {"param": np.empty(4, np.float32)}, kind)
    counts = {"inside": 0, "outside": 0, "lost": 0, "unreadable": 0, "newer": 0}
    step, seconds, moments = 0, 0.02, random.Random(0)
    while counts["inside"] < kills:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            child(path, step, megabytes, kind, writer)
        os.close(writer)
        told = os.read(reader, 1)
        started = time.monotonic()
        select.select([reader], [], [], moments.uniform(0, 1.1 * seconds))
        if select.select([reader], [], [], 0)[0]:
            seconds = 0.8 * seconds + 0.2 * (time.monotonic() - started)
        else:
            seconds *= 1.02
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while more := os.read(reader, 4096):
            told += more
        os.close(reader)
        if told.endswith(b"A"):
            counts["outside"] += 1
        else:
            counts["inside"] += 1
        acknowledged = step + told.count(b"A")
        found = load(path, kind)
        if found is None:
            counts["unreadable"] += 1
            save(path, acknowledged, {"param": np.empty(4, np.float32)}, kind)
        elif found < acknowledged:
            counts["lost"] += 1
        elif found > acknowledged:
            counts["newer"] += 1
        step = acknowledged if found is None else found
    counts["files"] = len(os.listdir(folder))
    return counts


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), "".join(sys.argv[4:]))))
