"""neon.benchmark: the times of the passes of a model, and the table of them."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.benchmark import Benchmark
from neon_optim.errors import ArgumentError, ArgumentTypeError, ModelError


class Output:
    shown = ""

    def display(self, text):
        self.shown += text


def test_the_table():
    output = Output()
    Benchmark.print_stats({"fprop": [10.0, 1.0, 3.0], "bprop": []}, output=output, nskip=1)
    lines = [line.split() for line in output.shown.splitlines() if line.startswith("| ")]
    assert lines[0] == "| Func | Mean | Median | Amin | Amax | Units |".split()
    assert lines[1:] == ["| fprop | 2 | 2 | 1 | 3 | msec |".split()]
    output = Output()
    Benchmark.print_stats({"fprop": [1.0]}, functions=[np.average], output=output)
    assert "Average" in output.shown
    assert "Mean" not in output.shown


@pytest.mark.parametrize("stats", [None, []])
def test_no_times(stats):
    with pytest.raises(ArgumentError, match="no times"):
        Benchmark.print_stats(stats)


def test_an_output_that_shows_nothing():
    with pytest.raises(ArgumentTypeError, match="display"):
        Benchmark.print_stats({"fprop": [1.0]}, output=object())


class Part:
    def __init__(self, name):
        self.name = name

    def fprop(self, x, inference=False):
        return x

    def bprop(self, error):
        return error


class Toy:
    """A model of two layers, one of them in a container."""

    def __init__(self, be):
        self.be, self.cost, self.optimizer, self.epoch_index = be, None, None, 0
        self.layers = type("Container", (), {})()
        self.layers.layers = [Part("a"), type("Container", (), {"layers": [Part("b")]})()]
        self.layers_to_optimize = []
        self.steps = 0

    def fprop(self, x, inference=False):
        a, inner = self.layers.layers
        return inner.layers[0].fprop(a.fprop(x))

    def bprop(self, error):
        a, inner = self.layers.layers
        return a.bprop(inner.layers[0].bprop(error))

    get_cost = get_errors = staticmethod(lambda x, t: x)

    def optimize(self, layers, epoch):
        self.steps += 1


class Data(list):
    def reset(self):
        self.resets = getattr(self, "resets", 0) + 1


@pytest.fixture
def toy():
    yield Toy(gen_backend("cpu", batch_size=2))
    cleanup_backend()


def test_times_of_inference(toy):
    data = Data([(1, 2)] * 3)
    times = Benchmark(toy).time(data, inference=True, niterations=5)
    assert list(times) == ["fprop", "data_loading", "fprop a", "bprop a", "fprop b", "bprop b"]
    assert len(times["fprop"]) == len(times["fprop b"]) == 5
    assert (times["fprop"] >= times["data_loading"]).all()
    assert (times["fprop"] > 0).all()
    assert times["bprop a"] == []
    assert data.resets == 2


def test_times_of_training(toy):
    with pytest.raises(ModelError, match="a cost and an optimizer"):
        Benchmark(toy, time_layers=False).time(Data([(1, 2)]), niterations=1)
    toy.cost = toy.optimizer = toy
    times = Benchmark(toy, time_layers=False).time(Data([(1, 2)]), niterations=2)
    assert list(times) == ["fprop", "bprop", "iteration"]
    assert times["iteration"] == pytest.approx(times["fprop"] + times["bprop"])
    assert toy.steps == 2


@pytest.mark.parametrize(("data", "count"), [([], 1), ([(1, 2)], 0)])
def test_nothing_to_measure(toy, data, count):
    with pytest.raises(ArgumentError):
        Benchmark(toy).time(Data(data), inference=True, niterations=count)
