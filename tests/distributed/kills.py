"""SIGKILL to random processes of a run at random moments, continued with random numbers of processes, until it is done.

    python tests/distributed/kills.py FOLDER [KILLS] [SEED] [EPOCHS]

prints how many kills there were; the final run is in FOLDER/run, an undisturbed one in FOLDER/alone.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from test_mpi import CONFIG, is_same, run, start

TRAIN = ("-m", "neon_optim", "train", "config.yaml", "-s")


def ranks_of(started):
    """The processes of Python that a launcher has started."""
    found, wanted = [], [started.pid]
    while wanted:
        pid = wanted.pop()
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found += [pid] if b"neon_optim" in words and not children else []
        except OSError:
            continue
        wanted += map(int, children)
    return [pid for pid in found if pid != started.pid]


def main(folder, kills=10, seed=0, epochs=10):
    kills, draw = int(kills), random.Random(int(seed))
    folder = Path(folder)
    (folder / "config.yaml").write_text(CONFIG.replace("epochs: 2", f"epochs: {epochs}"))
    run(None, *TRAIN, "alone", folder=folder)
    done = attempts = 0
    while True:
        processes = draw.choice([1, 2, 3, 4])
        started = start(processes, *TRAIN, "run", "--resume", folder=folder)
        attempts += 1
        if done < kills:
            deadline = time.monotonic() + draw.uniform(0.5, 4.0)
            while time.monotonic() < deadline and started.poll() is None:
                time.sleep(0.02)
            ranks = ranks_of(started)
            if ranks and started.poll() is None:
                os.kill(draw.choice(ranks), signal.SIGKILL)
                done += 1
        begin = time.monotonic()
        out, err = started.communicate(timeout=100)
        if done < kills and started.returncode:
            assert time.monotonic() - begin < 20, "all end soon"
        if (started.returncode == 0 and "Done" in out) or "is finished" in out:
            break
        assert started.returncode in (1, 2, 9, 137, -9), (started.returncode, out, err)
        if started.returncode == 2:
            assert "rank" in err, err
    print(f"{done} kills, {attempts} starts, the same bits: {is_same(folder, 'alone', 'run')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
