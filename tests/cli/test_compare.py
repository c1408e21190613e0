"""`neon-optim compare` and `neon-optim lr-find`."""

from __future__ import annotations

import json
import os
import sys

import pytest
from runs import CONFIG


@pytest.fixture
def several(run, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (here / "model.yaml").write_text(CONFIG + "metrics: {accuracy: Accuracy}\n")
    run("train", "model.yaml", "-s", "slow", "-e", 1, "--set", "optimizer.config.learning_rate=1e-5")
    run("train", "model.yaml", "-s", "good", "-e", 2)
    return here


def test_runs_stand_in_order_with_what_differs(run, several):
    code, out, err = run("compare", "slow", "good/")
    assert (code, err) == (0, "")
    head, first, second, *rest = out.splitlines()
    assert head.split() == ["run", "best", "valid", "error", "train", "cost", "at", "epoch", "of", "seconds"]
    assert (first.split()[0], second.split()[0]) == ("good", "slow")
    assert [line.strip() for line in rest if line.startswith("  ") and line[2] != " "] == [
        "epochs",
        "optimizer.config.learning_rate",
    ]
    found = json.loads(run("compare", "slow", "good", "--json")[1])
    assert (found["metric"], found["mode"]) == ("valid_error", "min")
    assert found["differing"]["optimizer.config.learning_rate"] == [0.01, 1e-05]
    assert [one["run"] for one in found["runs"]] == ["good", "slow"]
    by_accuracy = json.loads(run("compare", "slow", "good", "--json", "--by", "valid_accuracy")[1])
    assert by_accuracy["mode"] == "max"
    assert [one["run"] for one in by_accuracy["runs"]] == ["good", "slow"]


def test_a_run_that_is_under_way_is_compared_as_far_as_it_is(run, several):
    with open("slow/metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "ste')
    for name in os.listdir("slow/checkpoints"):
        os.unlink(f"slow/checkpoints/{name}")
    found = json.loads(run("compare", "slow", "good", "--json")[1])
    assert {one["run"]: one["epochs"] for one in found["runs"]} == {"slow": 1, "good": 2}


def test_mistakes(run, several):
    for arguments, message in (
        (("nowhere",), "there is no run in 'nowhere'"),
        (("model.yaml",), "there is no run in 'model.yaml'"),
        (
            ("good", "--by", "valid_loss"),
            "no run has measured 'valid_loss'; measured are epoch, step, train_cost",
        ),
    ):
        code, out, err = run("compare", *arguments)
        assert (code, out) == (2, "")
        assert message in err


def test_a_rate_is_found_and_nothing_is_written(run, here):
    before = sorted(os.listdir())
    code, out, err = run("lr-find", "model.yaml", "--steps", 60)
    assert (code, err) == (0, "")
    assert "a rate to begin with: 0.0" in out
    found = json.loads(run("lr-find", "model.yaml", "--steps", 60, "--json")[1])
    assert 1e-4 < found["steepest"] < 1
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", 2, "--to", 1), "0 < from < to is needed, received 2 and 1"),
        (("--steps", 3), "3 is not in the range x>=10"),
        (("--set", "layers[-1].config.nout=3"), "has 3 outputs"),
    ],
)
def test_what_a_range_test_refuses(run, here, arguments, message):
    code, out, err = run("lr-find", "model.yaml", *arguments)
    assert (code, out) == (2, "")
    assert message in err
