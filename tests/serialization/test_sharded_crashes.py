"""Whatever ends a sharded save, a whole checkpoint is there: kills, failing calls, full disks, a loss of power."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import subprocess
import tempfile

import numpy as np
import pytest
from harness import run_script

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import shard_index, sharded
from neon_optim.serialization.checkpoint.sharded import share_out, write_part
from neon_optim.serialization.checkpoint.stored import read_checkpoint


@pytest.fixture
def memory(tmp_path):
    """A folder where an fsync takes no time: what matters is which calls there are."""
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield pathlib.Path(folder) / "run"


@pytest.mark.parametrize("step", [1, 2], ids=["saved again", "the next step"])
def test_killed_before_each_system_call(memory, step):
    counts = run_script("kill_at_every_call.py", memory, step)
    assert counts["calls"] > 40
    assert counts["unreadable"] == 0
    assert min(counts["old"], counts["new"], counts["leftovers"]) > 3


def test_files_written_in_place_are_lost(memory):
    """Negative control: the kills do hit what matters."""
    assert run_script("kill_at_every_call.py", memory, 1, "in-place")["unreadable"] > 0


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_leader_or_worker_killed_inside_a_save(tmp_path, kills):
    counts = run_script("kill_sharded_saves.py", tmp_path, kills, 4)
    assert counts["inside"] == kills
    assert counts["lost"] == 0
    assert counts["most leftovers"] <= 6, "those of one save and of one deletion: they do not pile up"
    assert counts["files at the end"] == 3


def arrays(value: int) -> dict[str, np.ndarray]:
    return {"param": np.full(3000, value, np.float32), "state": np.full((20, 20), value, np.int64)}


def save(path, value: int) -> None:
    with sharded.begin(path, 2) as saving:
        receipts = [write_part(saving.ticket, part, share_out(arrays(value), part, 2)) for part in range(2)]
        saving.commit(receipts, {"value": value})


def value_of(path) -> int:
    contents = read_checkpoint(path)
    assert all((array == contents.state["value"]).all() for array in contents.arrays.values())
    return contents.state["value"]


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EINTR])
@pytest.mark.parametrize(
    "name", ["open", "write", "fsync", "replace", "link", "unlink", "mkdir", "listdir", "readv"]
)
@pytest.mark.parametrize("existing", [True, False])
def test_kth_failing_call(memory, monkeypatch, name, failure, existing):
    """An error leaves what was there, and nothing of the new one; what cannot be deleted is swept later."""
    memory.mkdir(exist_ok=True)
    path = memory / "a.sharded"
    if existing:
        save(path, 1)
    real = getattr(os, name)
    for k in range(100):
        calls = 0

        def failing(*arguments, k=k, **named):
            nonlocal calls
            calls += 1
            if calls - 1 == k:
                raise OSError(failure, os.strerror(failure))
            return real(*arguments, **named)

        message = ""
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            try:
                save(path, 2)
            except CheckpointError as error:
                message = str(error)
        if not message:
            assert value_of(path) == 2
        elif existing:
            assert value_of(path) == 1
        else:
            assert not shard_index.is_sharded(path)
        if name not in ("unlink", "listdir"):
            assert len(os.listdir(path) if path.exists() else []) == (3 if existing or not message else 0)
        if message:
            assert "a.sharded" in message
        if calls <= k:
            break
        sharded.sweep(path) if path.exists() else None
        if path.exists():
            save(path, 1)
            assert len(os.listdir(path)) == 3
            if not existing:
                sharded.delete(path)
    else:
        pytest.fail("the save never ended")
    assert message == ""


def test_nothing_is_named_before_it_is_on_the_disk(tmp_path, monkeypatch):
    """The order that a loss of power asks for: every part and its name, the index, its name, deletions."""
    path = tmp_path / "a.sharded"
    save(path, 1)
    events: list[tuple[str, str]] = []
    names: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "unlink")}

    def kind(name: str) -> str:
        base = os.path.basename(name)
        return next((kind for kind in ("part-00000", "part-00001", "index") if kind in base), "folder")

    def opened(name, *arguments, **named):
        fd = real["open"](name, *arguments, **named)
        names[fd] = kind(os.fspath(name))
        return fd

    def log(call):
        def logged(target, *arguments, **named):
            what = names.get(target, "?") if isinstance(target, int) else kind(target)
            if call == "fsync" and stat.S_ISDIR(os.fstat(target).st_mode):
                what = "folder"
            if events[-1:] != [(call, what)]:
                events.append((call, what))
            return real[call](target, *arguments, **named)

        return logged

    monkeypatch.setattr(os, "open", opened)
    for call in ("write", "fsync", "replace", "unlink"):
        monkeypatch.setattr(os, call, log(call))
    save(path, 2)
    monkeypatch.undo()

    def last(call: str, what: str, before: int) -> int:
        return max(k for k, event in enumerate(events[:before]) if event == (call, what))

    published = events.index(("replace", "index"))
    for part in ("part-00000", "part-00001"):
        named = events.index(("replace", part))
        assert last("write", part, len(events)) < last("fsync", part, len(events)) < named
        assert ("fsync", "folder") in events[named:published]
    assert last("write", "index", len(events)) < last("fsync", "index", len(events)) < published
    deleted = events.index(("unlink", "part-00000"))
    assert ("fsync", "folder") in events[published:deleted]
    assert value_of(path) == 2


def test_an_index_that_is_there_in_spite_of_an_error_keeps_its_parts(tmp_path, monkeypatch):
    """Without hard links the old index cannot be put back where the folder cannot be synced: both saves' parts stay."""
    path = tmp_path / "a.sharded"
    save(path, 1)
    real = os.fsync
    published = []

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode) and published:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    def replace(source: str, target: str, real=os.replace) -> None:
        published.extend([target] if target.endswith(shard_index.INDEX_FILE) else [])
        real(source, target)

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    for name, call in (("fsync", fsync), ("replace", replace), ("link", link)):
        monkeypatch.setattr(os, name, call)
    with pytest.raises(CheckpointError, match="Input/output error"):
        save(path, 2)
    monkeypatch.undo()
    assert value_of(path) == 2
    assert len(os.listdir(path)) == 5


def test_full_disk(small_disk):
    path = small_disk / "a.sharded"
    save(path, 1)
    big = {"x": np.zeros(900_000, np.uint8)}
    for parts in (1, 2, 3):
        with pytest.raises(CheckpointError, match="disk is full"), sharded.begin(path, parts) as saving:
            [write_part(saving.ticket, part, share_out(big, part, parts)) for part in range(parts)]
        assert value_of(path) == 1
        assert len(os.listdir(path)) == 3


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 0.5 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
