"""Speed of optimizer steps, in ratios: ``python -m benchmarks`` (``--help`` for parts of it).

Every ratio is between contenders that took turns in one process, each with arrays of its own; 1 means as fast, less
means that this package is faster. PyTorch and Optax are compared where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contenders import (
    CLIPS,
    bytes_per_element,
    floor,
    naive_numpy,
    optax_adam,
    ours,
    torch_adam,
    torch_bound,
)
from benchmarks.shapes import SHAPES
from benchmarks.timing import Times, interleaved
from benchmarks.training import (
    MLPS,
    compiled_torch_mlp,
    jax_mlp,
    our_inference,
    our_lenet,
    our_lstm,
    our_mlp,
    our_softmax,
    softmax_floor,
    torch_inference,
    torch_lenet,
    torch_lstm,
    torch_mlp,
)
from neon_optim import __version__, optimizers

ONE_LARGE, SMALL = "1 of 16M", "2,000 of 1,024"
HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_OPTAX = importlib.util.find_spec("optax") is not None
NEEDS = {"GradientDescentMomentum": {"learning_rate": 1e-3, "momentum_coef": 0.9}} | {
    name: {"learning_rate": 1e-3} for name in ("SGD", "LARS")
}


def table(title: str, results: list[dict[str, Any]]) -> None:
    """Print a table in Markdown; the ratio of the least disturbed runs stands in brackets."""
    columns = [key for key in dict.fromkeys(key for row in results for key in row) if key != "best"]
    print(f"\n### {title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "|".join(["---", *["---:"] * (len(columns) - 1)]) + "|")
    for row in results:
        print("| " + " | ".join(_cell(row, column) for column in columns) + " |", flush=True)


def _cell(row: dict[str, Any], column: str) -> str:
    value = row.get(column, "")
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    best = row.get("best", {}).get(column)
    return text if best is None else f"{text} ({best:.3g})"


def _others(shapes: Any, clips: Any = None, large: bool = False) -> dict[str, Callable[[], object]]:
    contenders: dict[str, Callable[[], object]] = {}
    if HAS_TORCH:
        for kind in ("fused",) if large else ("fused", "foreach", "for-loop"):
            contenders[f"PyTorch {kind}"] = torch_adam(shapes, kind, clips)
    return contenders


def _and_optax(
    row: dict[str, Any], step: Callable[[], object], shapes: Any, clips: Any, rounds: int
) -> dict[str, Any]:
    """The row with Optax, which takes turns with us alone, so that what it leaves behind meets nobody else."""
    if not HAS_OPTAX:
        return row
    times = interleaved({"ours": step, "Optax": optax_adam(shapes, clips)}, rounds)
    best = row["best"] | {"Optax": times.best_ratio("ours", "Optax")}
    return row | {"Optax": times.ratio("ours", "Optax"), "best": best}


def _against(name: str, times: Times) -> dict[str, Any]:
    others = [other for other in times.seconds if other != "ours"]
    ratios = {other: times.ratio("ours", other) for other in others}
    best = {other: times.best_ratio("ours", other) for other in others}
    return {"work": name, "ms": times.median("ours") * 1e3} | ratios | {"best": best}


def adam(rounds: int) -> Any:
    """Adam in float32 on every list of shapes, against others; time / time of the other."""
    results = []
    for name, shapes in SHAPES.items():
        large = name == "GPT-2 small"
        contenders = {"ours": ours(shapes), "floor": floor(shapes)} | _others(shapes, large=large)
        if not large:
            contenders["naive NumPy"] = naive_numpy(shapes)
        turns = max(5, rounds // 3) if large else rounds
        row = _against(name, interleaved(contenders, turns))
        results.append(_and_optax(row, contenders["ours"], shapes, None, turns))
    return results


def clipping(rounds: int) -> Any:
    """Adam with norm, value and parameter clip, against clip_grad_norm_, clip_grad_value_, step and clamp_."""
    results = []
    for name in (ONE_LARGE, SMALL, "ResNet-50"):
        contenders = {"ours": ours(SHAPES[name], clips=CLIPS), "ours without clips": ours(SHAPES[name])}
        row = _against(name, interleaved(contenders | _others(SHAPES[name], CLIPS), rounds))
        results.append(_and_optax(row, contenders["ours"], SHAPES[name], CLIPS, rounds))
    return results


def half(rounds: int) -> Any:
    """Adam with moments, or everything, in 16 bits; 16M elements."""
    import ml_dtypes

    shapes = SHAPES[ONE_LARGE]
    variants: dict[str, Any] = {
        "float32": {},
        "moments float16": {"state_dtype": "float16"},
        "moments bfloat16": {"state_dtype": "bfloat16"},
        "moments bfloat16, stochastic": {"state_dtype": "bfloat16", "stochastic_round": True},
        "all bfloat16, stochastic": {
            "dtype": ml_dtypes.bfloat16,
            "state_dtype": "bfloat16",
            "stochastic_round": True,
        },
    }
    contenders = {name: ours(shapes, **options) for name, options in variants.items()}
    sizes = {}
    for name, step in contenders.items():
        step()
        sizes[name] = sum(bytes_per_element(step))
    if HAS_TORCH:
        contenders["PyTorch fused"] = torch_adam(shapes, "fused")
    times = interleaved(contenders, rounds)
    others = ["float32", *[name for name in contenders if name not in variants]]
    return [
        {"variant": name, "bytes an element": sizes[name], "ms": times.median(name) * 1e3}
        | {other: times.ratio(name, other) for other in others}
        | {"best": {other: times.best_ratio(name, other) for other in others}}
        for name in variants
    ]


def every_optimizer(rounds: int) -> Any:
    """Each optimizer on 16M elements; ratio to the time of its bytes, and of those it reads, at the floor's speed."""
    shapes, results = SHAPES[ONE_LARGE], []
    for name in optimizers.__all__:
        cls = getattr(optimizers, name)
        if not (isinstance(cls, type) and issubclass(cls, optimizers.Optimizer)) or getattr(
            cls, "per_tensor", False
        ):
            continue
        try:
            step = ours(shapes, name, **NEEDS.get(name, {}))
            step()
            read, written = bytes_per_element(step)
        except (TypeError, ValueError):  # wrappers, which are no rules
            continue
        times = interleaved({"ours": step, "floor": floor(shapes)}, rounds)
        seconds, size = times.median("ours"), read + written
        results.append(
            {
                "optimizer": name,
                "read": read,
                "written": written,
                "ms": seconds * 1e3,
                "GB/s": size * 16e6 / seconds / 1e9,
                "read GB/s": read * 16e6 / seconds / 1e9,
                "ratio": times.ratio("ours", "floor") * 28 / size,
                "ratio of reads": times.ratio("ours", "floor") * 16 / read,
                "best": {
                    "ratio": times.best_ratio("ours", "floor") * 28 / size,
                    "ratio of reads": times.best_ratio("ours", "floor") * 16 / read,
                },
            }
        )
    return results


