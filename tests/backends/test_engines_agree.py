"""Both CPU engines give the same bits: every optimizer, dtype and option, random rules, any number of threads."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from neon_optim import cleanup_backend, gen_backend, optimizers
from neon_optim.backends.contract import Rounding
from neon_optim.backends.optree import ELEMENTWISE, Node, Symbol
from neon_optim.backends.program import linearize
from neon_optim.described.build import from_description
from neon_optim.optimizers import Adam, GradientDescentMomentum

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT = {"float16": np.dtype(np.float16), "bfloat16": BFLOAT16} | {
    name: np.dtype(name) for name in ("float32", "float64")
}
SHAPES = [(), (1,), (0, 3), (5,), (3, 7), (70_001, 1), (2, 65_536)]
INEXACT = {"exp", "exp2", "log", "log2", "tanh", "power"}  # which NumPy has in its own way, too


@pytest.fixture(autouse=True)
def _no_backend_left():
    yield
    cleanup_backend()


def assert_same_bits(mine, theirs):
    """Equal to the last bit, the sign of a zero included; any NaN equals any other."""
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    assert mine.dtype == theirs.dtype
    unsigned = np.dtype(f"u{mine.dtype.itemsize}")
    a, b = mine.reshape(-1), theirs.reshape(-1)
    with np.errstate(invalid="ignore"):
        nan = (a != a) & (b != b)
    np.testing.assert_array_equal(np.where(nan, 0, a.view(unsigned)), np.where(nan, 0, b.view(unsigned)))


def tensors(dtypes, shapes=SHAPES, seed=0):
    """((param, grad), []) tuples of the given dtypes, one after the other."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, shape in enumerate(shapes):
        dtype = FLOAT[dtypes[k % len(dtypes)]]
        param = np.array(rng.standard_normal(shape)).astype(dtype)
        rows.append(((param, np.array(rng.standard_normal(shape) * 3).astype(dtype)), []))
    return rows


def train(engine, description, dtypes, steps=3, shapes=SHAPES, stochastic_round=False):
    gen_backend("cpu", rng_seed=5, batch_size=3, engine=engine, stochastic_round=stochastic_round)
    optimizer = from_description(description)
    rows = tensors(dtypes, shapes)
    for step in range(steps):
        for k, ((_, grad), _) in enumerate(rows):
            grad[...] = (np.roll(grad, step + k) * (-1) ** step).astype(grad.dtype)
        optimizer.optimize(rows, epoch=step)
    return [array for (param, _), states in rows for array in (param, *states)]


def described(name, **options):
    needed = {name: {"learning_rate": 0.1} for name in ("SGD", "LARS")}
    needed["GradientDescentMomentum"] = {"learning_rate": 0.1, "momentum_coef": 0.9}
    return {"type": name, "config": needed.get(name, {}) | options}


NAMES = [
    name
    for name in optimizers.__all__
    if isinstance(getattr(optimizers, name), type)
    and issubclass(getattr(optimizers, name), optimizers.Optimizer)
    and name not in ("Optimizer", "MultiOptimizer", "GradientAccumulation", "EMA", "Lookahead", "Wrapper")
    and not getattr(getattr(optimizers, name), "per_tensor", False)
]


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer(name):
    got = {engine: train(engine, described(name), ["float32"]) for engine in ("numpy", "numba")}
    for mine, theirs in zip(got["numpy"], got["numba"], strict=True):
        assert_same_bits(mine, theirs)


