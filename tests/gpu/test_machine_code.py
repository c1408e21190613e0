"""ptxas accepts every kind of kernel, also where the driver is emulated and runs PTX; none spills registers."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.gpu.device import FLAGS
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


@pytest.mark.parametrize("architecture", ["sm_80", "sm_100"])
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