def numpy_engine(rounds: int) -> Any:
    """Adam by the NumPy engine; time / time of the other."""
    results = []
    for name in (ONE_LARGE, SMALL):
        shapes = SHAPES[name]
        contenders = {
            "ours": ours(shapes, engine="numpy"),
            "naive NumPy": naive_numpy(shapes),
            "floor": floor(shapes),
        }
        results.append(_against(name, interleaved(contenders, rounds)))
    return results


_START = """
import time
start = time.perf_counter()
import numpy as np
numpy = time.perf_counter()
from neon_optim import gen_backend
from neon_optim.optimizers import Adam
imported = time.perf_counter()
gen_backend("cpu", engine="numba")
p = np.ones(1000, np.float32)
Adam().optimize([((p, p * 2), [])], 0)
print(numpy - start, imported - numpy, time.perf_counter() - imported)
"""


def start_up(rounds: int) -> Any:
    """Seconds of a new process: import of NumPy, of this package, and the first step after it."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("cold", *["warm"] * 5):
            environment = os.environ | {"NEON_OPTIM_CACHE": folder}
            command = [sys.executable, "-c", _START]
            out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            numpy, imported, step = map(float, out.split())
            results.append(
                {"cache": cache, "import numpy": numpy, "import neon_optim": imported, "first step": step}
            )
    warm = sorted(results[1:], key=lambda r: r["first step"])
    return [results[0], warm[len(warm) // 2]]


def python_time(rounds: int) -> Any:
    """Steps of Adam on tensors of two elements, which are almost nothing but Python; time / time of the other."""
    results = []
    for count in (1, 100, 1000, 5000):
        shapes, times_each = [(2,)] * count, max(1, 100 // count)
        contenders = {"ours": ours(shapes), "ours, new gradients": ours(shapes, new_gradients=True)}
        if HAS_TORCH:
            contenders["PyTorch fused"] = torch_adam(shapes, "fused")
        several = {name: _repeated(step, times_each) for name, step in contenders.items()}
        times = interleaved(several, max(rounds, 30))
        row = {"tensors": count} | {
            f"{name}, µs": times.median(name) * 1e6 / times_each for name in contenders
        }
        if HAS_TORCH:
            row["ratio"] = times.ratio("ours", "PyTorch fused")
            row["best"] = {"ratio": times.best_ratio("ours", "PyTorch fused")}
        results.append(row)
    return results


def _repeated(step: Callable[[], object], count: int) -> Callable[[], object]:
    def several() -> None:
        for _ in range(count):
            step()

    return several


def pytorch_tensors(rounds: int) -> Any:
    """Adam bound to PyTorch's parameters, with the gradients of the step before or new ones; time / time of fused."""
    if not HAS_TORCH:
        return []
    results = []
    for name in (ONE_LARGE, SMALL, "5,000 of 64"):
        for new in (False, True):
            contenders = {
                "ours": torch_bound(SHAPES[name], new),
                "PyTorch fused": torch_adam(SHAPES[name], "fused", new_gradients=new),
                "ours on NumPy": ours(SHAPES[name], new_gradients=new),
            }
            row = _against(name, interleaved(contenders, rounds))
            results.append({"work": row.pop("work"), "gradients": "new" if new else "same"} | row)
    return results


