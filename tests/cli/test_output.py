"""What a run says at its end, and what happens where nobody can hear it."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from runs import ROOT, final_arrays

from neon_optim.errors import CheckpointError
from neon_optim.model import plot
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint.manager import CheckpointManager


def shell(here, line, **options):
    """Run a line of the shell in which neon-optim is the command."""
    command = f'neon-optim() {{ {sys.executable} -m neon_optim "$@"; }}; {line}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


# --- the end ---


def test_the_end_says_where_everything_is(run, here):
    code, out, _ = run("train", "model.yaml", "-s", "out")
    assert code == 0
    errors = {
        line["epoch"]: line["valid_error"]
        for line in map(json.loads, (here / "out/metrics.jsonl").read_text().splitlines())
        if "valid_error" in line
    }
    best = max(epoch for epoch, error in errors.items() if error == min(errors.values()))
    assert re.search(r"^Done: 4 of 4 epochs \(step 92\), \d+\.\d s\.$", out, re.MULTILINE)
    assert (
        f"Best checkpoint: after epoch {best}, valid error {100 * errors[best]:.2f} %.\n  run      out\n"
        in out
    )
    assert f"  best     out/checkpoints/step-{23 * best:09d}.safetensors\n" in out
    if (here / "out/training.png").exists():
        assert out.endswith("  picture  out/training.png\n")


def test_all_checkpoints_are_kept_where_the_end_looks_for_the_best(run):
    code, out, _ = run("train", "model.yaml", "-s", "out", "--set", "checkpoint={keep_last: null}")
    assert (code, "Best checkpoint: after epoch" in out) == (0, True)
    assert CheckpointManager("out/checkpoints").steps() == [23, 46, 69, 92]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (4, "The run in out is finished: after 4 of 4 epochs (step 92)."),
        (3, "The run in out is finished: 3 epochs were asked for, 4 are done already (step 92)."),
        (1, "The run in out is finished: 1 epoch was asked for, 4 are done already (step 92)."),
    ],
)
def test_fewer_epochs_than_are_done(run, asked, told):
    run("train", "model.yaml", "-s", "out")
    code, out, err = run("train", "model.yaml", "-s", "out", "-e", asked, "--resume")
    assert (code, err) == (0, "")
    assert out.startswith(f"{told}\nBest checkpoint: ")


# --- the picture ---


def test_a_full_disk_under_the_picture_costs_the_picture_alone(run, here, monkeypatch):
    pytest.importorskip("matplotlib")
    write = plot.replacing

    def full(path):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise CheckpointError(durable._message(path, error)) from error

    with monkeypatch.context() as patch:
        patch.setattr(plot, "replacing", full)
        code, out, err = run("train", "model.yaml", "-s", "out", "-e", 2)
    assert code == 0
    assert err.startswith("Warning: there is no new picture: cannot save 'out/training.png': No space left")
    assert "The same command with --resume makes the picture." in err
    assert "picture" not in out
    code, out, err = run("train", "model.yaml", "-s", "out", "-e", 2, "--resume")
    assert (code, err) == (0, "")
    assert out.endswith("  picture  out/training.png\n")
    assert (here / "out/training.png").read_bytes().startswith(b"\x89PNG")
    assert plot.replacing is write


def test_an_old_picture_is_made_again_and_a_present_one_is_left(run, here):
    pytest.importorskip("matplotlib")
    run("train", "model.yaml", "-s", "out", "-e", 1)
    picture = here / "out/training.png"
    before = picture.stat().st_mtime_ns
    run("train", "model.yaml", "-s", "out", "-e", 1, "--resume")
    assert picture.stat().st_mtime_ns == before
    os.utime(picture, (1, 1))
    run("train", "model.yaml", "-s", "out", "-e", 1, "--resume")
    assert picture.stat().st_mtime > 1


# --- memory ---


@pytest.mark.parametrize(
    ("nout", "size"), [("1000000000", "238.4 GiB"), ("1" + 18 * "0", "GiB"), ("1" + 30 * "0", "GiB")]
)
def test_layers_that_no_machine_can_hold(run, here, nout, size):
    code, out, err = run("train", "model.yaml", "--set", f"layers[1].config.nout={nout}")
    assert (code, out) == (2, "")
    assert re.match(
        rf"Error: layers: not enough memory for the parameters of 'Affine_0.*': {nout} x 64 numbers", err
    )
    assert size in err
    assert not (here / "runs").exists()


def test_memory_that_runs_out_later(run, monkeypatch):
    from neon_optim.model.training import Training

    def no_more(*arguments):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(Training, "run", no_more)
    code, _, err = run("train", "model.yaml")
    assert (code, "Error: not enough memory: Unable to allocate 9 TiB" in err) == (2, True)


# --- outputs that fail ---

TRAIN = "neon-optim train model.yaml -s out -e 2"


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (f"{TRAIN} >&-", 0, ""),
        (f"{TRAIN} >&- 2>&-", 0, ""),
        (f"{TRAIN} <&- >&- 2>&-", 0, ""),
        (f"{TRAIN} >/dev/full", 0, "takes no more text (No space left on device); training goes on"),
        (f"{TRAIN} >/dev/full 2>/dev/full", 0, ""),
        (f"set -o pipefail; {TRAIN} | true", 0, ""),
        (f"set -o pipefail; {TRAIN} | head -1", 0, ""),
    ],
)
def test_a_run_that_nobody_hears_goes_on(run, here, line, code, told):
    done = shell(here, line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") <= 1
    run("train", "model.yaml", "-s", "whole", "-e", 2)
    assert final_arrays("out") == final_arrays("whole")


def test_a_reader_that_goes_is_told_of_once(here):
    done = shell(here, "set -o pipefail; neon-optim train model.yaml -s out -e 100 | head -1")
    assert done.returncode == 0
    assert done.stderr == (
        "Warning: standard output takes no more text (its reader has gone); training goes on\n"
    )
    assert CheckpointManager(here / "out/checkpoints").steps()[-1] == 2300


@pytest.mark.parametrize("arguments", ["doctor", "--help", "init table.csv --target b", "inspect {}"])
def test_other_commands_say_that_they_cannot_write(run, here, arguments):
    if "{}" in arguments:
        run("train", "model.yaml", "-s", "out", "-e", 1)
        arguments = arguments.format("out/checkpoints/step-000000023.safetensors")
    (here / "table.csv").write_text("a,b\n1,x\n2,y\n" * 5)
    done = shell(here, f"neon-optim {arguments} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: standard output cannot be written: No space left on device\n"
    for closed in (">&-", ">&- 2>&-", "| true"):
        assert "Traceback" not in shell(here, f"neon-optim {arguments} {closed}").stderr


# --- a terminal that closes ---


def hears(*numbers):
    """What a child process does first: take signals as a shell's foreground process does."""

    def prepare():
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    return prepare


