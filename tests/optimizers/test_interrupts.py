"""Ctrl-C, and several threads: a step is finished or has not begun."""

from __future__ import annotations

import _thread
import signal
import threading

import numpy as np
import pytest
from rows import ROWS

from neon_optim import gen_backend
from neon_optim.optimizers import EMA, SGD, Adam
from neon_optim.stepping.interrupts import Uninterrupted

each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(autouse=True)
def ctrl_c():
    """A shell lets what it runs in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def snapshot(optimizer, parameters):
    arrays = [x for (param, _), states in parameters for x in (param, *states)]
    return optimizer.get_counters(), [np.array(np.asarray(a)) for a in arrays]


def same(one, other):
    return one[0] == other[0] and all(np.array_equal(a, b) for a, b in zip(one[1], other[1], strict=True))


def pairs(n=6):
    rng = np.random.default_rng(0)
    return [((rng.normal(size=(3, 4)), rng.normal(size=(3, 4))), []) for _ in range(n)]


def wait_for(fired):
    while not fired:
        pass


@each
def test_a_step_that_is_interrupted_is_finished_or_has_not_begun(row, engine, fired):
    """Interrupted at moments that lie all over a step: a timer of growing delay."""
    gen_backend("cpu", datatype=np.float64, batch_size=2, engine=engine)
    optimizer, parameters = row.make(**row.other), pairs()
    twin, by_twin = row.make(**row.other), pairs()
    optimizer.optimize(parameters, 0)
    twin.optimize(by_twin, 0)
    interrupted = 0
    for attempt in range(40):
        before = snapshot(optimizer, parameters)
        fired.clear()
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + attempt * 1e-5)
            optimizer.optimize(parameters, 0)
            wait_for(fired)
        except KeyboardInterrupt:
            interrupted += 1
        if not same(snapshot(optimizer, parameters), before):
            twin.optimize(by_twin, 0)
        assert same(snapshot(optimizer, parameters), snapshot(twin, by_twin)), attempt
    assert interrupted == 40


@pytest.fixture
def fired():
    """What a timer sends is taken as Ctrl-C; the list tells whether it has come."""
    found = []

    def handler(*_):
        found.append(True)
        signal.raise_signal(signal.SIGINT)

    old = signal.signal(signal.SIGALRM, handler)
    yield found
    signal.signal(signal.SIGALRM, old)


def test_the_handler_is_called_when_the_block_is_left():
    done = []

    def work():
        with Uninterrupted():
            _thread.interrupt_main()
            done.extend([1 for _ in range(1000)])
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1] * 1000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_average_is_taken_out_again_whatever_happens():
    gen_backend("cpu", engine="numpy")
    optimizer, parameters = EMA(Adam(learning_rate=0.1), decay=0.5), pairs()
    for _ in range(3):
        optimizer.optimize(parameters, 0)
    before = snapshot(optimizer, parameters)

    def work():
        with optimizer.evaluation(parameters):
            assert not same(snapshot(optimizer, parameters), before)
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert same(snapshot(optimizer, parameters), before)


def test_an_optimizer_that_several_threads_share_counts_every_step(engine):
    gen_backend("cpu", engine=engine)
    optimizer = SGD(1.0)
    lists = [[((np.zeros(3), np.ones(3)), [])] for _ in range(4)]

    def work(parameters):
        for _ in range(200):
            optimizer.optimize(parameters, 0)

    threads = [threading.Thread(target=work, args=(parameters,)) for parameters in lists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert optimizer.t == 800
    assert [parameters[0][0][0].tolist() for parameters in lists] == [[-200.0] * 3] * 4
