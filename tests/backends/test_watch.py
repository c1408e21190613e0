"""Arrays are watched by looking at their words in memory, or by asking each where those cannot be read."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.backends import watch
from neon_optim.backends.watch import ArrayWatch

# NumPy 2.5 and later warn of shapes and dtypes that are set.
pytestmark = pytest.mark.filterwarnings("ignore:Setting:DeprecationWarning")

CHANGES = {
    "data": lambda a: a.resize(40, 50, refcheck=False),
    "shape": lambda a: setattr(a, "shape", (16,)),
    "strides": lambda a: setattr(a, "strides", (8, 32)),
    "extents": lambda a: setattr(a, "shape", (2, 8)),
    "dtype": lambda a: setattr(a, "dtype", np.int64),
    "permission": lambda a: a.setflags(write=False),
}


@pytest.fixture(params=["compiled", "words", "asked"])
def watch_of(request, monkeypatch):
    """Each way of watching."""
    if request.param == "asked":
        monkeypatch.setattr(watch, "_ARE_READABLE", False)
    differ = None
    if request.param == "compiled":
        pytest.importorskip("numba")
        from neon_optim.backends.cpu.compiled.words_differ import words_differ

        differ = words_differ()

    def make(arrays):
        watched = ArrayWatch(arrays, differ)
        assert (watched._words is None) == (request.param == "asked" or not arrays)
        return watched

    return make


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_change_is_noticed(watch_of, change, which):
    arrays = [np.zeros((4, 4)) for _ in range(3)]
    watched = watch_of([np.zeros(()), *arrays, np.zeros((0, 3))])
    assert watched.unchanged()
    arrays[which][...] = 1.0  # what they hold may change
    assert watched.unchanged()
    CHANGES[change](arrays[which])
    assert not watched.unchanged()


def test_new_strides_are_noticed_where_nothing_else_changes(watch_of):
    array = np.zeros((8, 8))[::2, ::2]  # neither contiguous before nor after
    watched = watch_of([array])
    assert watched.unchanged()
    array.strides = array.strides[::-1]
    assert not watched.unchanged()


def test_a_watch_that_is_dropped_leaves_nothing(watch_of):
    """At once: no garbage collector sees a cycle through the base of an array."""
    array = np.zeros(4)
    watched = watch_of([array])
    assert watched.unchanged()
    alive = [weakref.ref(thing) for thing in (array, *(watched._words or ()))]
    del array, watched
    assert [reference() for reference in alive] == [None] * len(alive)


def test_nothing_is_never_changed(watch_of):
    assert watch_of([]).unchanged()


def test_a_tensor_on_an_array_keeps_its_shape_when_that_changes():
    array = np.ones((4, 4))
    tensor = gen_backend("cpu").as_tensor(array)
    array.shape = (16,)
    assert tensor.shape == (4, 4)


def test_nobody_can_move_the_memory_of_a_tensor():
    """Why tensors need no watching."""
    tensor = gen_backend("cpu").ones((4, 4))
    for given in (tensor.asnumpyarray(), np.asarray(tensor)):
        with pytest.raises(ValueError, match="own"):
            given.resize(1000, refcheck=False)
        given.shape = (16,)
        assert tensor.shape == (4, 4)
        given[:] = 3.0
        assert tensor.get().sum() == 48