def until(process, line):
    while line not in (read := process.stdout.readline()):
        assert read, process.stderr.read()


def test_hanging_up_saves_and_stops(start, here):
    process = start("train", "model.yaml", "-s", "out", "-e", 4000, preexec_fn=hears(signal.SIGHUP))
    until(process, "epoch    2/4000")
    for _ in range(3):  # a shell that ends passes it on, beside the system
        process.send_signal(signal.SIGHUP)
        time.sleep(0.005)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    step = int(re.search(r"\(step (\d+)", err)[1])
    assert CheckpointManager(here / "out/checkpoints").steps()[-1] == step


def test_under_nohup_hanging_up_changes_nothing(start, here):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start("train", "model.yaml", "-s", "out", "-e", 60, preexec_fn=ignore)
    until(process, "epoch  2/60")
    process.send_signal(signal.SIGHUP)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)


def test_a_terminal_that_closes_leaves_a_checkpoint(here):
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}

    def prepare():
        import fcntl
        import termios

        hears(signal.SIGHUP)()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "neon_optim", "train", "model.yaml", "-s", "out", "-e", "4000"],
        cwd=here,
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=prepare,
    )
    os.close(follower)
    seen = b""
    while b"2/4000" not in seen:
        seen += os.read(leader, 4096)
    os.close(leader)  # the system sends SIGHUP; every write from now on is an error
    assert process.wait(timeout=60) == 1
    manager = CheckpointManager(here / "out/checkpoints")
    assert manager.latest() is not None
    within = manager.restore().model["counters"]["minibatch"]
    log = (here / "out/metrics.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == manager.steps()[-1]
    assert within == manager.steps()[-1] % 23


# --- a folder in the place of a config ---


def test_a_folder_in_the_place_of_a_config(run, here):
    run("train", "model.yaml", "-s", "a run", "-e", 1)
    code, _, err = run("train", "a run")
    assert code == 2
    assert "'a run' is a folder; a config is a YAML file. It holds a run" in err
    assert "to continue it: neon-optim train 'a run/config.yaml' -s 'a run' --resume" in err
    code, _, err = run("train", ".")
    assert (code, err) == (2, "Error: '.' is a folder; a config is a YAML file; in it: model.yaml\n")
    (here / "empty").mkdir()
    assert run("train", "empty")[2].endswith("and there is none in it\n")
