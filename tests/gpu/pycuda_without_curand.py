"""pytest plugin for PyCUDA's own tests: random arrays from NumPy, for a PyCUDA that was built without cuRAND."""

import sys
import types

import numpy as np


def rand(shape, dtype=np.float32, stream=None):
    """What pycuda.curandom.rand gives: uniform in [0, 1), or any integers."""
    from pycuda import gpuarray

    generator = np.random.default_rng(1)
    floats = np.dtype(dtype).kind == "f"
    values = generator.random(shape) if floats else generator.integers(0, 2**31 - 1, shape)
    return gpuarray.to_gpu(values.astype(dtype))


stand_in = types.ModuleType("pycuda.curandom")
stand_in.rand = rand
sys.modules["pycuda.curandom"] = stand_in
