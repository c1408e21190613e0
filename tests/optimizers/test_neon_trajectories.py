"""Trajectories of real neon 2.6.0 (its CPU backend), bit for bit.

Where a norm is clipped the tolerance is 2e-5 (float32) and 1e-12 (float64) of the largest element: neon sums the
squares in the tensor's dtype and in NumPy's pairwise order, we in float64 in a fixed order.
"""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.described.build import from_description

DATA = Path(__file__).parents[1] / "data"
MANIFEST = json.loads((DATA / "neon_optimizers.json").read_text())
ARRAYS = np.load(DATA / "neon_optimizers.npz")
CASES = {case["name"]: case for case in MANIFEST["cases"]}
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


class Layer:
    """A layer as neon's optimizers see one."""

    def __init__(self, name, params):
        self.name = name
        self.params = params

    def get_params(self):
        return self.params[0] if len(self.params) == 1 else self.params


LAYER_CLASSES = {name: type(name, (Layer,), {}) for name in ("Linear", "Bias")}


def run(case, dtype, open_backend, as_tensors=True, new_lists=False):
    """Yields (step, params, states) at the steps of the snapshots."""
    be = open_backend(datatype=np.dtype(dtype), batch_size=case["bsz"])
    optimizer = from_description({"type": case["optimizer"], "config": copy.deepcopy(case["kwargs"])})
    wrap = be.array if as_tensors else (lambda a, dtype: a.astype(dtype))
    keys = [key.split("/")[1] for key in MANIFEST["inputs"]["params"]]
    params = {key: wrap(ARRAYS[f"init/{key}"], dtype=dtype) for key in keys}
    grads = {key: wrap(np.zeros_like(ARRAYS[f"init/{key}"]), dtype=dtype) for key in keys}
    states = {key: [] for key in keys}

    def layers():
        return [
            LAYER_CLASSES[layer["cls"]](
                layer["name"], [((params[k], grads[k]), states[k]) for k in layer["params"]]
            )
            for layer in case["layers"]
        ]

    kept = layers()
    for step, epoch in enumerate(case["epochs"]):
        for key in keys:
            grads[key][:] = ARRAYS[f"grads/g{key[1:]}"][step].astype(dtype)
        optimizer.optimize(layers() if new_lists else kept, epoch)
        if str(step + 1) in case["keys"][dtype]:
            yield step + 1, [params[k] for k in keys], [states[k] for k in keys]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_trajectory_of_neon(name, dtype, open_backend):
    case = CASES[name]
    clipped = "gradient_clip_norm" in json.dumps(case["kwargs"])
    for step, params, states in run(case, dtype, open_backend):
        expected = case["keys"][dtype][str(step)]
        pairs = list(zip(params, expected["params"], strict=True))
        for mine, theirs in zip(states, expected["states"], strict=True):
            pairs += list(zip(mine, theirs, strict=True))
        for mine, key in pairs:
            if clipped:
                error = np.abs(mine.get() - ARRAYS[key]).max() / np.abs(ARRAYS[key]).max()
                assert error <= TOLERANCE[dtype], key
            else:
                np.testing.assert_array_equal(mine.get(), ARRAYS[key], err_msg=f"{key}")


def test_numpy_arrays_and_new_lists_each_step_give_the_same(engine):
    open_backend = partial(gen_backend, engine=engine)
    for (_, mine, _), (_, theirs, _) in zip(
        run(CASES["adam"], "float32", open_backend),
        run(CASES["adam"], "float32", open_backend, as_tensors=False, new_lists=True),
        strict=True,
    ):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a.get(), b)


def test_another_order_of_operations_is_noticed():
    """Negative control: the comparison is fine enough to see a rule that rounds differently."""
    case = copy.deepcopy(CASES["adam"])
    case["kwargs"]["epsilon_hat"] = False
    step, params, _ = list(run(case, "float32", partial(gen_backend, engine="numpy")))[-1]
    expected = [ARRAYS[key] for key in case["keys"]["float32"][str(step)]["params"]]
    assert any((mine.get() != theirs).any() for mine, theirs in zip(params, expected, strict=True))
