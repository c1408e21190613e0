"""Weights of another run, other settings on the way, modules of one's own, several config files."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from runs import CONFIG, final_arrays, log_of

from neon_optim import load_run
from neon_optim.described import registry
from neon_optim.errors import RunError
from neon_optim.serialization import load_checkpoint
from neon_optim.serialization.checkpoint.manager import CheckpointManager

RATE = "optimizer.config.learning_rate"
FIRST = ("layers", "1", "config", "nout")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def first(folder, what="best"):
    """The arrays of a checkpoint of a run."""
    manager = CheckpointManager(f"{folder}/checkpoints", keep_best=("valid_error", "min"))
    return load_checkpoint(manager.best() if what == "best" else manager.path(what))


# --- --init-from ---


def test_a_run_begins_with_the_weights_of_another(run, here):
    run("train", "model.yaml", "-s", "one", "-e", 2)
    code, out, err = run("train", "model.yaml", "-s", "two", "-e", 1, "--init-from", "one", "-r", 9)
    assert (code, err) == (0, "")
    assert "began with the weights of" in out
    history = first("two").extra["history"]
    assert (
        history[0]["init_from"]
        == CheckpointManager("one/checkpoints", keep_best=("valid_error", "min")).best()
    )
    assert not history[0]["with_state"]
    assert log_of("two")[0]["cost"] < 0.5 * log_of("one")[0]["cost"]
    assert log_of("two")[0]["step"] == 1
    assert first("two").counters["t"] == 23, "the optimizer began anew"
    before = final_arrays("two")
    code, out, _ = run("train", "model.yaml", "-s", "two", "-e", 1, "--init-from", "one", "-r", 9, "--resume")
    assert (code, "is finished" in out) == (0, True)
    assert final_arrays("two") == before, "the same command, once more"
    code, out, _ = run("show", "two")
    assert "history\n  began with the weights of" in out
    assert "init_from" in run("inspect", "two")[1]


def test_the_state_comes_with_the_weights(run, here):
    run("train", "model.yaml", "-s", "one", "-e", 1)
    begin = ("-e", 1, "-r", 9, "--init-from", "one", "--init-with-state")
    code, out, _ = run("train", "model.yaml", "-s", "two", *begin)
    assert (code, "weights and the state of" in out) == (0, True)
    assert first("two").counters["t"] == 46
    assert first("two").epoch == 1
    run("train", "model.yaml", "-s", "plain", "-e", 1, "-r", 9)
    one, two, plain = (first(name).backend["noise_seed"] for name in ("one", "two", "plain"))
    assert one != two == plain, "random numbers are those of its own seed"


def test_weights_that_do_not_fit_are_told_and_those_that_do_can_be_taken(run, here):
    run("train", "model.yaml", "-s", "one", "-e", 1)
    other = (
        "--set",
        "layers[0]={type: Reshape, config: {reshape: [64]}}",
        "--set",
        "layers[-1].config.bias=Constant",
    )
    code, out, err = run("train", "model.yaml", "-s", "two", "-e", 1, *other, "--init-from", "one")
    assert (code, out) == (2, "")
    assert "--init-from: " in err
    assert "does not fit; nothing was changed" in err
    assert "Affine_1_bias/W" in err
    assert err.rstrip().endswith("--init-partly takes what fits")
    assert not (here / "two/checkpoints").exists()
    code, out, err = run(
        "train", "model.yaml", "-s", "two", "-e", 1, *other, "--init-from", "one", "--init-partly", "--resume"
    )
    assert (code, err) == (0, "")
    assert "not in the file: Affine_1_bias/W" in out
    assert log_of("two")[0]["cost"] < 0.7 * log_of("one")[0]["cost"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--init-from", "nowhere"), "there is no run and no checkpoint 'nowhere'"),
        (("--init-from", "model.yaml"), "model.yaml"),
        (("--init-with-state",), "--init-from begins, which is missing"),
        (("--change", "epochs=3"), "--change is for a run that goes on"),
    ],
)
def test_what_a_run_cannot_begin_with(run, here, arguments, message):
    code, out, err = run("train", "model.yaml", "-s", "out", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (here / "out/config.yaml").exists()


# --- --change ---


def test_a_run_goes_on_with_another_rate_and_says_so(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 2)
    change = ("--resume", "--change", f"{RATE}=0.001")
    code, _, err = run("train", "model.yaml", "-s", "out", *change)
    assert (code, err) == (0, "")
    rates = [line["learning_rate"] for line in log_of("out") if "cost" in line]
    assert (rates[45], rates[46]) == (0.01, 0.0005)
    history = first("out", 92).extra["history"]
    assert history == [{"changed": {RATE: ["0.01", "0.001"]}, "step": 46, "epoch": 2}]
    assert f"from step 46 on: {RATE} 0.001, 0.01 before (--change)" in run("show", "out")[1]
    assert json.loads(run("show", "out", "--json")[1])["history"] == history
    code, out, _ = run("train", "model.yaml", "-s", "out", *change, "-e", 4)
    assert (code, "is finished" in out) == (0, True)
    code, _, err = run("train", "model.yaml", "-s", "out", "--resume", "-e", 5)
    assert code == 2
    assert f"{RATE}: 0.001 in the run, 0.01 now" in err
    assert "--change" in err
    code, _, _ = run("train", "out/config.yaml", "-s", "out", "--resume", "-e", 5)
    assert code == 0
    assert first("out", 115).extra["history"] == history, "it stays"


@pytest.mark.slow
def test_a_change_is_made_once_however_often_the_command_is_given(run, here):
    run("train", "model.yaml", "-s", "whole", "-e", 2)
    change = ("--resume", "--change", f"{RATE}=0.001", "-e", 3, "--set", "checkpoint.keep_last=null")
    run("train", "model.yaml", "-s", "whole", *change)
    manager = CheckpointManager("whole/checkpoints")
    whole = final_arrays("whole")
    for step in manager.steps():
        if step > 56:  # as after a kill within the third epoch
            os.unlink(manager.path(step))
    assert run("train", "model.yaml", "-s", "whole", *change)[0] == 0
    assert final_arrays("whole") == whole
    assert len(first("whole", 69).extra["history"]) == 1


def test_what_cannot_be_changed_changes_nothing(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1, "--set", "checkpoint.keep_last=null")
    manager = CheckpointManager("out/checkpoints")
    for step in manager.steps():
        if step > 7:
            os.unlink(manager.path(step))
    before = (here / "out/config.yaml").read_text(), final_arrays("out")
    for change, message in (
        ("rng_seed=5", "rng_seed cannot be changed"),
        (
            "batchsize=32",
            "batchsize can be changed between epochs alone, and the run stands 7 minibatches into one",
        ),
        ("layers[1].config.nout=8", "does not fit; nothing was changed"),
        ("optimizer={type: SGD, config: {learning_rate: 0.1}}", "SGD"),
        ("optimizer.config.learning_rat=0.1", "did you mean 'learning_rate'?"),
    ):
        code, _, err = run("train", "model.yaml", "-s", "out", "-e", 1, "--resume", "--change", change)
        assert code == 2
        assert message in err
        assert ((here / "out/config.yaml").read_text(), final_arrays("out")) == before


def test_items_may_be_counted_from_the_end(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    change = ("--change", "layers[-3].config.keep=0.5")
    assert run("train", "model.yaml", "-s", "out", "-e", 2, "--resume", *change)[0] == 0
    assert first("out", 46).extra["history"][0]["changed"] == {"layers[0].config.keep": ["0.9", "0.5"]}


def test_a_batch_size_changes_between_epochs(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    assert run("train", "model.yaml", "-s", "out", "-e", 2, "--resume", "--change", "batchsize=32")[0] == 0
    assert CheckpointManager("out/checkpoints").steps()[-1] == 23 + 45


# --- --import ---

MODULE = """\
from neon_optim.model import Callback, Layer

