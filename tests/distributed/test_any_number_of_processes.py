"""The trajectory does not depend on how many processes compute it. Here they are threads; test_mpi has real ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from cases import PARTS, ROWS, options_of, train, whole_states
from threads import together

from neon_optim import cleanup_backend, gen_backend
from neon_optim.distributed import Distributed
from neon_optim.distributed.communicator import Alone
from neon_optim.distributed.shares import share_out
from neon_optim.distributed.tree import fold, nodes_within, parts_of
from neon_optim.errors import BackendError, DistributedError, ModelError, NonFiniteError, StateError
from neon_optim.optimizers import LAMB, SGD, Adam, GradientDescentMomentum, MultiOptimizer


@pytest.fixture
def be():
    yield gen_backend("cpu", rng_seed=1, engine="numpy")
    cleanup_backend()


def bits(arrays):
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


def everything(results):
    """The bits of parameters, of states, and the counters; all processes have the same parameters."""
    arrays, _, optimizer = results[0]
    assert all(bits(other[0]) == bits(arrays) for other in results)
    return bits(arrays), [bits(own) for own in whole_states(results)], optimizer.get_counters()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_three_processes_and_one_give_the_same_bits(be, row):
    def work(comm):
        return train(lambda: row.make(**options_of(row)), comm)

    assert everything(together(3, work)) == everything(together(1, work))


COMPILED = ("Adam", "LAMB", "Adafactor", "Lookahead", "MultiOptimizer")
"""What the compiled engine is tried with, too: it takes a while to compile all."""


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [False, True], ids=["nearest", "rounds"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_number_of_processes_gives_the_same_bits(row, rounds):
    options = options_of(row) if rounds else {}

    def work(comm):
        return train(lambda: row.make(**options), comm, shapes=[(30, 2500), (7,), (3, 4, 5)])

    gen_backend("cpu", rng_seed=1, engine="numpy")
    expected = everything(together(1, work))
    for count in (2, 3, 4, 8):
        assert everything(together(count, work)) == expected
    if row.name in COMPILED:
        gen_backend("cpu", rng_seed=1, engine="numba", deterministic=True)
        expected = everything(together(1, work))
        assert everything(together(4, work)) == expected
    cleanup_backend()


def test_one_process_with_one_part_is_the_optimizer_itself(be):
    def work(comm):
        return train(lambda: Adam(gradient_clip_norm=0.1), comm, parts=1)

    plain = Adam(gradient_clip_norm=0.1)
    start = np.random.RandomState(0)
    w = start.standard_normal((40, 1700)).astype(np.float32)
    others = [start.standard_normal(shape).astype(np.float32) for shape in [(7,), (20, 30), (3, 4, 5)]]
    layers = [((array, np.zeros_like(array)), []) for array in (w, *others)]
    for step in range(2):
        draw = np.random.RandomState(1000 * step + 1)
        for (_, grad), _ in layers:
            grad[:] = draw.standard_normal(grad.shape)
        plain.optimize(layers, step)
    assert bits(together(1, work)[0][0]) == bits([w, *others])


def test_other_parts_are_other_sums(be):
    """The control: how a minibatch is cut decides the order of the sums, and so the bits."""
    eight, four = (together(1, partial(train, Adam, parts=parts)) for parts in (8, 4))
    assert everything(eight) != everything(four)


def test_several_rules_whose_members_are_not_everywhere(be):
    """Optimizers count their steps also where a process has none of their parameters."""

    def make():
        return MultiOptimizer(
            {"default": GradientDescentMomentum(0.1, 0.9), "parameter_1": LAMB(0.1), "parameter_2": Adam()}
        )

    expected = everything(together(1, lambda comm: train(make, comm)))
    assert everything(together(4, lambda comm: train(make, comm))) == expected
    assert expected[2]["parameter_1"] == {"t": 2}


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types(be, dtype):
    def work(comm):
        optimizer = Distributed(Adam(gradient_clip_norm=1.0), comm, 4)
        w = np.linspace(-1, 1, 70_000).astype(dtype)
        layers = [((w, np.empty_like(w)), [])]
        for part in optimizer.own_parts:
            layers[0][0][1][:] = np.sin(w + part)
            if part != optimizer.own_parts[-1]:
                optimizer.add(layers)
        optimizer.optimize(layers, 0)
        return w

    assert bits(together(2, work)) == bits(together(1, work) * 2)


def test_arrays_with_gaps(be):
    """What has gaps in memory, or lies across, travels as a copy."""

    def work(comm, across):
        optimizer = Distributed(SGD(0.1, momentum_coef=0.9), comm, 2)
        w = np.ones((300, 500), np.float32)
        w = np.asfortranarray(w) if across else w
        grad = np.ones((300, 1000), np.float32)[:, ::2] if across else np.ones_like(w)
        for part in optimizer.own_parts:
            grad[:] = np.arange(150_000).reshape(300, 500) + part
            if part != optimizer.own_parts[-1]:
                optimizer.add([((w, grad), [])])
        optimizer.optimize([((w, grad), [])], 0)
        return w

    expected = bits(together(1, lambda comm: work(comm, False)))
    assert bits(together(2, lambda comm: work(comm, True))) == expected * 2


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_gradients_in_16_bits(engine):
    """Rounded at each node of the tree, whoever computes it; half the bytes; right on average."""
    gen_backend("cpu", rng_seed=1, engine=engine)
    exact = together(1, partial(train, Adam))
    results = {n: together(n, partial(train, Adam, compress="bfloat16")) for n in (1, 3, 4)}
    assert everything(results[1]) == everything(results[3]) == everything(results[4]) != everything(exact)
    sent, all_sent = (
        sum(optimizer.comm.bytes_sent for *_, optimizer in together(4, partial(train, Adam, **how)))
        for how in ({"compress": "bfloat16"}, {})
    )
    assert 0.70 < sent / all_sent < 0.80, "gradients are half, parameters stay"

    def mean(comm):
        optimizer = Distributed(SGD(1.0), comm, compress="bfloat16")
        w = np.zeros(70_000, np.float32)
        optimizer.optimize([((w, np.full_like(w, 1.0 + 2.0**-9)), [])], 0)
        return w

    w = together(2, mean)[0]
    assert set((-w).tolist()) == {1.0, 1.0 + 2.0**-8, 1.0 + 2.0**-7}
    assert abs(-w.mean(dtype=np.float64) - 1.0 - 2.0**-9) < 4 * 2.0**-9 / 70_000**0.5
    cleanup_backend()


def test_gradients_stay_as_they_are(be):
    def work(comm):
        optimizer = Distributed(SGD(0.1), comm)
        w, grad = np.ones(70_000, np.float32), np.full(70_000, comm.rank + 1.0, np.float32)
        grad.flags.writeable = False
        optimizer.optimize([((w, grad), [])], 0)
        return w, grad

    for rank, (w, grad) in enumerate(together(2, work)):
        assert (w == np.float32(1.0) - np.float32(0.1) * np.float32(1.5)).all(), "the mean of both"
        assert (grad == rank + 1).all()


def test_bind(be):
    def work(comm):
        w, grad = np.ones(4, np.float32), np.full(4, comm.rank, np.float32)
        bound = Distributed(SGD(1.0), comm).bind([(w, grad)])
        bound.step()
        bound.learning_rate = 0.5
        bound.step()
        return w, bound.optimizer.learning_rate

    def refused(comm):
        bound = Distributed(SGD(1.0), comm).bind([(np.ones(4), np.ones(4))])
        with pytest.raises(StateError, match="give the optimizer a gradient_clip_norm"):
            bound.clip_grad_norm(1.0)
        with pytest.raises(StateError, match="use save_checkpoint"):
            bound.state_dict()

    together(2, refused)
    for w, rate in together(2, work):
        assert (w == 1 - 0.5 - 0.25).all()
        assert rate == 0.5


# --- states ---


def test_a_process_keeps_its_share_of_the_states(be):
    def work(comm):
        optimizer = Distributed(Adam(), comm)
        w = np.zeros(40 * 65_536, np.float32)
        rows = [((w, np.ones_like(w)), [])]
        optimizer.optimize(rows, 0)
        joined, _ = optimizer._joined_of(rows)
        return sum(state.size for row in joined.own for state in row.value[1])

    assert together(4, work) == [2 * 10 * 65_536] * 4


def test_a_list_that_is_used_again_and_again_keeps_its_states(be):
    """However many others come and go: of these, those that were used last are kept."""

    def work(comm):
        optimizer, w = Distributed(Adam(), comm, shards=1 if comm.size == 1 else None), np.zeros(3)
        rows = [((w, np.ones(3)), [])]
        for _ in range(20):
            optimizer.optimize(rows, 0)
            optimizer.optimize([((np.zeros(2), np.ones(2)), [])], 0)
        return w

    for w in together(2, work):
        np.testing.assert_array_equal(w, work(Alone()))


@pytest.mark.parametrize("counts", [(1, 3), (4, 2)])
def test_whole_states_go_on_with_any_number_of_processes(be, counts):
    """What one process is given of another run are whole states, in the lists of the layers."""

    def begin(comm):
        return train(lambda: Adam(gradient_clip_norm=1.0), comm)

    def go_on(comm, arrays, states):
        optimizer = Distributed(Adam(gradient_clip_norm=1.0), comm, PARTS)
        optimizer.set_counters({"t": 2})
        layers = [
            ((a.copy(), np.ones_like(a)), [x.reshape(a.shape).copy() for x in s])
            for a, s in zip(arrays, states, strict=True)
        ]
        for _ in optimizer.own_parts[:-1]:
            optimizer.add(layers)
        optimizer.optimize(layers, 0)
        return [param for (param, _), _ in layers], [[] for _ in layers], optimizer

    results = together(counts[0], begin)
    saved = results[0][0], whole_states(results)
    expected = everything(together(1, lambda comm: go_on(comm, *saved)))
    assert everything(together(counts[1], lambda comm: go_on(comm, *saved))) == expected


# --- errors ---


def test_a_nan_of_one_process_is_an_error_of_all(be):
    def work(comm):
        optimizer = Distributed(Adam(on_nonfinite="raise"), comm)
        w, grad = np.zeros(200_000, np.float32), np.zeros(200_000, np.float32)
        if comm.rank == 2:
            grad[150_000] = np.nan
        with pytest.raises(NonFiniteError, match=r"parameter 'W'.*: 1 of \d+ elements"):
            optimizer.optimize([((w, grad), [])], 0)
        assert not w.any()
        assert optimizer.t == 0
        grad[:] = 1.0
        optimizer.optimize([((w, grad), [])], 0)
        return optimizer.t

    assert together(3, work) == [1, 1, 1]


def test_an_error_of_one_process_is_told_to_the_others(be):
    def work(comm):
        optimizer = Distributed(SGD(0.1), comm)
        w = np.zeros(5, np.float32)
        optimizer.optimize([((w, np.ones_like(w)), [])], 0)
        states = [np.ones(2)] if comm.rank == 1 else []
        optimizer.optimize([((w, np.ones_like(w)), states)], 0)

    with pytest.raises(
        DistributedError, match="rank 1 of 2: StateError: parameter_0/W: the state list holds 1 arrays"
    ):
        together(2, work)
    assert isinstance(together.errors[1], StateError)


def test_other_parameters_are_told_before_the_first_step(be):
    def work(comm):
        w = np.zeros((2, 3 + comm.rank), np.float32)
        Distributed(SGD(0.1), comm).optimize([((w, np.ones_like(w)), [])], 0)

    with pytest.raises(
        DistributedError, match=r"the shape of 'parameter_0/W' is \[2, .\] there, \[2, .\] here"
    ):
        together(2, work)


def test_other_first_values_are_told(be):
    def work(comm):
        w = np.full(3, float(comm.rank))
        Distributed(SGD(0.1), comm).optimize([((w, np.ones_like(w)), [])], 0)

    with pytest.raises(
        DistributedError, match="'parameter_0/W' has other values there; give all processes the same"
    ):
        together(2, work)


def test_nobody_waits_for_ever(be):
    def work(comm):
        comm.timeout = 0.2
        optimizer = Distributed(SGD(0.1), comm)
        if comm.rank == 0:
            optimizer.optimize([((np.zeros(3), np.ones(3)), [])], 0)

    with pytest.raises(DistributedError, match=r"no answer for 0\.2 seconds from rank 1 of 2"):
        together(2, work)


def test_parts_that_were_not_added(be):
    optimizer = Distributed(SGD(0.1), Alone(), 3)
    row = [((np.zeros(3), np.ones(3)), [])]
    with pytest.raises(StateError, match="computes 3 parts of each minibatch, and 2 of them were not added"):
        optimizer.optimize(row, 0)
    for _ in range(3):
        optimizer.add(row)
    with pytest.raises(StateError, match="all 3 parts of this process have been added"):
        optimizer.add(row)


def test_more_processes_than_parts(be):
    with pytest.raises(DistributedError, match="3 processes cannot share 2 parts"):
        together(3, lambda comm: Distributed(SGD(0.1), comm, 2))


# --- the tree, and who keeps what ---


def test_a_tree_of_any_number_of_parts():
    def add(node, one, other):
        return f"({one}{other})"

    for parts in range(1, 20):
        leaves = {(k, k + 1): str(k) for k in range(parts)}
        for processes in range(1, parts + 1):
            own = [parts_of(k, processes, parts) for k in range(processes)]
            assert [k for mine in own for k in mine] == [*range(parts)]
            nodes = [node for mine in own for node in nodes_within(mine, parts)]
            if parts % processes == 0 and processes & (processes - 1) == 0:
                assert len(nodes) == processes
            sums = {node: fold(node, leaves, add) for node in nodes}
            assert fold((0, parts), sums, add) == fold((0, parts), leaves, add)


def test_shares_are_balanced_and_complete():
    draw = np.random.RandomState(0)
    for processes in (1, 2, 3, 5, 8):
        sizes = (2.0 ** draw.uniform(0, 22, 30)).astype(int).tolist()
        whole = (draw.uniform(size=30) < 0.3).tolist()
        shares = share_out(sizes, [1.0] * 30, whole, processes)
        spans = sorted(span for share in shares for span in share)
        for k, size in enumerate(sizes):
            mine = [span for span in spans if span.index == k]
            assert [0, *(span.stop for span in mine)] == [*(span.start for span in mine), size]
            assert all(span.start % 65_536 == 0 for span in mine)
            assert len(mine) == 1 or not whole[k]
        loads = [sum(span.size for span in share) for share in shares]
        largest = max([size for size, fixed in zip(sizes, whole, strict=True) if fixed], default=0)
        assert max(loads) <= max(sum(sizes) / processes + 65_536, largest + 1)


def test_a_backend_that_takes_no_parts_of_tensors_is_refused(be, monkeypatch):
    monkeypatch.setattr(type(be), "takes_parts", False)  # as the GPU's
    with pytest.raises(BackendError, match="share out parameters in host memory only"):
        Distributed(SGD(0.1), Alone(), 2).add([((np.zeros(3), np.ones(3)), [])])


def test_layers_that_go_on_from_minibatch_to_minibatch_are_refused():
    from neon_optim.model import ArrayIterator, GlorotUniform, MeanSquared, Model, Recurrent, Tanh
    from neon_optim.model.training import Training

    gen_backend("cpu", rng_seed=1, batch_size=4, engine="numpy")
    data = ArrayIterator(np.ones((8, 6)), np.ones((8, 2, 3)), make_onehot=False, lshape=(2, 3))
    model = Model([Recurrent(2, GlorotUniform(), activation=Tanh(), reset_cells=False)])
    with pytest.raises(ModelError, match=r"goes on from minibatch to minibatch, .*\(reset_cells=False\)"):
        Training(model, data, MeanSquared(), Distributed(SGD(0.1), Alone(), 2), 1)
    cleanup_backend()
