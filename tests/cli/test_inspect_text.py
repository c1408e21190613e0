"""What ``neon-optim inspect`` shows: a folder's newest checkpoint, nothing that a terminal obeys, lines that fit."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from runs import ROOT

from neon_optim.optimizers import Adam, MultiOptimizer, Schedule
from neon_optim.serialization import save_checkpoint

EVIL = "fc\x1b[2J\x1b]0;owned\x07\u202e[red]\n~ forged\r"


class Layer:
    """As much of a layer as an optimizer looks at."""

    def __init__(self, name):
        self.name = name

    def get_params(self):
        return (np.ones((2, 2)), np.zeros((2, 2))), []


def saved(path, name, **more):
    return save_checkpoint(path, optimizer=Adam(), layers=[Layer(name)], **more)


def in_terminal(here, columns, *arguments):
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "neon_optim", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=here, env=environment, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""
    try:
        while piece := os.read(leader, 4096):
            seen += piece
    except OSError:  # the end, as Linux tells it
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 0, seen
    return seen.decode().replace("\r\n", "\n")


def test_nothing_that_a_terminal_obeys_is_printed_of_a_file(run, here):
    extra = {EVIL: [EVIL, {"a": EVIL}], "b": "x" * 200 + EVIL}
    saved(here / "a", EVIL, extra=extra)
    saved(here / "b", "fc", extra={EVIL: 3}, epoch=1)
    for arguments in (["a"], ["a", "--json"], ["--diff", "a", "b"], ["--diff", "b", "a"]):
        code, out, err = run("inspect", *arguments)
        assert (code, err) == (0, "")
        assert all(char.isprintable() or char == "\n" for char in out), arguments
        assert "[red]" in out
        assert not any(line.startswith("~ forged") for line in out.splitlines())
    assert r"fc\x1b[2J\x1b]0;owned\x07\u202e[red]\n~ forged\r/W" in run("inspect", "a")[1]


def test_errors_print_nothing_that_a_terminal_obeys(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    os.unlink("out/checkpoints/step-000000023.safetensors")
    saved(here / "out/checkpoints/step-000000023.safetensors", EVIL)
    code, _, err = run("train", "model.yaml", "-s", "out", "-e", 2, "--resume")
    assert code == 2
    assert "[red]" in err
    assert all(char.isprintable() or char == "\n" for char in err)


def test_a_folder_stands_for_its_newest_checkpoint(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 2)
    for folder in ("out", "out/checkpoints"):
        code, out, _ = run("inspect", folder)
        assert code == 0
        assert out.startswith("out/checkpoints/step-000000046.safetensors: whole; ")
        assert "epoch      2   step 46" in out
    code, out, _ = run("inspect", "--verify", "out")
    assert (code, out.count(": whole\n")) == (0, len(list((here / "out/checkpoints").glob("*.safetensors"))))
    assert run("inspect", "--diff", "out", "out/checkpoints")[1] == "no difference\n"


def test_a_folder_without_checkpoints(run, here):
    code, _, err = run("inspect", ".")
    assert (code, "'.' is a folder without checkpoints" in err) == (2, True)
    saved(here / "mine.safetensors", "fc")
    assert "other files in it: mine.safetensors" in run("inspect", ".")[2]


def test_the_optimizer_is_told_in_full_and_extra_line_by_line(run, here):
    steps = list(range(10, 400, 10))
    optimizer = MultiOptimizer(
        {"default": Adam(schedule=Schedule(steps, 0.5)), "Bias": Adam(learning_rate=0.25)}
    )
    extra = {
        "config": {"layers": [{"type": "Linear", "config": {"nout": k}} for k in range(9)]},
        "note": "x y",
    }
    save_checkpoint(here / "a", optimizer=optimizer, layers=[Layer("fc")], extra=extra)
    out = run("inspect", "a")[1]
    assert max(map(len, out.splitlines()[1:])) <= 100
    together = " ".join(out.split())
    assert f"schedule=Schedule(step_config={steps}, change=0.5)" in together or (
        f"schedule=Schedule(change=0.5, step_config={steps})" in together
    )
    assert "Adam(learning_rate=0.25)" in together
    assert "\n    - {type: Linear, config: {nout: 8}}\n" in out
    assert '\n  note: "x y"\n' in out


def test_an_endless_extra_is_cut_and_says_so(run, here):
    saved(here / "a", "fc", extra={f"key{k}": k for k in range(1000)})
    out = run("inspect", "a")[1]
    assert "… 800 more lines: --json shows all" in out
    assert len(out.splitlines()) < 300


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(run, here, columns):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    out = in_terminal(here, columns, "inspect", "out")
    lines = [line for line in out.splitlines() if "data:" not in line and len(line.split()) > 1]
    assert max(map(len, lines)) <= columns
    assert len(out.splitlines()) > 20
    (row,) = [line.split() for line in lines if line.startswith("Affine_0/W ")]
    assert row[:3] == ["Affine_0/W", "float32", "16x64"]


def test_differences_of_long_values_are_told_where_they_are(run, here):
    values = list(range(500))
    saved(here / "a", "fc", extra={"list": values})
    saved(here / "b", "fc", extra={"list": [*values[:400], -1, *values[401:]]})
    out = run("inspect", "--diff", "a", "b")[1]
    assert "399, 400, 401" in out
    assert "399, -1, 401" in out
