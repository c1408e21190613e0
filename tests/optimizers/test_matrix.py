"""What every optimizer must do, the rows of rows.py by the columns of this file.

Golden trajectories are in test_golden.py and test_neon_trajectories.py, examples in the docstrings.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from rows import ROWS

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends import program
from neon_optim.described import registry
from neon_optim.described.build import from_description
from neon_optim.optimizers import Wrapper
from neon_optim.schedules import Cosine
from neon_optim.serialization import load_checkpoint, save_checkpoint
from neon_optim.serialization.config.yaml_dump import dump_config
from neon_optim.serialization.config.yaml_tree import parse_yaml

GRADS = np.random.default_rng(5).normal(size=(8, 4, 3))
SIMPLE = [row for row in ROWS if not row.name.startswith("Multi") and "optimizer" not in row.config]
DATA = Path(__file__).parents[1] / "data"

OPTIONS = {
    "schedule": {"type": "Linear", "config": {"length": 20, "unit": "step"}},
    "wdecay": 0.3,
    "decoupled_wdecay": 0.2,
    "no_decay": ["bias/*"],
    "gradient_clip_value": 0.6,
    "gradient_clip_norm": 1.5,
    "param_clip_value": 2.2,
    "on_nonfinite": "raise",
    "maximize": True,
}

each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_simple = pytest.mark.parametrize("row", SIMPLE, ids=lambda row: row.name)


class Layer:
    def __init__(self, name, *values):
        self.name = name
        self.values = list(values)

    def get_params(self):
        return self.values


def layers(dtype=np.float64):
    """Two layers: a matrix and a vector, another matrix."""
    shapes = ((4, 3), (4, 1), (4, 3))
    rows = [((np.full(s, 0.5 + k, dtype), np.zeros(s, dtype)), []) for k, s in enumerate(shapes)]
    return [Layer("a", *rows[:2]), Layer("bias", rows[2])]


def train(optimizer, net, steps, epoch=0):
    for step in steps:
        for k, row in enumerate(value for layer in net for value in layer.values):
            row[0][1][:] = GRADS[step][:, : row[0][1].shape[1]] * (k + 1.0)
        optimizer.optimize(net, epoch)


def arrays(net):
    found = []
    for (param, _), states in (value for layer in net for value in layer.values):
        found += [param, *(s if isinstance(s, np.ndarray) else s.get() for s in states)]
    return found


def restored(net):
    return [
        Layer(
            layer.name,
            *(((p.copy(), g.copy()), [s.copy() for s in states]) for (p, g), states in layer.values),
        )
        for layer in net
    ]


def test_every_optimizer_has_a_row():
    classes = {registry.resolve(name, "optimizer") for name in registry.available("optimizer")}
    ours = {cls.__name__ for cls in classes if cls.__module__.startswith("neon_optim.")}
    assert ours == {row.name for row in ROWS}


def test_every_algorithm_has_golden_values():
    named = json.loads((DATA / "neon_optimizers.json").read_text())["cases"]
    golden = {case["optimizer"].lower() for case in named}
    golden |= {
        c["optimizer"].lower() for c in json.loads((DATA / "torch_optax_manifest.json").read_text())["cases"]
    }
    golden |= {case["type"].lower() for case in json.loads((DATA / "held_out.json").read_text())["cases"]}
    assert {row.name.lower() for row in SIMPLE} <= golden


@each
def test_a_file_is_a_screen_long_and_says_what_where_and_from_whom(row):
    cls = registry.resolve(row.name, "optimizer")
    assert len(inspect.getsource(inspect.getmodule(cls)).splitlines()) < 150
    for section in ("Arguments:", "References:", ">>> "):
        assert section in inspect.getdoc(cls), section


def parabola(w):
    target = np.array([[0.5], [-0.8]])
    return float(((w - target) ** 2).sum()), 2.0 * (w - target)


def rosenbrock(w):
    x, y = w[:, 0]
    grad = [[-2 * (1 - x) - 400 * x * (y - x * x)], [200 * (y - x * x)]]
    return float((1 - x) ** 2 + 100 * (y - x * x) ** 2), np.array(grad)


@pytest.mark.parametrize(
    ("function", "start", "steps", "share"),
    [(parabola, [[0.1], [0.1]], 200, 1e-4), (rosenbrock, [[-0.5], [0.5]], 600, 0.1)],
    ids=["parabola", "rosenbrock"],
)
@each
def test_it_converges(row, function, start, steps, share):
    gen_backend("cpu", datatype=np.float64, engine="numpy")
    options = {} if row.own_schedule else {"schedule": Cosine(steps, unit="step")}
    w = np.array(start)
    dw = np.zeros_like(w)
    bound = row.make(**options).bind([(w, dw)])
    first = function(w)[0]
    for _ in range(steps):
        dw[:] = function(w)[1]
        bound.step()
    with bound.evaluation():
        assert function(w)[0] < share * first


@pytest.mark.parametrize("arguments", ["config", "other"])
@each
def test_it_resumes_exactly_after_every_step(row, arguments, engine):
    gen_backend("cpu", datatype=np.float64, batch_size=2, engine=engine)
    options = row.other if arguments == "other" else {}
    whole, reference = layers(), row.make(**options)
    train(reference, whole, range(8))
    stopped, before = layers(), row.make(**options)
    for stop in range(8):
        again = from_description(json.loads(json.dumps(before.get_description())), "optimizer")
        again.set_counters(json.loads(json.dumps(before.get_counters())))
        net = restored(stopped)
        train(again, net, range(stop, 8))
        for mine, theirs in zip(arrays(net), arrays(whole), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        train(before, stopped, [stop])


@each
def test_a_checkpoint_alone_rebuilds_and_resumes_it(row, tmp_path):
    gen_backend("cpu", datatype=np.float64, rng_seed=3, engine="numpy")
    whole, reference = layers(), row.make(**row.other)
    train(reference, whole, range(8))
    stopped, before = layers(), row.make(**row.other)
    train(before, stopped, range(5))
    path = save_checkpoint(tmp_path / "c.safetensors", optimizer=before, layers=stopped, epoch=1)
    cleanup_backend()

    gen_backend("cpu", datatype=np.float64, rng_seed=3, engine="numpy")
    net = layers()
    again = from_description(load_checkpoint(path).description, "optimizer")
    load_checkpoint(path, optimizer=again, layers=net)
    train(again, net, range(5, 8))
    for mine, theirs in zip(arrays(net), arrays(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.filterwarnings("ignore::neon_optim.errors.PrecisionWarning")
@each_simple
def test_all_options_together_resume_exactly_too(row, engine):
    options = {**OPTIONS, "state_dtype": "float16", "stochastic_round": True}

    def run(stop):
        gen_backend("cpu", rng_seed=3, batch_size=4, engine=engine)
        net, optimizer = layers(np.float32), row.make(**options)
        train(optimizer, net, range(stop))
        again = from_description(json.loads(json.dumps(optimizer.get_description())), "optimizer")
        again.set_counters(optimizer.get_counters())
        train(again, net, range(stop, 8))
        return arrays(net)

    whole = run(0)
    for stop in (1, 4, 7):
        for mine, theirs in zip(run(stop), whole, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@each
def test_every_dtype_and_both_engines(row, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    expected = layers(np.float64)
    gen_backend("cpu", datatype=np.float64, engine="numpy")
    train(row.make(**row.other), expected, range(4))
    found = []
    for engine in ("numpy", "numba"):
        if engine == "numba":
            pytest.importorskip("numba")
        gen_backend("cpu", engine=engine, rng_seed=1)
        net = layers(np.dtype(dtype))
        train(row.make(**row.other), net, range(4))
        found.append(arrays(net))
    assert all(param.dtype == np.dtype(dtype) for layer in net for (param, _), _ in layer.values)
    kept = np.dtype(dtype) if np.dtype(dtype).itemsize > 2 else np.float32
    assert all(state.dtype == kept for layer in net for _, states in layer.values for state in states)
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    tolerance = 64 * float(np.spacing(np.ones(1, dtype))[0])
    for ((mine, _), _), ((theirs, _), _) in zip(
        (v for layer in net for v in layer.values),
        (v for layer in expected for v in layer.values),
        strict=True,
    ):
        np.testing.assert_allclose(mine.astype(np.float64), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@each
def test_the_gpu_gives_the_same_bits(row):
    """But for matrix products and sums along an axis, whose order is each library's own."""
    found = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, batch_size=2)
        net = layers(np.float32)
        for layer in net:
            layer.values = [(tuple(be.array(a) for a in pair), []) for pair, _ in layer.values]
        optimizer = row.make(**row.other)
        for step in range(5):
            for k, ((_, dw), _) in enumerate(value for layer in net for value in layer.values):
                dw.set((GRADS[step][:, : dw.shape[1]] * (k + 1.0)).astype(np.float32))
            optimizer.optimize(net, 0)
        values = [value for layer in net for value in layer.values]
        found.append([t.get() for (param, _), states in values for t in (param, *states)])
    for mine, theirs in zip(*found, strict=True):
        if getattr(optimizer, "per_tensor", False):
            np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(mine, theirs)


