"""Speed of checkpoints, as ratios to what the machine can do: ``python benchmarks/checkpoints.py``.

    save   plain write of the same bytes, in pieces of 1 MiB, and fsync / save (1: as fast; aim: >= 0.8)
    load   bytes of a verified load per second (aim: >= 1 GB/s), and plain read into new memory / load
    stall  time that save() of an asynchronous manager takes / copy of the state (aim: <= 1.5)
    shards save by one process / sharded save by two (aim: >= 0.9); memory of each of three that load it, beyond its
           share (aim: <= 64 MB)

The sides of a ratio are measured in turns, and the least disturbed run of each counts. Reads come from the page
cache: the disk bounds the writes alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from neon_optim.serialization import CheckpointManager
from neon_optim.serialization.checkpoint import archive, sharded
from neon_optim.serialization.checkpoint.share import Share, cut, share_out
from neon_optim.serialization.checkpoint.stored import open_checkpoint

PIECE = 1 << 20
CONTEXT = multiprocessing.get_context("spawn")


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


def arrays_of(megabytes: int) -> dict[str, np.ndarray]:
    """A parameter and two states, as Adam keeps them."""
    elements = (megabytes << 20) // (4 * 3)
    random = np.random.default_rng(0)
    return {f"fc/W/{name}": random.random(elements, np.float32) for name in "pmv"}


def write_parts(pipe: Connection, part: int, parts: int, megabytes: int) -> None:
    """A process that writes its part whenever it is sent a ticket."""
    shares = {
        name: Share(share.values.copy(), share.shape, share.start)
        for name, share in share_out(arrays_of(megabytes), part, parts).items()
    }
    pipe.send(None)
    while (ticket := pipe.recv()) is not None:
        pipe.send(sharded.write_part(ticket, part, shares))


def load_part(pipe: Connection, path: str, part: int, parts: int) -> None:
    """A process that loads its share, and sends how many bytes more than that it has taken for it."""
    before = memory("VmRSS")
    with open_checkpoint(path) as stored:
        sizes = {name: (array.size, array.dtype.itemsize) for name, array in stored.arrays.items()}
        share = [stored.arrays[name].read(*ends) for name, ends in cut(sizes, part, parts).items()]
    pipe.send(memory("VmHWM") - before - sum(values.nbytes for values in share))


def memory(name: str) -> int:
    """Bytes that this process has now (VmRSS) or had at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def started(work: Callable[..., None], arguments: list[tuple[object, ...]]) -> list[Connection]:
    """The pipes of processes, one for each tuple of arguments."""
    pipes = []
    for own in arguments:
        ours, theirs = CONTEXT.Pipe()
        CONTEXT.Process(target=work, args=(theirs, *own)).start()
        pipes.append(ours)
    return pipes


def measure_shards(folder: str, megabytes: int, repeats: int) -> dict[str, float]:
    arrays, path, other = arrays_of(megabytes), os.path.join(folder, "shards"), os.path.join(folder, "one")
    times: dict[str, list[float]] = {"one": [], "two": []}
    writers = started(write_parts, [(part, 2, megabytes) for part in range(2)])
    for pipe in writers:
        pipe.recv()

    def save() -> None:
        with sharded.begin(path, 2) as saving:
            for pipe in writers:
                pipe.send(saving.ticket)
            saving.commit([pipe.recv() for pipe in writers], {})

    for _ in range(repeats):
        os.sync()
        times["one"].append(seconds(lambda: archive.write(other, arrays, {})))
        os.unlink(other)
        if os.path.exists(path):
            sharded.delete(path)
        os.sync()
        times["two"].append(seconds(save))
    for pipe in writers:
        pipe.send(None)
    loaded = started(load_part, [(path, part, 3) for part in range(3)])
    beyond = max(pipe.recv() for pipe in loaded)
    sharded.delete(path)
    return {
        "shards: save by one / by two": min(times["one"]) / min(times["two"]),
        "shards: load into 3, MB beyond": beyond / 1e6,
    }


def measure(folder: str, megabytes: int, repeats: int) -> dict[str, float]:
    arrays = arrays_of(megabytes)
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
        found |= measure_shards(folder, options.megabytes, options.repeats)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:34} {value:,.2f}" if name != "bytes" else f"{name:34} {value:,}")


if __name__ == "__main__":
    main()
