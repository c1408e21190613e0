"""What nvcc makes of the kernels, also where the driver is emulated and runs PTX: registers, accesses, order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.gpu.device import FLAGS
from neon_optim.backends.gpu.program_source import program_source
from neon_optim.backends.optree import NamedScalar, Node, Symbol
from neon_optim.backends.program import linearize
from neon_optim.optimizers import LAMB, Adam, ShiftAdaMax

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


def every_kind_of_kernel():
    """name -> source, of what these calls compile."""
    be = gen_backend("gpu", batch_size=2)
    a = be.array(np.random.RandomState(0).randn(6, 5))
    half = be.array(np.ones((6, 5)), dtype=np.float16)
    square, column, out = be.empty((6, 6)), be.empty((6, 1)), be.empty((6, 5))
    square[:] = be.dot(a, a.T)
    out[:] = be.exp(a.T.T) * be.mean(a) + half
    column[:] = be.argmax(a, axis=1)
    column[:] = be.mean(a, axis=1)
    out[:] = be.take(a, be.array([5, 4, 3, 2, 1, 0]), axis=0)
    be.bernoulli(out, 0.5, stream=0, step=0)
    for optimizer in (Adam(gradient_clip_norm=1.0), Adam(stochastic_round=True), ShiftAdaMax(), LAMB()):
        for dtype in (np.float16, np.float32, np.float64):
            row = ((be.ones((6, 5), dtype=dtype), be.ones((6, 5), dtype=dtype)), [])
            optimizer.optimize([row], 0)
    sources = {source: name for source, name, _ in be.device._kernels}
    cleanup_backend()
    return sources


ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kind_of_kernel_becomes_machine_code(architecture, tmp_path):
    sources = every_kind_of_kernel()
    assert len(sources) > 15
    for source, name in sources.items():
        (tmp_path / "kernel.cu").write_text(source)
        command = ["nvcc", "-arch", architecture, "-Xptxas", "-v", *FLAGS, "--fatbin", "kernel.cu"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}:\n{done.stderr}"
        spills = re.findall(r"(\d+) bytes spill", done.stderr)
        assert spills, done.stderr
        assert set(spills) == {"0"}, f"{name} spills:\n{done.stderr}"


def disassembled(program, architecture, folder):
    """The operations of a Program's kernels for float32, in order."""
    wheels = [str(Path(place) / "nvidia" / "cu13" / "bin") for place in sys.path]
    path = os.pathsep.join([*wheels, os.environ["PATH"]])
    tool = shutil.which("cuobjdump", path=path)
    if tool is None or shutil.which("nvdisasm", path=path) is None:
        pytest.skip("no cuobjdump and nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    dtype = np.dtype(np.float32)
    (folder / "kernel.cu").write_text(program_source(program, [dtype] * len(program.slots), dtype, 16))
    # -fatbin, as the emulator's nvcc makes PTX where a cubin is asked for.
    command = ["nvcc", "-arch", architecture, *FLAGS, "--fatbin", "kernel.cu", "-o", "kernel.fatbin"]
    subprocess.run(command, cwd=folder, check=True)
    listing = [tool, "-sass", "kernel.fatbin"]
    done = subprocess.run(
        listing, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+ )?([A-Z][\w.]*)", done.stdout)


PARAM, GRAD = Symbol("param", 0), Symbol("grad", 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_update_is_made_of_wide_global_accesses_and_rounds_each_operation(architecture, tmp_path):
    rate, decay = NamedScalar("rate"), NamedScalar("decay")
    program, _ = linearize("update", ["param", "grad"], [(0, PARAM - rate * (GRAD + decay * PARAM))])
    operations = disassembled(program, architecture, tmp_path)
    assert "LDG.E.128" in operations
    assert "STG.E.128" in operations
    bad = [op for op in operations if re.match(r"(LD|ST|LDL|STL)(\.|$)|[DF]FMA", op)]
    assert not bad, "accesses through generic or local addresses, or products fused into sums"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_join_is_fenced_on_both_sides_of_its_ticket(architecture, tmp_path):
    """The last block sees what all others have computed; the host sees a refusal before it sees an end."""
    norm = Node("total_square", GRAD)
    program, _ = linearize("guarded", ["param", "grad"], [(0, PARAM - GRAD)], guard=norm)
    operations = disassembled(program, architecture, tmp_path)
    order = [op for op in operations if re.match(r"ATOM|MEMBAR", op)]
    kinds = ["ticket" if op.startswith("ATOM") else op.rpartition(".")[2] for op in order]
    assert kinds == ["GPU", "ticket", "GPU", "SYS"], order
