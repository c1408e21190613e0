"""A folder of checkpoints: what is kept, what is found, who may write, what a background write promises."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from harness import STATE

from neon_optim.errors import ArgumentError, CheckpointError, CheckpointWarning
from neon_optim.optimizers import Adam
from neon_optim.serialization import CheckpointManager, durable
from neon_optim.serialization.checkpoint import archive
from neon_optim.serialization.checkpoint import manager as verification


def arrays(value: float = 0.0) -> dict[str, np.ndarray]:
    return {"fc/W": np.full((3, 2), value, np.float32)}


def value_of(path: str | None) -> float:
    assert path is not None
    return float(archive.read(path).arrays["fc/W"][0, 0])


def fill(folder, steps, metric=None, **options) -> CheckpointManager:
    manager = CheckpointManager(folder, **options)
    for step in steps:
        manager.write(step, arrays(step), STATE, metrics=None if metric is None else {"error": metric(step)})
    manager.wait()
    return manager


@pytest.mark.parametrize("async_save", [False, True])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 10, 20, 25, 30, 35]),
        ({"keep_last": 1}, [35]),
        ({"keep_last": 2}, [30, 35]),
        ({"keep_last": 99}, [0, 10, 20, 25, 30, 35]),
        ({"keep_every": 20}, [0, 20, 35]),
        ({"keep_best": ("error", "min")}, [20, 35]),
        ({"keep_best": ("error", "max")}, [0, 35]),
        ({"keep_best": ("other", "max")}, [35]),
        ({"keep_last": 2, "keep_every": 10, "keep_best": ("error", "min")}, [0, 10, 20, 30, 35]),
    ],
)
def test_what_is_kept(tmp_path, options, kept, async_save):
    manager = fill(
        tmp_path / "run", [0, 10, 20, 25, 30, 35], lambda s: abs(s - 21), async_save=async_save, **options
    )
    assert manager.steps() == kept
    assert value_of(manager.latest()) == 35
    manager.close()
    assert sorted(os.listdir(tmp_path / "run")) == [
        ".lock",
        *(f"step-{step:09d}.safetensors" for step in kept),
    ]


def test_the_best_of_an_earlier_process_is_kept(tmp_path):
    fill(tmp_path, [1, 2, 3], lambda step: step, keep_last=3).close()
    manager = fill(tmp_path, [4, 5], lambda step: step, keep_last=1, keep_best=("error", "min"))
    assert manager.steps() == [1, 5]
    assert value_of(manager.best()) == 1


def test_metrics_that_are_no_floats_are_no_metrics(tmp_path):
    manager = fill(tmp_path, [1, 2], lambda step: step, keep_best=("error", "max"))
    for step, value in ((3, 10**400), (4, "x"), (5, True), (6, [1])):
        archive.write(manager.path(step), arrays(), {**STATE, "step": step, "metrics": {"error": value}})
    assert manager.best() == manager.path(2)


def test_metrics_that_are_not_finite_are_the_worst(tmp_path):
    values = {1: float("nan"), 2: 5.0, 3: float("-inf"), 4: 7.0}
    manager = fill(tmp_path, values, values.get, keep_best=("error", "min"))
    assert manager.steps() == [2, 4]
    assert manager.restore().metrics == {"error": 7.0}


def test_nothing_is_deleted_before_the_new_file_is_durable(tmp_path, monkeypatch):
    manager = fill(tmp_path, [1], keep_last=1)
    real, seen = os.fsync, []
    monkeypatch.setattr(durable.os, "fsync", lambda fd: (seen.append(manager.steps()), real(fd))[1])
    manager.write(2, arrays(), STATE)
    assert seen[-1] == [1, 2], "the folder is synced with both files in it"
    assert manager.steps() == [2]


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("async_save", [False, True])
def test_a_failing_save_keeps_every_old_checkpoint(tmp_path, monkeypatch, name, failure, async_save):
    manager = fill(tmp_path, [1, 2], keep_last=1, async_save=async_save)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, calls, k = getattr(os, name), [], 0

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == k + 1:
            raise OSError(failure, os.strerror(failure))
        return real(*arguments, **options)

    while True:
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(durable.os, name, failing)
            try:
                manager.write(3, arrays(3), STATE)
                manager.wait()
            except CheckpointError as error:
                message = str(error)
            else:
                break
        assert "step-000000003.safetensors" in message
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert value_of(manager.latest()) == 2
        k += 1
    assert k > 0
    assert manager.steps() == [3]


def test_a_damaged_newest_is_passed_over_with_its_name(tmp_path):
    manager = fill(tmp_path, [1, 2, 3])
    for step, cut in ((3, 100), (2, 0)):
        path = pathlib.Path(manager.path(step))
        path.write_bytes(path.read_bytes()[:cut])
    with pytest.warns(CheckpointWarning) as caught:
        path = manager.latest()
    assert value_of(path) == 1
    assert [
        f"step-{step:09d}" in str(warning.message) for step, warning in zip((3, 2), caught, strict=True)
    ] == [True] * 2
    with pytest.warns(CheckpointWarning):
        assert manager.restore().step == 1


@pytest.mark.parametrize("deleted", ["before it is looked at", "while it is read"])
def test_what_its_writer_deletes_meanwhile_is_not_damaged(tmp_path, monkeypatch, deleted):
    manager = fill(tmp_path, [1, 2, 3])
    newest = manager.path(3)
    if deleted == "before it is looked at":
        steps = manager.steps()
        os.unlink(newest)
        monkeypatch.setattr(manager, "steps", lambda: steps)
    else:
        verify = verification.verify_checkpoint

        def late(path):
            if path == newest:
                os.unlink(newest)
            return verify(path)

        monkeypatch.setattr(verification, "verify_checkpoint", late)
    assert manager.latest() == manager.path(2)


def test_a_damaged_file_does_not_count_among_those_to_keep(tmp_path):
    manager = fill(tmp_path, [1, 2, 9], keep_last=2)
    pathlib.Path(manager.path(9)).write_bytes(b"damaged")
    with pytest.warns(CheckpointWarning):
        manager.latest()
    manager.write(3, arrays(3), STATE)
    assert manager.steps() == [2, 3, 9]
    manager.write(9, arrays(9), STATE)
    assert value_of(manager.latest()) == 9
    assert manager.steps() == [3, 9]


def test_only_damaged_files_are_an_error_and_not_a_fresh_start(tmp_path):
    manager = fill(tmp_path, [1])
    pathlib.Path(manager.path(1)).write_bytes(b"")
    with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError, match="1 are damaged"):
        manager.latest()


def test_an_empty_or_missing_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        manager = CheckpointManager(folder, keep_best=("error", "min"))
        assert (manager.latest(), manager.best(), manager.steps()) == (None, None, [])
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            manager.restore()
    assert os.listdir(tmp_path) == [], "reading creates nothing"


def test_other_files_stay(tmp_path):
    for name in (
        "step-1.safetensors",
        "step-00000000x.safetensors",
        "notes.txt",
        "step-000000001.safetensors.bak",
    ):
        (tmp_path / name).write_text("mine")
    manager = fill(tmp_path, [5, 6], keep_last=1)
    assert manager.steps() == [6]
    assert len(os.listdir(tmp_path)) == 6


def test_leftovers_of_a_killed_writer_go_with_the_first_save(tmp_path):
    (tmp_path / f".step-000000007.safetensors.{'0' * 16}.tmp").write_bytes(b"half")
    manager = CheckpointManager(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    manager.write(1, arrays(), STATE)
    assert sorted(os.listdir(tmp_path)) == [".lock", "step-000000001.safetensors"]


def test_a_second_writer_is_refused_until_the_first_has_gone(tmp_path):
    first, second = CheckpointManager(tmp_path), CheckpointManager(tmp_path)
    first.write(1, arrays(1), STATE)
    with pytest.raises(CheckpointError, match=rf"being written by another run \(process {os.getpid()}\)"):
        second.write(2, arrays(2), STATE)
    assert value_of(second.latest()) == 1, "reading needs no lock"
    first.close()
    second.write(2, arrays(2), STATE)
    del second
    CheckpointManager(tmp_path).write(3, arrays(3), STATE)


def test_the_lock_ends_with_its_process_even_where_a_forked_child_lives_on(tmp_path):
    script = (
        "import os, signal, sys, time, numpy as np\n"
        "from neon_optim.serialization import CheckpointManager\n"
        "manager = CheckpointManager(sys.argv[1])\n"
        "manager.write(1, {'w': np.ones(3)}, {})\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert process.wait() == -9
        CheckpointManager(tmp_path).write(2, arrays(), STATE)
    finally:
        os.kill(child, 9)
        process.stdout.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_last": 0}, "keep_last"),
        ({"keep_last": True}, "keep_last"),
        ({"keep_every": -5}, "keep_every"),
        ({"keep_every": 1.5}, "keep_every"),
        ({"keep_best": "error"}, "keep_best"),
        ({"keep_best": ("error", "best")}, "keep_best"),
        ({"keep_best": (3, "min")}, "keep_best"),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    with pytest.raises(ArgumentError, match=message):
        CheckpointManager(tmp_path, **options)


@pytest.mark.parametrize("step", [-1, 1.0, True, "3", None, 10**18])
def test_wrong_steps(tmp_path, step):
    with pytest.raises(ArgumentError, match="step must be an integer >= 0"):
        CheckpointManager(tmp_path).write(step, arrays(), STATE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", ["0.5", None, [1.0], 1j])
def test_wrong_metrics(tmp_path, value):
    with pytest.raises(ArgumentError, match=r"metrics\['error'\] must be a number"):
        CheckpointManager(tmp_path).write(1, arrays(), STATE, metrics={"error": value})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        with pytest.raises(CheckpointError, match="file"):
            CheckpointManager(tmp_path / name).write(1, arrays(), STATE)


def test_a_symlinked_folder_and_a_new_one_below_others(tmp_path):
    manager = CheckpointManager(tmp_path / "a" / "b")
    manager.write(1, arrays(1), STATE)
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)
    assert value_of(CheckpointManager(tmp_path / "link" / "b").latest()) == 1


def test_save_and_restore_of_a_run(tmp_path):
    layers = [
        (((np.ones((2, 2), np.float32)), np.ones((2, 2), np.float32)), [np.ones((2, 2), np.float32)] * 2)
    ]
    adam = Adam()
    adam.t = 7
    with CheckpointManager(tmp_path) as manager:
        manager.save(70, optimizer=adam, layers=layers, epoch=3, extra={"batch": 5}, metrics={"error": 0.5})
        layers[0][0][0][:] = 0
        other = Adam()
        found = manager.restore(optimizer=other, layers=layers)
    assert (found.step, found.epoch, found.extra, found.metrics, other.t) == (
        70,
        3,
        {"batch": 5},
        {"error": 0.5},
        7,
    )
    assert layers[0][0][0].tolist() == [[1, 1], [1, 1]]


# ---- background writes


class SlowWrite:
    """Holds writes back until they are let go."""

    def __init__(self, monkeypatch) -> None:
        self.go, self.started, real = threading.Event(), threading.Event(), archive.write

        def write(*arguments):
            self.started.set()
            assert self.go.wait(30)
            return real(*arguments)

        monkeypatch.setattr(archive, "write", write)


def test_training_goes_on_while_the_state_as_it_was_is_written(tmp_path, monkeypatch):
    slow, manager, state = SlowWrite(monkeypatch), CheckpointManager(tmp_path, async_save=True), arrays(1)
    path = manager.write(1, state, STATE)
    assert slow.started.wait(30)
    assert not os.path.exists(path)
    state["fc/W"][:] = 2
    slow.go.set()
    manager.wait()
    assert value_of(path) == 1
    manager.write(2, state, STATE)
    state["fc/W"][:] = 3
    assert value_of(manager.latest()) == 2
    manager.close()


@pytest.mark.parametrize("call", ["write", "wait", "latest", "close", "restore"])
def test_an_error_in_the_background_surfaces_at_the_next_call(tmp_path, monkeypatch, call):
    def failing(*_):
        raise CheckpointError("the disk is full")

    manager = fill(tmp_path, [1], async_save=True)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "write", failing)
        manager.write(2, arrays(), STATE)
        manager._thread.join()
    arguments = (3, arrays(), STATE) if call == "write" else ()
    with pytest.raises(CheckpointError, match="the disk is full"):
        getattr(manager, call)(*arguments)
    assert value_of(manager.latest()) == 1, "it surfaces once"


END = """
import sys, numpy as np
from neon_optim.serialization import CheckpointManager
from neon_optim.serialization.checkpoint import archive
from neon_optim.serialization.checkpoint import manager as verification
manager = CheckpointManager(sys.argv[1], async_save=True)
real = archive.write
def slow(*arguments):
    import time
    time.sleep(0.5)
    if sys.argv[2] == 'fail':
        raise archive.CheckpointError('the disk is full')
    return real(*arguments)
archive.write = slow
manager.write(1, {'fc/W': np.ones((1200, 1200), 'f4')}, {})
if sys.argv[2] == 'exception':
    raise SystemExit(3)
"""


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("exception", 3), ("fail", 0)])
def test_at_the_end_of_the_process_nothing_is_lost(tmp_path, way, code):
    done = subprocess.run(
        [sys.executable, "-c", END, str(tmp_path), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    if way == "fail":
        assert "the last checkpoint was not written: the disk is full" in done.stderr
    else:
        assert done.stderr == ""
        assert value_of(CheckpointManager(tmp_path).latest()) == 1


def test_saving_is_not_held_up_by_the_disk(tmp_path, monkeypatch):
    slow, manager = SlowWrite(monkeypatch), CheckpointManager(tmp_path, async_save=True)
    start = time.perf_counter()
    manager.write(1, arrays(), STATE)
    assert time.perf_counter() - start < 5
    assert not manager.steps()
    slow.go.set()
    manager.close()
    assert manager.steps() == [1]
