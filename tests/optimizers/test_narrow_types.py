"""Parameters of 16 bits: what is chosen by itself trains, and what cannot work is told."""

import warnings

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.backends.dtypes import float_dtype
from neon_optim.errors import PrecisionWarning
from neon_optim.model import (
    Affine,
    ArrayIterator,
    CrossEntropyMulti,
    Kaiming,
    Misclassification,
    Model,
    Rectlin,
    Softmax,
)
from neon_optim.optimizers import (
    EMA,
    SGD,
    AdaBelief,
    Adam,
    AdamW,
    GradientDescentMomentum,
    Lion,
    MultiOptimizer,
    Muon,
    RMSProp,
)
from neon_optim.serialization import load_checkpoint, save_checkpoint

NARROW = ["float16", "bfloat16"]


def rows(dtype, size=8, grad=1e-3):
    dtype = float_dtype(dtype)
    return [((np.ones((size, size), dtype), np.full((size, size), grad, dtype)), [])]


def error_rate(datatype, engine, optimizer, seed, epochs=12):
    """Of a small network on digits, after training in a type."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.data / 16, digits.target
    gen_backend("cpu", engine=engine, datatype=datatype, batch_size=32, rng_seed=seed)
    train, valid = (
        ArrayIterator(x[part], y[part], nclass=10, shuffle=part.start is None)
        for part in (np.s_[:1440], np.s_[1440:])
    )
    model = Model([Affine(64, Kaiming(), activation=Rectlin()), Affine(10, Kaiming(), activation=Softmax())])
    model.fit(train, CrossEntropyMulti(), optimizer, epochs)
    return model.eval(valid, Misclassification())


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(
    "make", [lambda: Adam(learning_rate=3e-3), lambda: AdamW(3e-3)], ids=["Adam", "AdamW"]
)
def test_digits_train_in_16_bits_as_in_32(engine, make, dtype):
    wide = np.mean([error_rate("float32", engine, make(), seed) for seed in (1, 2)])
    narrow = np.mean([error_rate(dtype, engine, make(), seed) for seed in (1, 2)])
    assert narrow <= wide + 0.01


@pytest.mark.parametrize("make", [lambda: Adam(learning_rate=1e-4), lambda: SGD(1e-2)], ids=["Adam", "SGD"])
def test_steps_too_small_for_bfloat16_are_made_on_average(make):
    start = error_rate("float32", "numba", make(), 1)
    assert abs(error_rate("bfloat16", "numba", make(), 1) - start) < 0.02


@pytest.mark.parametrize("dtype", NARROW)
def test_states_are_wide_unless_asked_otherwise(dtype):
    gen_backend("cpu", batch_size=1)
    for optimizer in (Adam(), RMSProp(), Lion(), Muon(), EMA(Adam())):
        net = rows(dtype)
        optimizer.optimize(net, 0)
        assert {state.dtype for state in net[0][1]} == {np.dtype(np.float32)}
    net = rows(dtype)
    Lion(state_dtype=dtype).optimize(net, 0)
    assert {state.dtype for state in net[0][1]} == {float_dtype(dtype)}


@pytest.mark.parametrize("dtype", NARROW)
def test_the_average_of_16_bit_parameters_follows_them(dtype):
    gen_backend("cpu", batch_size=1, rng_seed=1)
    net, ema = rows(dtype), EMA(SGD(0.25), decay=0.9999)
    net[0][0][1].fill(1.0)
    for _ in range(3):
        ema.optimize(net, 0)
    average = net[0][1][0].get()
    assert np.all(average < 1.0)


def test_narrow_parameters_are_rounded_stochastically_and_wide_ones_never():
    """Every element takes the same step of a third of the distance between two numbers."""
    gen_backend("cpu", batch_size=1, rng_seed=1)
    step = 2.0**-7 / 3  # below 1, numbers of bfloat16 are 2 ** -8 apart
    narrow, wide, off = rows("bfloat16", 64), rows("float32", 64), rows("bfloat16", 64)
    for net in (narrow, wide, off):
        net[0][0][1].fill(1.0)
    SGD(step / 2).optimize(narrow, 0)
    SGD(step / 2).optimize(wide, 0)
    SGD(step / 2, stochastic_round=False).optimize(off, 0)
    assert len(np.unique(narrow[0][0][0])) == 2
    assert narrow[0][0][0].astype(np.float64).mean() == pytest.approx(1 - step / 2, abs=1e-4)
    assert len(np.unique(wide[0][0][0])) == len(np.unique(off[0][0][0])) == 1


@pytest.mark.parametrize("given", [None, False, True, 4])
def test_what_the_optimizer_says_of_rounding_comes_before_what_the_backend_says(given):
    for backend in (False, True):
        gen_backend("cpu", batch_size=1, rng_seed=1, stochastic_round=backend)
        net = rows("bfloat16", 64)
        net[0][0][1].fill(2.0**-10)
        SGD(1.0, stochastic_round=given).optimize(net, 0)
        assert (len(np.unique(net[0][0][0])) == 1) == (given is False)


@pytest.mark.parametrize(
    ("make", "dtype", "where"),
    [
        (lambda: Adam(state_dtype="float16"), "float32", "its state is kept"),
        (lambda: EMA(AdamW(state_dtype="float16")), "float16", "its state is kept"),
        (
            lambda: EMA(MultiOptimizer({"default": Adam(epsilon=1e-9, state_dtype="float16")})),
            "float32",
            "its state",
        ),
        (lambda: AdaBelief(epsilon=1e-60, state_dtype="float32"), "float32", "its state is kept"),
        (lambda: Muon(epsilon=1e-60), "float16", "float32"),
    ],
)
def test_an_epsilon_that_is_0_is_told_once(make, dtype, where):
    gen_backend("cpu", batch_size=1)
    optimizer, net = make(), [*rows(dtype), *rows(dtype)]
    with pytest.warns(PrecisionWarning, match=f"epsilon=.* is 0 in .*{where}") as told:
        optimizer.optimize(net, 0)
    assert len(told) == 1
    optimizer.optimize(rows(dtype), 0)


@pytest.mark.parametrize(("state", "decay"), [("bfloat16", 0.999), ("float16", 0.9999)])
def test_an_average_that_cannot_move_is_told_and_moves_with_stochastic_rounding(state, decay):
    gen_backend("cpu", batch_size=1, rng_seed=1)
    still, moving, short = (
        (EMA(SGD(0.001, state_dtype=state, **options), decay=d), rows("float32", grad=1.0))
        for options, d in (({}, decay), ({"stochastic_round": True}, decay), ({}, 0.9))
    )
    with pytest.warns(PrecisionWarning, match=f"EMA: an average of decay={decay} does not move in {state}"):
        still[0].optimize(still[1], 0)
    for optimizer, net in (still, moving, short):
        for _ in range(300):
            optimizer.optimize(net, 0)
    others = rows("float32")
    with pytest.warns(PrecisionWarning, match="EMA: an average"):
        EMA(MultiOptimizer({"default": SGD(0.001, state_dtype=state)}), decay=decay).optimize(others, 0)
    averages = [net[0][1][0].get().astype(float) for _, net in (still, moving, short)]
    assert np.all(averages[0] == 1.0)
    assert averages[1].mean() < 1.0
    assert averages[2].mean() < 0.72


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (Adam, "float16"),
        (lambda: Adam(epsilon=1e-60), "float64"),
        (lambda: Adam(state_dtype="bfloat16"), "float32"),
        (lambda: GradientDescentMomentum(0.1, 0.9, state_dtype="float16"), "float32"),
        (lambda: RMSProp(state_dtype="float16"), "float32"),
        (lambda: EMA(SGD(0.1, state_dtype="bfloat16"), decay=0.9999), "bfloat16"),
        (lambda: EMA(SGD(0.1), decay=0.9999), "float16"),
    ],
)
def test_what_can_work_is_not_warned_of(make, dtype):
    gen_backend("cpu", batch_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().optimize(rows(dtype), 0)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_file_with_states_of_16_bits_goes_on_in_them(tmp_path, dtype):
    """As older versions made them without being asked."""
    gen_backend("cpu", batch_size=1, rng_seed=1)
    net, adam = rows(dtype), Adam(epsilon=1e-4)
    adam.optimize(net, 0)
    net[0][1][:] = [state.get().astype(float_dtype(dtype)) for state in net[0][1]]
    path = save_checkpoint(tmp_path / "a", optimizer=adam, layers=net)
    fresh = rows(dtype)
    load_checkpoint(path, optimizer=adam, layers=fresh)
    assert {state.dtype for state in fresh[0][1]} == {float_dtype(dtype)}
    for each in (net, fresh):
        adam.t = 1
        adam.optimize(each, 0)
    np.testing.assert_array_equal(fresh[0][0][0], net[0][0][0])


@pytest.mark.parametrize("dtype", NARROW)
def test_a_run_in_16_bits_is_resumed_exactly(tmp_path, engine, dtype):
    def optimizer():
        return EMA(Adam(learning_rate=1e-3))

    ends = []
    for stop in (0, 3):
        gen_backend("cpu", engine=engine, batch_size=1, rng_seed=1)
        net, mine = rows(dtype), optimizer()
        for step in range(6):
            if step == stop > 0:
                path = save_checkpoint(tmp_path / "a", optimizer=mine, layers=net)
                gen_backend("cpu", engine=engine, batch_size=1, rng_seed=2)
                net, mine = rows(dtype), optimizer()
                load_checkpoint(path, optimizer=mine, layers=net)
            mine.optimize(net, 0)
        ends.append([net[0][0][0], *(state.get() for state in net[0][1])])
    for one, two in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, two)
