"""Speed of checkpoints, as ratios to what the machine can do: ``python benchmarks/checkpoints.py``.

    save   plain write of the same bytes, in pieces of 1 MiB, and fsync / save (1: as fast; aim: >= 0.8)
    load   bytes of a verified load per second (aim: >= 1 GB/s), and plain read into new memory / load
    stall  time that save() of an asynchronous manager takes / copy of the state (aim: <= 1.5)

The sides of a ratio are measured in turns, and the least disturbed run of each counts. Reads come from the page
cache: the disk bounds the writes alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable

import numpy as np

from neon_optim.serialization import CheckpointManager
from neon_optim.serialization.checkpoint import archive

PIECE = 1 << 20


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def plain_write(path: str, arrays: dict[str, np.ndarray]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for array in arrays.values():
            view = memoryview(array).cast("B")
            for start in range(0, len(view), PIECE):
                os.write(fd, view[start : start + PIECE])
        os.fsync(fd)
    finally:
        os.close(fd)


def plain_read(path: str, sizes: list[int]) -> list[np.ndarray]:
    arrays = [np.empty(size, np.uint8) for size in sizes]
    with open(path, "rb", buffering=0) as file:
        for array in arrays:
            for start in range(0, array.size, PIECE):
                file.readinto(array[start : start + PIECE].data)
    return arrays


def measure(folder: str, megabytes: int, repeats: int) -> dict[str, float]:
    count = 3  # parameter and two states, as Adam keeps them
    elements = (megabytes << 20) // (4 * count)
    random = np.random.default_rng(0)
    arrays = {f"fc/W/{name}": random.random(elements, np.float32) for name in "pmv"}
    nbytes = sum(array.nbytes for array in arrays.values())
    path, other = os.path.join(folder, "checkpoint"), os.path.join(folder, "plain")
    times: dict[str, list[float]] = {key: [] for key in ("save", "write", "load", "read", "stall", "copy")}
    for _ in range(repeats):
        for file in (path, other):
            if os.path.exists(file):
                os.unlink(file)
        os.sync()
        times["write"].append(seconds(lambda: plain_write(other, arrays)))
        os.unlink(other)
        os.sync()
        times["save"].append(seconds(lambda: archive.write(path, arrays, {})))
        times["read"].append(seconds(lambda: plain_read(path, [array.nbytes for array in arrays.values()])))
        times["load"].append(seconds(lambda: archive.read(path)))
    os.unlink(path)
    with CheckpointManager(folder, keep_last=1, async_save=True) as manager:
        copies = {name: np.empty_like(array) for name, array in arrays.items()}

        def copy() -> None:
            for name, array in arrays.items():
                np.copyto(copies[name], array)

        for step in range(repeats + 1):
            times["copy"].append(seconds(copy))
            times["stall"].append(seconds(lambda step=step: manager.write(step, arrays, {})))
            manager.wait()
        del times["copy"][0], times["stall"][0]  # the first copies go to new memory
    least = {key: min(values) for key, values in times.items()}
    return {
        "bytes": nbytes,
        "save: plain write+fsync / save": least["write"] / least["save"],
        "load: GB/s, verified": nbytes / least["load"] / 1e9,
        "load: plain read / load": least["read"] / least["load"],
        "stall: save() / copy": least["stall"] / least["copy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder", default=None, help="on the disk to measure; default: the temporary folder"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(folder, options.megabytes, options.repeats)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:34} {value:,.2f}" if name != "bytes" else f"{name:34} {value:,}")


if __name__ == "__main__":
    main()