def training(rounds: int) -> Any:
    """One minibatch: forward, cost, backward, update; time / time of the other, ten minibatches a turn."""
    results = []
    for name, (sizes, batch) in MLPS.items():
        count = 10 if sizes[1] < 1_000 else 3
        contenders = {"ours": our_mlp(sizes, batch), "ours on NumPy": our_mlp(sizes, batch, "numpy")}
        if HAS_TORCH:
            contenders["PyTorch"] = torch_mlp(sizes, batch)
        contenders = {other: _repeated(step, count) for other, step in contenders.items()}
        row = _against(name, interleaved(contenders, rounds))
        row["ms"] /= count
        compilers = {"torch.compile": compiled_torch_mlp, "JAX": jax_mlp}
        for other, made in compilers.items():
            compiled = made(sizes, batch)
            if compiled is not None:
                times = interleaved({"ours": contenders["ours"], other: _repeated(compiled, count)}, rounds)
                row[other] = times.ratio("ours", other)
                row["best"][other] = times.best_ratio("ours", other)
        results.append(row)
    if HAS_TORCH:
        shaped = {
            "LeNet, 28 x 28, batch 128": (our_lenet(128), torch_lenet(128)),
            "LSTM of 128, 50 steps, batch 64": (our_lstm(128, 50, 64), torch_lstm(128, 50, 64)),
        }
        for name, (ours_step, torch_step) in shaped.items():
            contenders = {"ours": _repeated(ours_step, 3), "PyTorch": _repeated(torch_step, 3)}
            row = _against(name, interleaved(contenders, rounds))
            row["ms"] /= 3
            results.append(row)
    return results


def passes(rounds: int) -> Any:
    """Softmax with cross-entropy against its reads and writes; the outputs for one sample."""
    floor_of_it = {"ours": our_softmax(4_096, 1_000), "floor": softmax_floor(4_096, 1_000)}
    results = [_against("softmax with cross-entropy, 1,000 x 4,096", interleaved(floor_of_it, rounds))]
    sizes = MLPS["64-128-10, batch 32"][0]
    contenders = {"ours": our_inference(sizes)}
    if HAS_TORCH:
        contenders["PyTorch"] = torch_inference(sizes)
    count = 100
    contenders = {other: _repeated(step, count) for other, step in contenders.items()}
    row = _against("64-128-10, one sample", interleaved(contenders, rounds))
    row["ms"] /= count
    return [*results, row]


STEPS = (adam, clipping, half, every_optimizer, numpy_engine, start_up, python_time, pytorch_tensors)
MODEL = (training, passes)
PARTS = {part.__name__.replace("_", "-"): part for part in (*STEPS, *MODEL)}
GROUPS = {"steps": STEPS, "model": MODEL}


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            model = next(
                (line.split(":")[1].strip() for line in file if line.startswith("model name")), model
            )
    versions = {"neon_optim": __version__, "numpy": np.__version__, "python": platform.python_version()}
    for name in ("numba", "torch", "optax", "jax"):
        if importlib.util.find_spec(name) is not None:
            versions[name] = importlib.metadata.version(name)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join([*GROUPS, *PARTS])}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=15, help="times that each contender runs (15)")
    parser.add_argument("--json", help="file that receives the numbers; parts that it holds already are kept")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - {*PARTS, *GROUPS})
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join([*GROUPS, *PARTS])}")
    wanted = [part for name in options.parts or PARTS for part in GROUPS.get(name) or (PARTS[name],)]
    if HAS_TORCH:
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
    results: dict[str, Any] = {}
    if options.json and os.path.exists(options.json):
        with open(options.json) as file:
            results = json.load(file)
    results["machine"] = machine()
    print(json.dumps(results["machine"]))
    for part in dict.fromkeys(wanted):
        name = part.__name__.replace("_", "-")
        results[name] = part(options.rounds)
        title = (part.__doc__ or name).rstrip(".")
        table(title, results[name])
        if options.json:
            with open(options.json, "w") as file:
                json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
