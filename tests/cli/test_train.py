"""`neon-optim train`: what a run leaves, and how it is continued."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from runs import ROOT, final_arrays, log_of

from neon_optim.serialization import load_config
from neon_optim.serialization.checkpoint.manager import CheckpointManager


def test_a_run_leaves_its_folder_and_says_what_it_does(run, here):
    code, out, err = run("train", "model.yaml", "-s", "out")
    assert (code, err) == (0, "")
    for part in (
        "1,200 parameters; 1,438 samples to train on, 359 to validate\nbackend cpu",
        "epoch 4/4",
        "valid error",
        "lr 0.005",
        "Done: 4 of 4 epochs (step 92)",
    ):
        assert part in out
    error = re.findall(r"valid error +(\d+\.\d+) %  lr", out)
    assert len(error) == 4
    assert float(error[-1]) < 12
    assert {path.name for path in (here / "out").iterdir()} >= {"config.yaml", "metrics.jsonl", "checkpoints"}
    assert len([line for line in log_of("out") if "cost" in line]) == 4 * 23
    assert CheckpointManager("out/checkpoints").steps()[-1] == 92
    settings = load_config("out/config.yaml").settings
    assert (settings.epochs, settings.rng_seed, settings.optimizer.learning_rate) == (4, 3, 0.01)


def test_a_picture_where_matplotlib_is_installed(run, here):
    pytest.importorskip("matplotlib")
    run("train", "model.yaml", "-s", "out", "-e", 1)
    assert (here / "out/training.png").read_bytes().startswith(b"\x89PNG")


def test_options_and_overrides_count(run):
    code, out, _ = run(
        "train", "model.yaml", "-s", "out", "-e", 2, "-z", 100, "-r", 7, "-b", "cpu",
        "--set", "optimizer.config.learning_rate=0.02", "--set", "layers[1].config.nout=8",
    )  # fmt: skip
    assert code == 0
    settings = load_config("out/config.yaml").settings
    assert (settings.epochs, settings.batchsize, settings.rng_seed) == (2, 100, 7)
    assert settings.optimizer.learning_rate == 0.02
    assert "600 parameters" in out  # 64 x 8 + 8 + 8 x 10


def test_a_run_on_images_goes_on_with_what_its_layers_remember(run):
    config = ROOT / "configs/digits_lenet.yaml"
    run("train", config, "-s", "whole", "-e", 3)
    run("train", config, "-s", "stopped", "-e", 1)
    code, out, err = run("train", config, "-s", "stopped", "-e", 3, "--resume")
    assert (code, err) == (0, "")
    assert "13,818 parameters" in out
    epoch, arrays = final_arrays("whole")
    assert {"Conv_0_bnorm/gmean", "Conv_0_bnorm/gvar", "Conv_0_bnorm/gamma", "Conv_0_bnorm/gamma/v"} <= set(
        arrays
    )
    assert final_arrays("stopped") == (epoch, arrays)


def test_the_config_of_a_run_repeats_it(run, here):
    text = (here / "model.yaml").read_text().replace("rng_seed: 3\n", "")
    (here / "model.yaml").write_text(text)
    run("train", "model.yaml", "-s", "first", "-e", 1)
    run("train", "first/config.yaml", "-s", "second")
    run("train", "model.yaml", "-s", "third", "-e", 1)
    assert final_arrays("first") == final_arrays("second")
    assert final_arrays("first") != final_arrays("third")  # a seed of its own


def test_folders_are_numbered(run, here):
    for _ in range(2):
        run("train", "model.yaml", "-e", 1)
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["model-1", "model-2"]
    code, out, _ = run("train", "model.yaml", "-e", 1, "--resume")
    assert code == 0
    assert f"The run in {os.path.join('runs', 'model-2')} is finished: after 1 of 1 epochs" in out


def test_resume_starts_where_there_is_nothing_and_ends_where_all_is_done(run):
    for word in ("epoch 4/4", "is finished: after 4 of 4 epochs (step 92)"):
        code, out, _ = run("train", "model.yaml", "-s", "out", "--resume")
        assert code == 0
        assert word in out


def test_a_finished_run_can_be_given_more_epochs(run):
    run("train", "model.yaml", "-s", "whole", "-e", 4)
    run("train", "model.yaml", "-s", "parts", "-e", 2)
    code, out, _ = run("train", "model.yaml", "-s", "parts", "-e", 4, "--resume")
    assert (code, "Resumed after 2 of 4 epochs (step 46)" in out) == (0, True)
    assert final_arrays("parts") == final_arrays("whole")
    assert log_of("parts") == log_of("whole")


@pytest.mark.parametrize("kept", [7, 42, 84])
def test_a_run_continues_from_any_checkpoint_with_the_same_bits(run, here, kept):
    """Steps 7, 42 and 84 are within epochs of 23 steps. What came later is gone, as after a kill."""
    run("train", "model.yaml", "-s", "out", "--set", "checkpoint.keep_last=null")
    whole, log = final_arrays("out"), log_of("out")
    manager = CheckpointManager("out/checkpoints")
    for step in manager.steps():
        if step > kept:
            os.unlink(manager.path(step))
    code, out, _ = run("train", "model.yaml", "-s", "out", "--resume")
    assert (code, f"(step {kept}," in out) == (0, True)
    assert final_arrays("out") == whole
    assert log_of("out") == log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_continue(start, run, number):
    process = start("train", "model.yaml", "-s", "out", "-e", 4000, "--set", "checkpoint.every_steps=null")
    for line in process.stdout:
        if "epoch    2/4000" in line:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    found = re.fullmatch(
        r"Stopped after (\d+) of 4000 epochs \(step (\d+).*\); a checkpoint is saved.\nContinue with:\n  (.*)\n",
        err,
    )
    assert found[3] == (
        "neon-optim train model.yaml --set checkpoint.every_steps=null -e 4000 -s out --resume"
    )
    epochs, step = int(found[1]) + 1, int(found[2])
    assert CheckpointManager("out/checkpoints").steps()[-1] == step
    rest = ("-e", epochs, "--set", "checkpoint.every_steps=null")
    assert run("train", "model.yaml", "-s", "out", "--resume", *rest)[0] == 0
    run("train", "model.yaml", "-s", "whole", *rest)
    assert final_arrays("out") == final_arrays("whole")


def test_two_processes_cannot_train_in_one_folder(start, run):
    process = start("train", "model.yaml", "-s", "out", "-e", 4000)
    try:
        assert any("folder out" in process.stdout.readline() for _ in range(2))
        code, _, err = run("train", "model.yaml", "-s", "out", "--resume", "-e", 4000)
        assert code == 2
        assert "another process is training in 'out'" in err
    finally:
        process.kill()
        process.communicate()


def test_help_is_quick_because_it_loads_little(start):
    process = start("--help")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "train" in out
    code = (
        "import sys; from neon_optim.cli.app import cli; cli(['--help'], standalone_mode=False); "
        "print(sorted({'numba', 'sklearn', 'matplotlib', 'rich', 'yaml', 'safetensors'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_twelve_kills_at_random_moments_change_nothing(start, run):
    """Whatever the moment, --resume in the end leaves the arrays and the log of the run that was never stopped."""
    options = ("-e", 150, "--set", "checkpoint.keep_last=2")
    assert run("train", "model.yaml", "-s", "whole", *options)[0] == 0
    moments = random.Random(5)
    kills = 0
    while True:
        process = start("train", "model.yaml", "-s", "out", "--resume", *options)
        if kills < 12:
            time.sleep(moments.uniform(0.2, 2.5))
            process.kill()
            kills += process.wait() == -signal.SIGKILL
            process.communicate()
        else:
            _, err = process.communicate(timeout=120)
            assert (process.returncode, err) == (0, "")
            break
    assert final_arrays("out") == final_arrays("whole")
    assert log_of("out") == log_of("whole")


@pytest.mark.slow
def test_the_shipped_digits_config_is_good_and_quick(start):
    begin = time.monotonic()
    process = start("train", ROOT / "configs/digits_mlp.yaml", "-s", "out")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert time.monotonic() - begin < 30
    assert float(re.findall(r"valid error +(\d+\.\d+) %  lr", out)[-1]) <= 3.0