class Mine{name}(Layer):
    '''Twice what comes in.'''
    def forward(self, x, inference=False):
        return x * 2.0
"""


@pytest.mark.parametrize("as_file", [False, True])
def test_layers_of_ones_own_are_named_on_the_command_line(run, here, as_file, monkeypatch):
    monkeypatch.syspath_prepend(here)  # what is put on it goes again
    stem = f"my_layers_{as_file}"
    (here / f"{stem}.py").write_text(MODULE.format(name=as_file))
    (here / "model.yaml").write_text(CONFIG.replace("layers:\n", f"layers:\n- Mine{as_file}\n"))
    importing = ("--import", f"{stem}.py" if as_file else stem)
    assert f"unknown layer 'Mine{as_file}'" in run("train", "model.yaml", "-s", "out")[2]
    for command in ("validate", "show"):
        assert run(command, "model.yaml", *importing)[0] == 0
    assert f"Mine{as_file}" in run("schema", *importing)[1]
    assert run("train", "model.yaml", "-s", "out", "-e", 1, *importing)[0] == 0
    np.savez("digits.npz", X=np.zeros((2, 1, 8, 8), "f4"))
    assert run("predict", "out", "digits.npz", *importing)[0] == 0
    monkeypatch.delitem(
        registry._classes, f"{stem}.Mine{as_file}"
    )  # as in a process that has not imported it
    with pytest.raises(
        RunError, match=rf"unknown layer '[\w.]*Mine{as_file}'[^$]*It was trained with --import {stem}"
    ):
        load_run("out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--import absent: ModuleNotFoundError: No module named 'absent'"),
        ("x = 1\nraise ValueError('no')\n", "ValueError: no ("),
        ("x = (\n", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported(run, here, monkeypatch, text, message):
    monkeypatch.syspath_prepend(here)
    name = "absent" if text is None else f"broken_{len(text)}"
    if text is not None:
        (here / f"{name}.py").write_text(text)
    code, out, err = run("validate", "model.yaml", "--import", name)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


# --- several files ---


def test_files_are_laid_over_each_other(run, here):
    (here / "fast.yaml").write_text("epochs: 1\noptimizer: {config: {learning_rate: 0.02}}\n")
    (here / "large.yaml").write_text("batchsize: 100\noptimizer: {config: {beta_1: 0.8}}\n")
    assert run("train", "model.yaml", "fast.yaml", "large.yaml")[0] == 0
    text = (here / "runs/model-1/config.yaml").read_text()
    for word in ("learning_rate: 0.02", "beta_1: 0.8", "step_config", "epochs: 1", "batchsize: 100"):
        assert word in text
    assert run("validate", "model.yaml", "fast.yaml", "--together")[1] == "model.yaml fast.yaml: ok\n"
    assert "fast.yaml:2:12: optimizer must be {type" in run("validate", "model.yaml", "fast.yaml")[1]
    out = run("show", "model.yaml", "fast.yaml")[1]
    assert "learning_rate  0.02" in out
    assert "fast.yaml:2" in out


def test_mistakes_are_told_in_the_file_where_they_stand(run, here):
    (here / "fast.yaml").write_text("epochs: 1\nbatchsize: none\nepochs: 2\n")
    code, _, err = run("train", "model.yaml", "fast.yaml")
    assert code == 2
    assert (
        "fast.yaml:2:12: batchsize must be an integer >= 1, received 'none'\n     2 | batchsize: none" in err
    )
    assert "fast.yaml:3:1: the key 'epochs' stands twice" in err
    assert "there is no such file" in run("train", "model.yaml", "absent.yaml")[2]
