"""Many processes on this machine: ``python benchmarks/distributed.py`` (needs mpi4py and mpiexec; PyTorch for one row).

    overhead  a step of Distributed(Adam) / a step of Adam, one process, 16M parameters (aim: <= 1.05)
    ddp       a minibatch of an MLP (784-1024-1024-10, 256 samples, one thread a process) on two processes / the same in
              PyTorch: DistributedDataParallel, ZeroRedundancyOptimizer, gloo (aim: <= 0.8)
    bytes     sent by a process in a step / 2 (n-1)/n * 4 bytes * parameters; the largest of n processes (aim: <= 1.05)
    state     of the optimizer on the largest of 4 processes / of one (aim: <= 0.30)
    link      time of a message and of a byte, from exchanges of many sizes: what docs/distributed.md calculates with

Both sides of a ratio take turns in the same processes; the median of the ratios of the rounds counts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
LAYERS, BATCH = (784, 1024, 1024, 10), 256
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NEON_OPTIM_THREADS"),
    "1",
)


def rows_of(sizes: list[int]) -> list[Any]:
    draw = np.random.RandomState(0)
    arrays = [draw.standard_normal(size).astype(np.float32) for size in sizes]
    return [((array, np.full_like(array, 0.01)), []) for array in arrays]


def overhead(rounds: int) -> None:
    """One process: with and without Distributed."""
    from benchmarks.timing import interleaved
    from neon_optim import gen_backend
    from neon_optim.distributed import Distributed
    from neon_optim.optimizers import Adam

    gen_backend("cpu")
    plain, layers = Adam(), rows_of([1 << 24])
    wrapped = Distributed(
        plain
    )  # the same arrays: where these lie makes more of a difference than anything else
    times = interleaved(
        {"plain": lambda: plain.optimize(layers, 0), "wrapped": lambda: wrapped.optimize(layers, 0)}, rounds
    )
    print(f"overhead  {times.ratio('wrapped', 'plain'):.3f}", flush=True)


def traffic(rounds: int) -> None:
    """Bytes and state, among as many processes as there are."""
    from neon_optim import gen_backend
    from neon_optim.distributed import Distributed
    from neon_optim.optimizers import Adam

    gen_backend("cpu")
    optimizer = Distributed(Adam())
    comm, layers = optimizer.comm, rows_of([1 << 21, 1 << 21])
    optimizer.optimize(layers, 0)
    before = comm.bytes_sent
    optimizer.optimize(layers, 0)
    kept = sum(share.values.size for row, _ in optimizer.named_parameters(layers) for share in row.value[1])
    sent = comm.gather([comm.bytes_sent - before, kept])
    size = sum(param.size for (param, _), _ in layers)
    if comm.rank == 0:
        ideal = 2 * (comm.size - 1) / comm.size * 4 * size
        print(f"bytes     n={comm.size}: {max(pair[0] for pair in sent) / ideal:.3f}")
        print(f"state     n={comm.size}: {max(pair[1] for pair in sent) / (2 * size):.3f}", flush=True)


def link(rounds: int) -> None:
    """What joining gradients and spreading parameters takes, and the line through it: a message, and a byte."""
    from neon_optim import gen_backend
    from neon_optim.distributed import Distributed
    from neon_optim.optimizers import SGD

    gen_backend("cpu")
    measured = []
    for size in [1 << k for k in range(10, 25, 2)]:
        optimizer, layers = Distributed(SGD(0.1)), rows_of([size] * 2)
        optimizer.optimize(layers, 0)
        (joined,) = optimizer._joined.values()
        exchange, comm, flats = joined._exchange, optimizer.comm, [flat.array for flat in joined.flats]
        before, messages, seconds = comm.bytes_sent, comm.messages_sent, []
        for _ in range(rounds):
            comm.gather_numbers([0.0])
            begin = time.perf_counter()
            joined._sums.add(flats, 0)
            exchange.reduce(joined._sums.nodes, joined._gradients, 0)
            exchange.gather(flats)
            seconds.append(time.perf_counter() - begin)
            joined.clear()
        measured.append(
            [(comm.messages_sent - messages) / rounds, (comm.bytes_sent - before) / rounds, min(seconds)]
        )
    if comm.rank == 0:
        rows = np.array(measured)
        weights = 1 / rows[:, 2:]  # relative errors count
        (alpha, beta), *_ = np.linalg.lstsq(rows[:, :2] * weights, np.ones(len(rows)), rcond=None)
        print(f"link      n={comm.size}: {alpha * 1e6:.0f} µs a message, {1 / beta / 1e9:.2f} GB/s")
        for count, size, taken in measured:
            model = alpha * count + beta * size
            print(
                f"          {size:>12,.0f} bytes: {1e3 * taken:8.3f} ms, model {1e3 * model:8.3f} ms",
                flush=True,
            )


def ddp(rounds: int) -> None:
    """A minibatch on two processes, ours and PyTorch's in turns."""
    import torch
    from torch.distributed.optim import ZeroRedundancyOptimizer

    from neon_optim import gen_backend
    from neon_optim.distributed import Distributed
    from neon_optim.model import (
        Affine,
        ArrayIterator,
        CrossEntropyMulti,
        GlorotUniform,
        Model,
        Rectlin,
        Softmax,
    )
    from neon_optim.model.training import Training
    from neon_optim.optimizers import Adam

    gen_backend("cpu", rng_seed=1, batch_size=BATCH)
    optimizer = Distributed(Adam())
    comm = optimizer.comm
    draw = np.random.RandomState(0)
    x, y = draw.standard_normal((BATCH, LAYERS[0])).astype(np.float32), draw.randint(0, 10, BATCH)
    hidden = [Affine(n, GlorotUniform(), activation=Rectlin()) for n in LAYERS[1:-1]]
    model = Model([*hidden, Affine(LAYERS[-1], GlorotUniform(), activation=Softmax())])
    data = ArrayIterator(x, y, nclass=10)
    training = Training(model, data, CrossEntropyMulti(), optimizer, 1)

    def ours() -> None:
        (minibatch,) = training._minibatches()
        training._step(minibatch)

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("NEON_OPTIM_PORT", "29531"))
    torch.distributed.init_process_group("gloo", rank=comm.rank, world_size=comm.size)
    parts = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(LAYERS)]
    net = torch.nn.Sequential(parts[0], torch.nn.ReLU(), parts[1], torch.nn.ReLU(), parts[2])
    net = torch.nn.parallel.DistributedDataParallel(net)
    theirs_optimizer = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam, lr=0.001)
    half = slice(comm.rank * BATCH // comm.size, (comm.rank + 1) * BATCH // comm.size)
    cost = torch.nn.CrossEntropyLoss()
    tx, ty = torch.from_numpy(x[half]), torch.from_numpy(y[half]).long()

    def theirs() -> None:
        theirs_optimizer.zero_grad()
        cost(net(tx), ty).backward()
        theirs_optimizer.step()

    clocks = {"time": time.perf_counter, "CPU time": time.process_time}
    taken: dict[str, dict[str, list[float]]] = {clock: {"ours": [], "theirs": []} for clock in clocks}
    for k in range(rounds + 3):
        for name, step in (("ours", ours), ("theirs", theirs)):
            comm.gather_numbers([0.0])
            begin = {clock: now() for clock, now in clocks.items()}
            for _ in range(5):
                step()
            comm.gather_numbers([0.0])
            for clock, now in clocks.items() if k >= 3 else ():
                taken[clock][name].append((now() - begin[clock]) / 5)
    for clock, of in taken.items() if comm.rank == 0 else ():
        ratio = statistics.median(a / b for a, b in zip(of["ours"], of["theirs"], strict=True))
        best = min(of["ours"]) / min(of["theirs"])
        ms = {name: 1000 * statistics.median(values) for name, values in of.items()}
        print(
            f"ddp       {clock}: {ratio:.3f}, least disturbed {best:.3f} "
            f"({ms['ours']:.1f} ms, PyTorch {ms['theirs']:.1f} ms)",
            flush=True,
        )
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=["overhead", "ddp", "traffic", "link"])
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    work = {"overhead": overhead, "ddp": ddp, "traffic": traffic, "link": link}
    if given.part:
        work[given.part](given.rounds)
        return
    near = Path(sys.executable).parent
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(near), os.environ["PATH"]])) or "mpiexec"
    for part, counts in (("overhead", [0]), ("ddp", [2]), ("traffic", [2, 4, 8]), ("link", [2, 4])):
        for count in counts:
            launcher = [mpiexec, "-n", str(count)] if count else []
            threads = ONE_THREAD if part == "ddp" else {}
            environment = {**os.environ, **threads, "PYTHONPATH": str(ROOT)}
            words = [sys.executable, __file__, part, "--rounds", str(given.rounds)]
            subprocess.run([*launcher, *words], env=environment, check=True)


if __name__ == "__main__":
    main()
