"""Helper threads: they share the work, hand on errors, and stay out of their caller's way."""

from __future__ import annotations

import os
import threading

import pytest

from neon_optim.backends.cpu import workers


def test_an_error_in_a_helper_thread_is_raised():
    here = threading.current_thread()
    helping = threading.Event()

    def work():
        if threading.current_thread() is not here:
            helping.set()
            raise ValueError("in a helper")
        assert helping.wait(10)

    with pytest.raises(ValueError, match="in a helper"):
        workers.run_together(work, 2)


def test_a_system_without_threads_to_give(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers.threading.Thread, "start", refuse)
    done = []
    workers.run_together(lambda: done.append(1), 50)
    assert done == [1]


def meet(count=2):
    """Run something that ends only when so many threads take part."""
    barrier = threading.Barrier(count)
    workers.run_together(lambda: barrier.wait(10), count)


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two processors"
)
def test_helpers_leave_the_processor_of_their_caller_to_it(monkeypatch):
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(workers, "_FEW", 100)  # whatever ran before
    for processor in sorted(allowed)[:2]:
        monkeypatch.setattr(workers, "_current_processor", lambda processor=processor: processor)
        meet()
        for helper in workers._helpers:
            assert os.sched_getaffinity(helper.native_id) == allowed - {processor}
    assert os.sched_getaffinity(0) == allowed  # the caller itself is left alone


@pytest.mark.parametrize("told", [-1, None])
def test_helpers_come_where_processors_are_unknown(monkeypatch, told):
    monkeypatch.setattr(workers, "_current_processor", told and (lambda: told))
    meet()


def test_processors_that_are_taken_away_are_no_error(monkeypatch):
    def refuse(thread, processors):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(workers, "_FEW", 100)
    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    monkeypatch.setattr(workers, "_left_free", None)
    meet()
