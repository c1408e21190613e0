"""Data of one's own, read, encoded and trained on: ``python -m benchmarks.own_data`` (``--help`` for parts of it).

``table``: a CSV file like that of the Adult census data, to the end of the first epoch, against PyTorch with pandas and
a DataLoader. Each run is a process of its own; times begin after imports, and contenders take turns. Where others use
the machine, ``--threads 1`` and the seconds of processor time tell more.

``stream``: an epoch over an array that is larger than the memory that may be taken, against reading its file once. The
file is put out of the cache of the system before either.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 512
WORDS = {
    "workclass": 8,
    "education": 16,
    "marital_status": 7,
    "occupation": 14,
    "relationship": 6,
    "race": 5,
    "sex": 2,
    "country": 41,
}
FEATURES, CLASSES = 1_000, 10


def write_table(path: str, rows: int) -> None:
    """A table of 14 columns, 6 of them numbers, and a target of two classes."""
    import pyarrow as pa
    from pyarrow import csv

    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "age": rng.integers(17, 91, rows),
        "weight": rng.integers(12_285, 1_490_400, rows),
        "years": rng.integers(1, 17, rows),
        "gain": np.where(rng.random(rows) < 0.08, rng.integers(0, 99_999, rows), 0),
        "loss": np.where(rng.random(rows) < 0.05, rng.integers(0, 4_356, rows), 0),
        "hours": rng.integers(1, 100, rows),
    }
    for name, count in WORDS.items():
        shares = 1 / np.arange(1, count + 1)
        words = np.array([f"{name}-value-{k}" for k in range(count)])
        columns[name] = words[rng.choice(count, rows, p=shares / shares.sum())]
    score = (columns["age"] - 50) / 15 + (columns["years"] - 9) / 4 + columns["gain"] / 3e4
    columns["income"] = np.where(score + rng.normal(0, 1, rows) > 0.6, ">50K", "<=50K")
    csv.write_csv(pa.table(columns), path)


def ours(path: str, hidden: int) -> dict[str, float]:
    """Seconds of this package; all rows are trained on."""
    from neon_optim import gen_backend
    from neon_optim.data import Csv
    from neon_optim.model import Affine, Constant, CrossEntropyMulti, Kaiming, Model, Rectlin, Softmax
    from neon_optim.optimizers import Adam

    import_readers()
    gen_backend("cpu", batch_size=BATCH, rng_seed=1)
    start, used = time.perf_counter(), _processor()
    # As many rows as PyTorch gets: a file of a few to validate with stands for the share that is not trained on.
    data = Csv(path, "income", validation=f"{path}.few.csv")
    samples, _ = data.train_iter, data.valid_iter
    read = time.perf_counter()
    layers = [
        Affine(n, Kaiming(), Constant(0.0), activation=function)
        for n, function in ((hidden, Rectlin()), (hidden, Rectlin()), (2, Softmax()))
    ]
    Model(layers).fit(samples, CrossEntropyMulti(), Adam(learning_rate=0.003), num_epochs=1)
    end = time.perf_counter()
    return {"read and encode": read - start, "epoch": end - read, "CPU": _processor() - used}


def import_readers() -> None:
    """Import what reads tables, which is no part of the times."""
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401


def theirs(path: str, hidden: int, **loading: Any) -> dict[str, float]:
    """Seconds of pandas, PyTorch and its DataLoader."""
    import pandas
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    start, used = time.perf_counter(), _processor()
    frame = pandas.read_csv(path)
    y = frame.pop("income").astype("category").cat.codes.to_numpy("int64")
    numbers = list(frame.select_dtypes("number").columns)
    X = pandas.get_dummies(frame, columns=[c for c in frame.columns if c not in numbers], dtype="float32")
    for name in numbers:
        X[name] = ((X[name] - X[name].mean()) / X[name].std()).astype("float32")
    samples = TensorDataset(torch.from_numpy(X.to_numpy("float32")), torch.from_numpy(y))
    read = time.perf_counter()
    loader = DataLoader(samples, batch_size=BATCH, shuffle=True, **loading)
    sizes = [X.shape[1], hidden, hidden, 2]
    layers: list[Any] = []
    for n, m in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(n, m), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for inputs, targets in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    end = time.perf_counter()
    return {"read and encode": read - start, "epoch": end - read, "CPU": _processor() - used}


def theirs_with_workers(path: str, hidden: int) -> dict[str, float]:
    """The same with two processes that load."""
    return theirs(path, hidden, num_workers=2)


CONTENDERS: dict[str, Callable[[str, int], dict[str, float]]] = {
    "ours": ours,
    "PyTorch": theirs,
    "PyTorch, 2 workers": theirs_with_workers,
}


def table(options: argparse.Namespace) -> None:
    """Print the times of all contenders for each model, and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "adult.csv")
        write_table(path, options.rows)
        write_table(f"{path}.few.csv", 1_000)
        print(f"{options.rows:,} rows, {os.path.getsize(path) / 1e6:.0f} MB; minibatches of {BATCH}")
        for hidden in options.hidden:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
            for _ in range(options.rounds):
                for name, times in found.items():
                    arguments = ["--contender", name, "--path", path, "--hidden", str(hidden)]
                    times.append(_in_process(arguments, options.threads))
            _heading(
                f"hidden layers of {hidden}",
                "read, encode, s",
                "epoch, s",
                "CPU, s",
                "ours / it",
                "CPU / its",
            )
            for name, times in found.items():
                numbers = [
                    statistics.median(t[key] for t in times) for key in ("read and encode", "epoch", "CPU")
                ]
                ratios = [_ratio(found["ours"], times, of) for of in (_whole, lambda t: t["CPU"])]
                print(
                    "| " + " | ".join([name, *(f"{number:.2f}" for number in [*numbers, *ratios])]) + " |",
                    flush=True,
                )


