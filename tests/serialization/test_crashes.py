"""Kills, full disks and crowds: a checkpoint is whole at every moment, for everyone."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from harness import run_script

from neon_optim.errors import CheckpointError
from neon_optim.serialization import CheckpointManager
from neon_optim.serialization.checkpoint import archive


def kill_saves(folder, kills: int, megabytes: float, kind: str = "") -> dict[str, int]:
    counts: dict[str, int] = run_script("kill_saves.py", folder, kills, megabytes, kind)
    return counts


@pytest.mark.parametrize("kills", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_killed_inside_a_save(tmp_path, kills):
    counts = kill_saves(tmp_path, kills, 8)
    assert counts["inside"] == kills
    assert (counts["lost"], counts["unreadable"]) == (0, 0)
    assert counts["files"] <= 2, "at most the leftover of the last kill"


def test_a_pickle_written_in_place_is_lost(tmp_path):
    """Negative control: the kills do hit the writes."""
    assert kill_saves(tmp_path, 20, 8, "pickle")["unreadable"] >= 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no permission to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_full_disk(small_disk):
    path = small_disk / "run.safetensors"
    old = {"x": np.arange(100_000, dtype=np.float32)}
    archive.write(path, old, {"step": 1})
    for nbytes in (400_000, 700_000, 2_000_000, 9_000_000):
        with pytest.raises(CheckpointError, match=r"run\.safetensors.*disk is full"):
            archive.write(path, {"x": np.zeros(nbytes + 300_000, np.uint8)}, {"step": 2})
        assert os.listdir(small_disk) == ["run.safetensors"]
        assert archive.read(path).arrays["x"].tobytes() == old["x"].tobytes()
    archive.write(path, {"x": np.zeros(1000)}, {"step": 3})
    assert archive.read(path).state == {"step": 3}


def test_read_only_disk(small_disk):
    path = small_disk / "run.safetensors"
    archive.write(path, {"x": np.ones(3)}, {"step": 1})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CheckpointError, match=r"run\.safetensors.*read-only"):
        archive.write(path, {"x": np.zeros(3)}, {"step": 2})
    with pytest.raises(CheckpointError, match="cannot write to"):
        CheckpointManager(small_disk).write(1, {}, {})
    assert archive.read(path).state == {"step": 1}
    assert os.listdir(small_disk) == ["run.safetensors"]


def test_full_disk_under_a_manager(small_disk):
    with CheckpointManager(small_disk, keep_last=1) as manager:
        for step in range(1, 4):
            manager.write(step, {"x": np.full(100_000, step, np.float32)}, {})
        for _ in range(3):
            with pytest.raises(CheckpointError, match="disk is full"):
                manager.write(4, {"x": np.zeros(200_000, np.float32)}, {})
            assert manager.steps() == [3]
        assert float(archive.read(manager.latest()).arrays["x"][0]) == 3


WRITER = """
import sys, numpy as np
from neon_optim.serialization.checkpoint import archive
value = int(sys.argv[2])
while True:
    archive.write(sys.argv[1], {"a": np.full(300_000, value, "f4"), "b": np.full(9, value, "i8")}, {"step": value})
    value += 2
"""
MANAGER = """
import sys, numpy as np
from neon_optim.serialization import CheckpointManager
manager, step = CheckpointManager(sys.argv[1], keep_last=2), 0
while True:
    step += 1
    manager.write(step, {"a": np.full(300_000, step, "f4")}, {})
"""


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        assert process.poll() is None, "a writer has failed"
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_two_writers_and_a_reader_of_one_file(tmp_path, seconds):
    path = tmp_path / "run.safetensors"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first)]) for first in (1, 2)]
    wait_for(path.exists)
    seen, end = set(), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            contents = archive.read(path)
            value = contents.state["step"]
            assert (contents.arrays["a"] == value).all()
            assert (contents.arrays["b"] == value).all()
            seen.add(value)
    finally:
        stop(writers)
    assert {value % 2 for value in seen} == {0, 1}, "both have written"
    assert len(seen) > 10


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_reader_of_a_folder_in_which_old_files_vanish(tmp_path, seconds):
    writer = subprocess.Popen([sys.executable, "-c", MANAGER, str(tmp_path)])
    reader, found = CheckpointManager(tmp_path), []
    wait_for(reader.steps)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            path = reader.latest()
            if path is not None:
                found.append(int(pathlib.Path(path).stem.removeprefix("step-")))
    finally:
        stop([writer])
    assert found == sorted(found)
    assert len(set(found)) > 5
    with CheckpointManager(tmp_path, keep_last=2) as manager:
        manager.write(10**6, {}, {})
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