@each
def test_a_description_holds_what_differs_from_the_default_and_rebuilds_it(row):
    optimizer = row.make(name="mine", **row.other)
    description = optimizer.get_description()
    assert description["type"].endswith("." + row.name)
    plain = {key: value for key, value in row.other.items() if isinstance(value, (int, float, str))}
    assert plain.items() <= description["config"].items()
    assert description["config"]["name"] == "mine"
    again = from_description(json.loads(json.dumps(description)), "optimizer")
    assert again.get_description() == description
    assert set(description["config"]) <= {*row.config, *row.other, "name"}


@each
def test_it_goes_through_yaml(row):
    optimizer = row.make(**row.other)
    text = dump_config(optimizer)
    assert from_description(parse_yaml(text), "optimizer").get_description() == optimizer.get_description()


@each
def test_new_numbers_compile_nothing_new(row, engine):
    gen_backend("cpu", datatype=np.float64, engine=engine)
    optimizer, net = row.make(**row.other), layers()
    train(optimizer, net, range(6), epoch=0)  # Lookahead and the like have a few rules, all met by now
    programs = len(program._interned)
    compiled = sum(len(p.compiled) for p in program._interned.values())
    train(optimizer, net, range(2, 8), epoch=7)
    assert len(program._interned) == programs
    assert sum(len(p.compiled) for p in program._interned.values()) == compiled