def _whole(times: dict[str, float]) -> float:
    return times["read and encode"] + times["epoch"]


def _ratio(
    own: list[dict[str, float]], others: list[dict[str, float]], of: Callable[[dict[str, float]], float]
) -> float:
    """The middle of the ratios of the rounds."""
    return statistics.median(of(one) / of(other) for one, other in zip(own, others, strict=True))


def _processor() -> float:
    """Seconds that all cores together have worked for this process and those that it has waited for."""
    found = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in found)


def _heading(*columns: str) -> None:
    print("\n| " + " | ".join(columns) + " |\n|" + "---:|" * len(columns))


def _in_process(arguments: list[str], threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.own_data", *arguments]
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def stream(options: argparse.Namespace) -> None:
    """Print how long reading a file takes, how long an epoch over it, and what memory that takes."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = int(options.gigabytes * 1e9) // (4 * FEATURES)
        inputs, targets = (os.path.join(folder, name) for name in ("x.npy", "y.npy"))
        rng = np.random.default_rng(0)
        labels = rng.integers(0, CLASSES, rows)
        np.save(targets, labels)
        block = rng.standard_normal((10_000, FEATURES), dtype=np.float32)
        with open(inputs, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": (rows, FEATURES)}
            )
            for first in range(0, rows, len(block)):
                some = block[: rows - first]
                some[:, 0] = labels[first : first + len(some)]
                file.write(some.data)
            file.flush()
            os.fsync(file.fileno())
        print(f"{os.path.getsize(inputs) / 1e9:.1f} GB, memory: {options.memory}")
        _heading(
            "reading once, s",
            "first pass, s",
            "epoch, s",
            "epoch / reading",
            "CPU of an epoch, s",
            "most memory, GB",
        )
        for _ in range(options.rounds):
            reading = _read_once(inputs)
            arguments = ["--contender", "stream", "--path", folder, "--memory", options.memory]
            found = _in_process(arguments, options.threads)
            ratio = found["epoch"] / reading
            numbers = [reading, found["first"], found["epoch"], ratio, found["CPU"], found["memory"]]
            print("| " + " | ".join(f"{number:.2f}" for number in numbers) + " |", flush=True)


def _read_once(path: str) -> float:
    """Seconds of reading a file that is not in the cache."""
    forget(path)
    buffer = bytearray(1 << 20)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - start


def forget(path: str) -> None:
    """Put a file out of the cache of the system."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def stream_epoch(folder: str, memory: str) -> dict[str, float]:
    """Seconds of the first pass and of an epoch, and the most memory that the process had."""
    from neon_optim import gen_backend
    from neon_optim.data import Npy
    from neon_optim.model import Affine, Constant, CrossEntropyMulti, Kaiming, Model, Softmax
    from neon_optim.optimizers import Adam

    gen_backend("cpu", batch_size=BATCH, rng_seed=1)
    inputs, targets = (os.path.join(folder, name) for name in ("x.npy", "y.npy"))
    start = time.perf_counter()
    data = Npy(inputs, targets, validation=0.01, memory=memory)
    samples = data.train_iter
    first = time.perf_counter() - start
    forget(inputs)
    start, used = time.perf_counter(), time.process_time()
    model = Model([Affine(CLASSES, Kaiming(), Constant(0.0), activation=Softmax())])
    model.fit(samples, CrossEntropyMulti(), Adam(learning_rate=0.003), num_epochs=1)
    return {
        "first": first,
        "epoch": time.perf_counter() - start,
        "CPU": time.process_time() - used,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def main() -> None:
    """Run the parts that were asked for, or be one of their processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_data", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["table", "stream", []], help="default: both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table")
    parser.add_argument("--hidden", type=int, nargs="*", default=[64, 256], help="units of two hidden layers")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--threads", type=int, default=cores, help="of products; 1 where others use the machine"
    )
    parser.add_argument("--gigabytes", type=float, default=10, help="of the array")
    parser.add_argument("--memory", default="1GB", help="what samples of the array may take")
    parser.add_argument("--folder", help="where the array is written; default: the system's")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender == "stream":
        print(json.dumps(stream_epoch(options.path, options.memory)))
    elif options.contender:
        print(json.dumps(CONTENDERS[options.contender](options.path, options.hidden[0])))
    else:
        for part in options.parts or ["table", "stream"]:
            {"table": table, "stream": stream}[part](options)


if __name__ == "__main__":
    main()
