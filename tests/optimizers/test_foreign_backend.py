"""Our optimizers on a neon-style backend that is none of ours: the same rule, tensor by tensor.

The backend here evaluates eagerly in NumPy, in the tensor's dtype, and offers what neon's NervanaCPU does: tensors
with ``get`` and slice assignment, and its functions by its names.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from rows import ROWS
from test_neon_trajectories import ARRAYS, CASES, MANIFEST

from neon_optim import gen_backend
from neon_optim.described.build import from_description
from neon_optim.described.object import NervanaObject


class ForeignTensor:
    def __init__(self, ary):
        self.ary = ary
        self.shape, self.dtype = ary.shape, ary.dtype

    def get(self):
        return self.ary.copy()

    def __setitem__(self, key, value):
        self.ary[key] = raw(value)

    def __neg__(self):
        return ForeignTensor(-self.ary)


def raw(value):
    return value.ary if isinstance(value, ForeignTensor) else value


def lift(function):
    return lambda *args: ForeignTensor(function(*[raw(a) for a in args]))


for operator in ("add", "sub", "mul", "truediv"):
    for prefix in ("", "r"):
        method = f"__{prefix}{operator}__"
        setattr(ForeignTensor, method, lift(getattr(np.ndarray, method)))


def shift(a, b):
    return a * np.sign(b) * (2 ** np.rint(np.log2(np.abs(b)))).astype(a.dtype)


class ForeignBackend:
    bsz = 32
    clip, maximum, sqrt, square = lift(np.clip), lift(np.maximum), lift(np.sqrt), lift(np.square)
    absolute, shift, sgn = lift(np.abs), lift(shift), lift(np.sign)
    clip, maximum, sqrt, square, absolute, shift, sgn = map(
        staticmethod, (clip, maximum, sqrt, square, absolute, shift, sgn)
    )

    @staticmethod
    def zeros_like(ary):
        return ForeignTensor(np.zeros_like(ary.ary))


@pytest.fixture
def _foreign():
    NervanaObject.be = ForeignBackend()
    yield
    NervanaObject.be = None


UNCLIPPED = [name for name, case in CASES.items() if "clip" not in str(case["kwargs"]) and name != "multi"]


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("name", [*UNCLIPPED, "gdm_momentum_clipnorm"])
def test_the_trajectory_is_neons(name):
    case = CASES[name]
    optimizer = from_description({"type": case["optimizer"], "config": copy.deepcopy(case["kwargs"])})
    keys = [key.split("/")[1] for key in MANIFEST["inputs"]["params"]]
    tuples = [
        (
            (
                ForeignTensor(ARRAYS[f"init/{k}"].copy()),
                ForeignTensor(np.zeros_like(ARRAYS[f"init/{k}"])),
            ),
            [],
        )
        for k in keys
    ]
    for step, epoch in enumerate(case["epochs"]):
        for key, ((_, grad), _) in zip(keys, tuples, strict=True):
            grad[:] = ARRAYS[f"grads/g{key[1:]}"][step]
        optimizer.optimize(tuples, epoch=epoch)
    for ((param, _), _), key in zip(tuples, case["keys"]["float32"]["20"]["params"], strict=True):
        if "clipnorm" in name:
            np.testing.assert_allclose(param.get(), ARRAYS[key], rtol=2e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(param.get(), ARRAYS[key])


ELEMENTWISE = ["SGD", "AdamW", "Adamax", "NAdam", "RAdam", "Lion", "AdaBelief", "Yogi", "ScheduleFreeAdamW"]
WRAPPED = ["EMA", "Lookahead", "GradientAccumulation"]


@pytest.mark.parametrize("name", ELEMENTWISE + WRAPPED)
def test_what_is_written_in_neons_own_functions_runs_there_too(name):
    """The same numbers as on our backend, up to the order in which scalars are multiplied."""
    (row,) = [row for row in ROWS if row.name == name]
    found = []
    for foreign in (False, True):
        NervanaObject.be = ForeignBackend() if foreign else None
        if not foreign:
            gen_backend("cpu", batch_size=ForeignBackend.bsz, engine="numpy")
        wrap = ForeignTensor if foreign else np.array
        param, grad = wrap(np.linspace(0.1, 1.0, 6)), wrap(np.zeros(6))
        optimizer, states = row.make(**row.other), []
        for step in range(6):
            grad[:] = np.sin(np.arange(6.0) + step)
            optimizer.optimize([((param, grad), states)], 0)
        found.append(param.get() if foreign else param)
    NervanaObject.be = None
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.usefixtures("_foreign")
def test_a_gradient_that_is_not_finite_stops_the_step():
    optimizer = from_description({"type": "Adam", "config": {"on_nonfinite": "skip"}})
    param, grad = ForeignTensor(np.ones((2, 2))), ForeignTensor(np.full((2, 2), np.nan))
    states = []
    optimizer.optimize([((param, grad), states)], 0)
    np.testing.assert_array_equal(param.get(), np.ones((2, 2)))
    assert optimizer.t == 0
    assert states == []
