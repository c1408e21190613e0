"""`neon-optim predict` and `evaluate`: which checkpoint, what does not fit, and where answers cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from runs import CONFIG, ROOT

from neon_optim import load_run

FILES = {
    "good": {"X": np.zeros((3, 1, 8, 8), "f4"), "y": [0, 1, 9]},
    "class": {"X": np.zeros((3, 1, 8, 8), "f4"), "y": [1, 12, 3]},
    "shape": {"X": np.zeros((3, 28, 28), "f4"), "y": [1, 2, 3]},
    "words": {"X": ["a", "b"], "y": [1, 2]},
    "targets": {"X": np.zeros((3, 1, 8, 8), "f4")},
    "none": {"X": np.zeros((0, 1, 8, 8), "f4"), "y": []},
    "nan": {"X": np.full((2, 1, 8, 8), np.nan, "f4"), "y": [1, 2]},
}


@pytest.fixture
def trained(run, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (here / "model.yaml").write_text(CONFIG + "stop: {metric: valid_cost, mode: max, patience: 9}\n")
    assert run("train", "model.yaml", "-s", "out", "-e", 2)[0] == 0
    for name, arrays in FILES.items():
        np.savez(f"{name}.npz", **arrays)
    return here


def test_which_checkpoint_answers(run, trained):
    """The 'best' is the worst here, so that it is not the last."""

    def epoch(*which):
        found = json.loads(run("evaluate", "out", "good.npz", "--json", *which)[1])
        return load_run(found["checkpoint"]).epoch

    assert [epoch(), epoch("--best"), epoch("--last"), epoch("--step", 23)] == [1, 1, 2, 1]
    one, two, three = (
        run("predict", "out", "good.npz", *which)[1] for which in ((), ("--last",), ("--step", 23))
    )
    assert one == three != two


def test_what_does_not_fit_is_told_and_writes_nothing(run, trained):
    for command, name, message in (
        ("evaluate", "class", "12 is none of the classes that the model was trained on: 0, 1"),
        ("evaluate", "targets", "there is no array 'y'"),
        *(
            (command, name, message)
            for command in ("predict", "evaluate")
            for name, message in (
                ("shape", "inputs must be numbers of the shape (samples, 1, 8, 8), received"),
                ("words", "inputs must be numbers"),
                ("none", "sample"),
                ("nan", "NaN"),
            )
        ),
    ):
        output = ("-o", "a.csv") if command == "predict" else ()
        code, out, err = run(command, "out", f"{name}.npz", *output)
        assert (code, out) == (2, ""), (command, name)
        assert message in err
        assert not (trained / "a.csv").exists()


def test_a_disk_that_is_full_gets_nothing(run, trained):
    pytest.importorskip("pyarrow")
    before = set(os.listdir())
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        found = {
            name: run("predict", "out", "good.npz", "-o", name) for name in ("a.csv", "a.npz", "a.parquet")
        }
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    for name, (code, out, err) in found.items():
        assert (code, out) == (2, "")
        assert name in err
        assert "Traceback" not in err
    assert set(os.listdir()) == before


@pytest.mark.slow
def test_answers_that_nobody_takes_are_one_message(trained):
    with open("/dev/full", "wb") as full:
        for command in ("predict", "evaluate"):
            done = subprocess.run(
                [sys.executable, "-m", "neon_optim", command, "out", "good.npz"],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert done.returncode == 1
            assert done.stderr == "Error: standard output cannot be written: No space left on device\n"
