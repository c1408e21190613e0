"""What can be known about the CUDA kernels without a GPU: ``python benchmarks/gpu_static.py [--markdown FILE]``.

Compiles Adam's kernels for three architectures and reads ptxas' report and the machine code (SASS): registers, spills,
shared memory, instructions and bytes an element in the main loop, width of its loads and stores. Then counts what a
step asks of the driver, on the emulated driver of the tests: launches, waits, copies. No time is measured.

Needs nvcc and cuobjdump on PATH, or the wheels nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm; the second table needs
PyCUDA.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.gpu.device import FLAGS
from neon_optim.backends.gpu.kernel_arguments import kernel_name
from neon_optim.backends.gpu.program_source import program_source
from neon_optim.backends.program import Program
from neon_optim.optimizers import Adam
from neon_optim.stepping.part import Part

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
CLIPS = {"gradient_clip_norm": 1.0, "gradient_clip_value": 0.5, "param_clip_value": 2.0}
RULES = {"Adam": {}, "Adam, all clips": CLIPS}
STORAGES = {
    "float32": ("float32",) * 4,
    "float32, 16-bit states": ("float32", "float32", "float16", "float16"),
    "float16": ("float16",) * 4,
}
TESTS = Path(__file__).resolve().parent.parent / "tests"
FLOAT32 = np.dtype(np.float32)


@dataclass
class Kernel:
    """One kernel as compiled for one architecture; loops are those of whole vectors."""

    name: str
    registers: int
    spilled: int
    shared: int
    instructions: float
    bytes: float
    loads: str
    stores: str


def tool(name: str) -> str:
    """A program of the toolkit, on PATH or in a wheel of this environment."""
    wheels = [str(path / "nvidia" / "cu13" / "bin") for path in map(Path, sys.path)]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *wheels]))
    if found is None:
        sys.exit(f"no {name}: put the CUDA toolkit's bin folder on PATH, or pip install nvidia-cuda-{name}")
    return found


def program_of(options: dict[str, float]) -> Program:
    gen_backend("cpu", engine="numpy")
    optimizer = Adam(**options)
    rule = optimizer.rule_for(None)
    program = Part(rule).traced(rule.numbers(0, 1.0, False), alone=True).program
    cleanup_backend()
    return program


def compile_kernels(program: Program, storage: tuple[str, ...], architecture: str) -> Iterator[Kernel]:
    dtypes = [np.dtype(d) for d in storage]
    with tempfile.TemporaryDirectory() as folder:
        source, image = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        source.write_text(program_source(program, dtypes, FLOAT32, capacity=16))
        command = [
            tool("nvcc"),
            "-arch",
            architecture,
            "-Xptxas",
            "-v",
            *FLAGS,
            "--cubin",
            str(source),
            "-o",
            str(image),
        ]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        for number in range(len(program.stages)):
            name = kernel_name(program, number)
            listing = [tool("cuobjdump"), "-sass", "-fun", name, str(image)]
            path = {"PATH": os.pathsep.join([str(Path(tool("nvdisasm")).parent), os.environ["PATH"]])}
            sass = subprocess.run(
                listing, capture_output=True, text=True, check=True, env=os.environ | path
            ).stdout
            yield read_kernel(name, report, sass, dtypes)


def read_kernel(name: str, report: str, sass: str, dtypes: list[np.dtype]) -> Kernel:
    entry = report[report.index(f"'{name}'") :]
    used = re.search(r"Used (\d+) registers", entry)
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", entry)
    shared = re.search(r"(\d+) bytes smem", entry.split("Compiling")[0])
    if used is None or spilled is None:
        sys.exit(f"ptxas says nothing about {name}:\n{report}")
    loop = main_loop(sass)
    loads, stores = ([m for m in loop if m.startswith(kind)] for kind in ("LDG", "STG"))
    read, written = sum(map(width, loads)), sum(map(width, stores))
    # Every element of the vectors is read once from each slot that the kernel reads.
    per_element = sum(d.itemsize for d in dtypes) if stores else dtypes[1].itemsize
    elements = read / per_element
    return Kernel(
        name,
        int(used[1]),
        int(spilled[1]) + int(spilled[2]),
        int(shared[1]) if shared else 0,
        len(loop) / elements,
        (read + written) / elements,
        widths(loads),
        widths(stores),
    )


def main_loop(sass: str) -> list[str]:
    """The operations of the innermost loop with the widest loads."""
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?\w+ )?([A-Z][\w.]*)([^;]*);", sass)
    addresses = [int(address, 16) for address, _, _ in lines]
    best: list[str] = []
    for position, (_, operation, operands) in enumerate(lines):
        target = re.search(r"0x([0-9a-f]+)", operands)
        if not operation.startswith("BRA") or target is None or int(target[1], 16) > addresses[position]:
            continue
        body = [op for _, op, _ in lines[addresses.index(int(target[1], 16)) : position + 1]]
        wide = [op for op in body if op.startswith("LDG")]
        if wide and (not best or (max(map(width, wide)), -len(body)) > (widest(best), -len(best))):
            best = body
    return best


def widest(body: list[str]) -> int:
    return max(width(op) for op in body if op.startswith("LDG"))


def width(operation: str) -> int:
    """Bytes that a load or a store moves for one thread."""
    bits = re.search(r"\.(256|128|64|U?16|U?8)\b", operation)
    return int(bits[1].lstrip("U")) // 8 if bits else 4


def widths(operations: list[str]) -> str:
    counts = {bits: sum(width(op) * 8 == bits for op in operations) for bits in (256, 128, 64, 32, 16)}
    return ", ".join(f"{count} x {bits}" for bits, count in counts.items() if count) or "none"


def compiled_table() -> list[str]:
    lines = [
        "| rule | storage | architecture | kernel | registers | spilled bytes | shared bytes "
        "| instructions an element | bytes an element | loads (bits) | stores (bits) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for rule, options in RULES.items():
        program = program_of(options)
        for storage, dtypes in STORAGES.items():
            for architecture in ARCHITECTURES:
                for k in compile_kernels(program, dtypes, architecture):
                    cells = [rule, storage, architecture, f"`{k.name}`", k.registers, k.spilled, k.shared]
                    cells += [f"{k.instructions:.1f}", f"{k.bytes:.0f}", k.loads, k.stores]
                    lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def driver_table() -> list[str]:
    """What the second step over unchanged tensors asks of the (emulated) driver."""
    if importlib.util.find_spec("pycuda") is None:
        return ["PyCUDA is not installed: what a step asks of the driver was not counted."]
    sys.path.insert(0, str(TESTS))
    from cudasim import session

    session.start("emulated")
    lines = [
        "| rule | tensors | launches | host waits | bytes host to device | bytes device to host | allocations |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule, options in RULES.items():
        for count in (1, 100, 5000):
            be = gen_backend("gpu")
            rows = [((be.ones((16, 4)), be.ones((16, 4))), []) for _ in range(count)]
            optimizer = Adam(**options)
            optimizer.optimize(rows, 0)
            before = session.counters()
            optimizer.optimize(rows, 0)
            spent = session.counters() - before
            lines.append(
                f"| {rule} | {count:,} | {spent['launches']} | {spent['synchronizations']} "
                f"| {spent['host_to_device_bytes']} | {spent['device_to_host_bytes']} | {spent['allocations']} |"
            )
            cleanup_backend()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", type=Path, help="write the tables there instead of printing them")
    arguments = parser.parse_args()
    text = "\n".join([*compiled_table(), "", *driver_table()]) + "\n"
    if arguments.markdown:
        arguments.markdown.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