@each_simple
def test_all_options_together_are_what_each_says(row, engine):
    """Against the bare rule, run tensor by tensor on what was treated by hand."""
    be = gen_backend("cpu", datatype=np.float64, batch_size=4, engine=engine)
    optimizer, net = row.make(**OPTIONS), layers()
    twin, by_hand = row.make(**OPTIONS), layers()
    for step in range(6):
        train(optimizer, net, [step])
        now = twin.at(0)
        rows = [value for layer in by_hand for value in layer.values]
        grads = [GRADS[step][:, : r[0][1].shape[1]] * (k + 1.0) / 4 for k, r in enumerate(rows)]
        scale = min(1.0, 1.5 / np.sqrt(sum((g**2).sum() for g in grads)))
        for k, (((param, dw), states), grad) in enumerate(zip(rows, grads, strict=True)):
            states = states or [twin.new_state(slot, param, dw) for slot in twin.slots]
            rows[k][1][:] = states
            decay, decoupled_decay = (0.0, 0.0) if k == 2 else (0.3, 0.2)
            grad = -np.clip(grad, -0.6, 0.6) * (1.0 if twin.scales_update else scale)
            param *= 1.0 - now.lr * decoupled_decay
            if twin.decay_form == "coupled":
                grad = grad + decay * param
            numbers = now.with_numbers(wdecay=decay, scale=scale if twin.scales_update else 1.0)
            twin.update(numbers, *[be.as_tensor(value) for value in (param, grad, *states)])
            np.clip(param, -2.2, 2.2, out=param)
        twin.commit(now)
    assert scale < 1.0
    for mine, theirs in zip(arrays(net), arrays(by_hand), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)


@each_simple
def test_elements_do_not_know_which_tensor_they_are_in(row, engine):
    """A rule without norms gives the same bits however its elements are cut into tensors."""
    if row.name in ("LAMB", "LARS", "Muon", "Adafactor"):
        pytest.skip("takes norms or products tensor by tensor")
    gen_backend("cpu", datatype=np.float32, engine=engine)
    rng = np.random.default_rng(2)
    start, grads = rng.normal(size=1000).astype(np.float32), rng.normal(size=(4, 1000)).astype(np.float32)
    found = []
    for cuts in ([], [1, 2, 999], [256, 512], list(range(100, 1000, 100))):
        pairs = [(part.copy(), part.copy()) for part in np.split(start, cuts)]
        bound = row.make(**{k: v for k, v in row.other.items() if k != "gradient_clip_norm"}).bind(pairs)
        for grad in grads:
            for (_, mine), part in zip(pairs, np.split(grad, cuts), strict=True):
                mine[:] = part
            bound.step()
        found.append(np.concatenate([param for param, _ in pairs]))
    for other in found[1:]:
        np.testing.assert_allclose(
            other, found[0], rtol=1e-5 if "gradient_clip_norm" in row.config else 0, atol=0
        )


@each_simple
def test_parameters_without_decay_are_in_the_same_pass(row, engine):
    be = gen_backend("cpu", datatype=np.float64, engine=engine)
    optimizer, net = row.make(wdecay=0.3, decoupled_wdecay=0.1, no_decay=["bias", "*/W_1"]), layers()
    passes = []
    execute = be.execute
    be.execute = lambda *args: passes.append(args[0]) or execute(*args)
    train(optimizer, net, range(3))
    assert len(passes) == (0 if optimizer.per_tensor else 3)
    assert len(set(passes)) == (0 if optimizer.per_tensor else 1)


def test_wrappers_are_told_apart_from_algorithms():
    assert {row.name for row in ROWS if issubclass(registry.resolve(row.name, "optimizer"), Wrapper)} == {
        "EMA",
        "Lookahead",
        "GradientAccumulation",
    }