EVERY_OPTION = {
    "gradient_clip_norm": 0.7,
    "gradient_clip_value": 0.4,
    "param_clip_value": 1.1,
    "wdecay": 0.01,
    "stochastic_round": True,
}
IN_TURNS = [(name, [sorted(FLOAT)[k % 4]]) for k, name in enumerate(NAMES)]


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [
        *IN_TURNS,
        *[pytest.param(name, sorted(FLOAT), marks=pytest.mark.slow) for name in NAMES],
    ],
)
def test_every_optimizer_with_every_option(name, dtypes):
    description = described(name, **EVERY_OPTION)
    got = {engine: train(engine, description, dtypes) for engine in ("numpy", "numba")}
    for mine, theirs in zip(got["numpy"], got["numba"], strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.filterwarnings("ignore::neon_optim.errors.PrecisionWarning")
@pytest.mark.parametrize("state_dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_states_of_another_dtype(state_dtype, dtype):
    got = {
        engine: train(engine, described("Adam", state_dtype=state_dtype), [dtype])
        for engine in ("numpy", "numba")
    }
    assert got["numba"][1].dtype == FLOAT[state_dtype]
    for mine, theirs in zip(got["numpy"], got["numba"], strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("rounding", [False, True])
def test_every_number_of_threads(engine, rounding, monkeypatch):
    description = described("Adam", gradient_clip_norm=0.5)
    shapes = [(300_000,), (100,), (200_001,), (65_536,)]
    dtype = "bfloat16" if rounding else "float32"
    results = []
    for threads in ("1", "2", "4"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        results.append(train(engine, description, [dtype], shapes=shapes, stochastic_round=rounding))
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            assert_same_bits(mine, theirs)


def test_a_processor_without_float16(monkeypatch):
    expected = train("numba", described("Adam", gradient_clip_norm=0.5), ["float16", "float32"])
    from neon_optim.backends.cpu.compiled import machine_code

    monkeypatch.setattr(machine_code, "converts_float16", lambda: False)
    got = train("numba", described("Adam", gradient_clip_norm=0.5), ["float16", "float32"])
    for mine, theirs in zip(expected, got, strict=True):
        assert_same_bits(mine, theirs)


# --- random rules ---

SLOTS = ("param", "grad", "a", "b")


@st.composite
def expressions(draw, slots):
    """An expression over slots, numbers and reductions; small numbers of shared parts."""
    pool = [*slots, 0.0, -0.0, 1.0, draw(st.floats(-4, 4)), Node("size", slots[0])]
    pool.append(
        Node(
            draw(st.sampled_from(["sum", "sum_square", "amax", "amin", "total_square"])),
            draw(st.sampled_from(slots)),
        )
    )
    for _ in range(draw(st.integers(3, 10))):
        op = draw(st.sampled_from(sorted(ELEMENTWISE)))
        operands = [pool[draw(st.integers(0, len(pool) - 1))] for _ in range(ELEMENTWISE[op])]
        pool.append(Node(op, *operands))
    return pool[-1]


SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 6e-8, 3.0e38, 2.0**-14, 0.1, 65504.0]


def run_rule(engine, outputs, types, sizes, rounding):
    be = gen_backend("cpu", engine=engine, deterministic=True)
    rng = np.random.default_rng(1)
    rows = []
    with np.errstate(over="ignore"):
        for size in sizes:
            row = [
                np.append(rng.choice(SPECIAL, size // 2), rng.standard_normal(size - size // 2))
                for _ in SLOTS
            ]
            rows.append([values.astype(FLOAT[t]) for values, t in zip(row, types, strict=True)])
    program, scalars = linearize("random", SLOTS, outputs)
    plan = be.plan([((row[0], row[1]), row[2:]) for row in rows], SLOTS)
    be.execute(program, plan, [scalars], rounding)
    return rows


some = settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # every attempt to shrink would compile a kernel
)


@some
@given(data=st.data())
def test_random_rules(data, tmp_path_factory):
    engines_agree_about_random_rules(data, tmp_path_factory)


@pytest.mark.slow
@settings(some, max_examples=40)
@given(data=st.data())
def test_many_random_rules(data, tmp_path_factory):
    engines_agree_about_random_rules(data, tmp_path_factory)


def engines_agree_about_random_rules(data, tmp_path_factory):
    symbols = [Symbol(name, k) for k, name in enumerate(SLOTS)]
    outputs = [(k, data.draw(expressions(symbols), label=SLOTS[k])) for k in (0, 2, 3)]
    types = data.draw(st.lists(st.sampled_from(sorted(FLOAT)), min_size=4, max_size=4), label="dtypes")
    rounding = data.draw(st.sampled_from([None, Rounding(0, 1, 2), Rounding(5, 1, 2)]), label="rounding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEON_OPTIM_CACHE", str(tmp_path_factory.getbasetemp() / "random-kernels"))
        got = {
            engine: run_rule(engine, outputs, types, [1, 7, 300, 66_000], rounding)
            for engine in ("numpy", "numba")
        }
    for mine, theirs in zip(got["numpy"], got["numba"], strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("rounding", [None, Rounding(0, 1, 2)])
def test_a_number_stored_everywhere(storage, compute, rounding):
    number = 3.85 + 2.0**-30
    types = [storage, compute, storage, storage]
    got = [
        run_rule(engine, [(0, Node("absolute", number))], types, [1000], rounding)
        for engine in ("numpy", "numba")
    ]
    assert_same_bits(got[0][0][0], got[1][0][0])
    assert len(np.unique(got[0][0][0])) == (1 if rounding is None else 2)


@pytest.mark.parametrize("op", sorted(INEXACT - {"power"}))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_are_close_to_numpys_own(op, dtype):
    """Tolerance: NumPy's in float32 are up to 4 ulp off (numpy/_core/tests/test_umath.py), those of this package 1."""
    values = np.linspace(0.01, 8, 5000).astype(dtype)
    out = []
    for engine in ("numpy", "numba"):
        be = gen_backend("cpu", engine=engine)
        result, grad = np.zeros_like(values), values.copy()
        program, scalars = linearize(op, SLOTS[:2], [(0, Node(op, Symbol("grad", 1)))])
        be.execute(program, be.plan([((result, grad), [])], SLOTS[:2]), [scalars])
        out.append(result)
    np.testing.assert_array_max_ulp(out[0], out[1], 5)


def test_zeros_of_both_signs_have_a_larger_and_a_smaller():
    zeros = np.array([0.0, -0.0, 0.0, -0.0] * 9, np.float32)
    others = np.array([0.0, 0.0, -0.0, -0.0] * 9, np.float32)
    for engine in ("numpy", "numba"):
        be = gen_backend("cpu", engine=engine)
        for op, sign in (("maximum", [0, 0, 0, 1]), ("minimum", [0, 1, 1, 1])):
            out, grad, other = np.ones(36, np.float32), zeros.copy(), others.copy()
            program, scalars = linearize(op, SLOTS[:3], [(0, Node(op, Symbol("grad", 1), Symbol("a", 2)))])
            be.execute(program, be.plan([((out, grad), [other])], SLOTS[:3]), [scalars])
            np.testing.assert_array_equal(np.signbit(out), np.array(sign * 9, bool))


@pytest.mark.parametrize("op", ["maximum", "minimum"])
@pytest.mark.parametrize("bound", [1.0, 0.0, -0.0, np.nan, 1e-60], ids=repr)
@pytest.mark.parametrize("by_row", [False, True])
def test_bounds_that_are_zero_or_no_number_are_like_any(op, bound, by_row):
    number = Node("size", Symbol("param", 0)) * bound if by_row else bound
    outputs = [(0, Node(op, Symbol("grad", 1), number)), (2, Node(op, number, Symbol("grad", 1)))]
    got = [run_rule(engine, outputs, ["float32"] * 4, [1, 300, 500], None) for engine in ("numpy", "numba")]
    for mine, theirs in zip(*got, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert_same_bits(a, b)


def test_a_difference_in_the_last_bit_is_noticed():
    """Negative control: another order of operations gives other bits, and the comparison says so."""
    got = [
        train("numpy", described("Adam", learning_rate=lr), ["float32"]) for lr in (1e-3, 1e-3 * (1 + 1e-6))
    ]
    with pytest.raises(AssertionError):
        assert_same_bits(got[0][-3], got[1][-3])  # the last parameter


class SeventhPower(GradientDescentMomentum):
    """A rule that no other test has compiled."""

    def update(self, now, param, grad, velocity):
        cube = grad * grad * grad
        param[:] = param - now.lr * (cube * cube * grad)


def test_numbers_of_a_step_are_no_part_of_what_is_compiled():
    gen_backend("cpu", engine="numba")
    rows = tensors(["float32"])
    optimizer = Adam(learning_rate=0.1)
    optimizer.optimize(rows, 0)
    from neon_optim.backends.program import _interned

    before = sum(len(program.compiled) for program in _interned.values())
    for rate in (0.2, 0.3):
        optimizer.learning_rate, optimizer.beta_1 = rate, rate
        optimizer.optimize(rows, 0)
    assert sum(len(program.compiled) for program in _interned.values()) == before
    SeventhPower(0.1, 0.9).optimize(tensors(["float32"]), 0)
    assert sum(len(program.compiled) for program in _interned.values()) > before
