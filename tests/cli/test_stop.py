"""`stop`, `metrics`, `loggers` and `callbacks` of a config, from training to prediction."""

from __future__ import annotations

import csv
import json
import os
import sys

import pytest
from runs import CONFIG, final_arrays, log_of

from neon_optim import load_run
from neon_optim.serialization.checkpoint import archive
from neon_optim.serialization.checkpoint.manager import CheckpointManager

STOPPING = CONFIG.replace("epochs: 4", "epochs: 40") + (
    "stop: {metric: valid_accuracy, patience: 3, restore_best: true}\n"
    "metrics: {accuracy: Accuracy, squares: {type: MeanSquared}}\n"
    "loggers: [jsonl, csv]\n"
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take most of the time."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.fixture
def stopping(here):
    (here / "model.yaml").write_text(STOPPING)
    return here


def accuracies(folder):
    return [line["valid_accuracy"] for line in log_of(folder) if "valid_accuracy" in line]


def test_a_run_ends_where_its_metric_no_longer_becomes_better(run, stopping):
    code, out, err = run("train", "model.yaml", "-s", "out")
    assert (code, err) == (0, "")
    values = accuracies("out")
    best = max(range(len(values)), key=lambda k: (values[k], k))
    assert 4 <= len(values) < 40
    assert values.index(values[best]) + 3 == len(values) - 1, "three epochs without a better one, and no more"
    assert f"Ended early: valid accuracy has not become better than {values[best]:.4g} of epoch" in out
    with open("out/metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["valid_accuracy"]) for row in table] == values
    assert {
        "epoch",
        "step",
        "train_cost",
        "learning_rate",
        "valid_cost",
        "valid_error",
        "valid_accuracy",
        "valid_squares",
    } == set(table[0])
    assert load_run("out").epoch == best + 1, "the best by the metric of stop"
    assert load_run("out", "last").epoch == len(values)
    code, out, err = run("train", "model.yaml", "-s", "out", "--resume")
    assert (code, err) == (0, "")
    assert "is finished" in out
    assert "Ended early: valid accuracy" in out


def test_another_metric_is_counted_anew(run, stopping):
    run("train", "model.yaml", "-s", "out", "--set", "stop.patience=2")
    before = len(accuracies("out"))
    code, _, _ = run(
        "train", "model.yaml", "-s", "out", "--resume", "--set", "stop={metric: valid_cost, patience: 1}"
    )
    assert (code, len(accuracies("out")) > before) == (0, True)


@pytest.mark.parametrize("epochs_back", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_patience_is_counted_on_when_a_run_goes_on(run, stopping, epochs_back):
    run("train", "model.yaml", "-s", "out", "--set", "checkpoint.keep_last=null")
    whole, log, table = final_arrays("out"), log_of("out"), (stopping / "out/metrics.csv").read_text()
    manager = CheckpointManager("out/checkpoints")
    kept = (len(accuracies("out")) - epochs_back) * 23 + 7  # within an epoch
    for step in manager.steps():
        if step > kept:
            os.unlink(manager.path(step))
    assert run("train", "model.yaml", "-s", "out", "--resume")[0] == 0
    assert (final_arrays("out"), log_of("out")) == (whole, log)
    assert (stopping / "out/metrics.csv").read_text() == table


@pytest.mark.slow
def test_a_run_that_ended_goes_on_with_more_patience(run, stopping):
    run("train", "model.yaml", "-s", "parts", "--set", "stop.patience=2")
    short = len(accuracies("parts"))
    more = ("--set", "stop.patience=3")
    code, out, _ = run("train", "model.yaml", "-s", "parts", "--resume", *more)
    assert (code, f"Resumed after {short} of 40" in out) == (0, True)
    run("train", "model.yaml", "-s", "whole", *more)
    assert final_arrays("parts") == final_arrays("whole")
    assert log_of("parts") == log_of("whole")


def test_the_best_is_saved_whenever_it_comes(run, stopping):
    """Checkpoints are asked for every 50 epochs only."""
    run("train", "model.yaml", "-s", "out", "--set", "checkpoint={every_epochs: 50, keep_last: 1}")
    values = accuracies("out")
    best = archive.read_state(
        CheckpointManager("out/checkpoints", keep_best=("valid_accuracy", "max")).best()
    )
    assert best["metrics"]["valid_accuracy"] == max(values)
    assert len(CheckpointManager("out/checkpoints").steps()) == 2


def test_a_time_limit_ends_a_run_that_goes_on(run, here):
    (here / "model.yaml").write_text(CONFIG + "callbacks: [{type: TimeLimit, config: {minutes: 1e-9}}]\n")
    code, _, err = run("train", "model.yaml", "-s", "out")
    assert code == 1
    assert "Stopped after 0 of 4 epochs (step 1, 1 minibatch into the next)" in err
    code, out, _ = run("train", "model.yaml", "-s", "out", "--resume")
    assert (code, "Resumed after 0 of 4 epochs (step 1" in out) == (1, True)


FAULTS = {
    "stop: {metric: valid_acuracy}": "model.yaml:{line}:16: stop.metric: the metric 'valid_acuracy' is not measured; "
    "measured are valid_cost, valid_error",
    "stop: {patience: 0}": "model.yaml:{line}:18: stop.patience must be an integer >= 1, received 0",
    "stop: {patiense: 3}": "stop.patiense is unknown; did you mean 'patience'?",
    "stop: 5": "stop must be a mapping with some of metric, patience, min_change, mode, restore_best, name, received 5",
    "metrics: {accuracy: Acuracy}": "unknown",
    "metrics: {error: Accuracy}": "metrics.error must have another name: valid_error is measured by itself",
    "metrics: [Accuracy]": "metrics must be a mapping",
    "loggers: [excel]": "loggers[0] must be one of 'jsonl', 'csv', received 'excel'",
    "callbacks: [TimeLimt]": "unknown callback 'TimeLimt'; did you mean 'TimeLimit'?",
    "callbacks: [{type: Callback}]": "'Callback' is a base class to derive from",
}


@pytest.mark.parametrize("line", FAULTS)
def test_mistakes_are_told_with_their_places(run, here, line):
    (here / "model.yaml").write_text(f"{CONFIG}{line}\n")
    for command, into in (("validate", 1), ("train", 2)):
        found = run(command, "model.yaml")
        assert found[0] == 2
        assert FAULTS[line].format(line=CONFIG.count("\n") + 1) in found[into]
    assert not (here / "runs").exists()


def test_stop_may_be_nothing(run, here):
    (here / "model.yaml").write_text(CONFIG + "stop: null\n")
    assert run("train", "model.yaml", "-s", "out", "-e", 1)[0] == 0


def test_a_table_of_something_else_is_not_written_over(run, stopping):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    (stopping / "out/metrics.csv").write_text("name,age\nIda,3\n")
    code, _, err = run("train", "model.yaml", "-s", "out", "-e", 2, "--resume")
    assert code == 2
    assert "metrics.csv is no table of epochs" in err
    assert (stopping / "out/metrics.csv").read_text() == "name,age\nIda,3\n"


def test_settings_in_full_hold_what_was_asked_for(run, stopping):
    found = json.loads(run("show", "model.yaml", "--json")[1])
    settings = {setting["path"]: setting["value"] for setting in found["settings"]}
    assert settings["stop.metric"] == "valid_accuracy"
    assert settings["stop.min_change"] == 0.0
    assert settings["metrics.squares"] == "MeanSquared"
