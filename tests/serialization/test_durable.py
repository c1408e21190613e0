"""A file appears whole or not at all: every failing system call, every leftover, modes and links."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import subprocess
import sys

import pytest

from neon_optim.errors import CheckpointError
from neon_optim.serialization import durable
from neon_optim.serialization.durable import remove_leftovers, replacing

OLD, NEW = b"the old state" * 100, b"the new one" * 200
FAILURES = [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EACCES]


def save(path: pathlib.Path | str, data: bytes = NEW) -> None:
    with replacing(path) as file:
        for start in range(0, len(data), 500):
            file.write(data[start : start + 500])


class FailingCall:
    """The ``nth`` call of ``os.<name>`` fails (or writes one byte only); ``calls`` counts them all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, nth: int, failure: int | str) -> None:
        self.calls, self.real = 0, getattr(os, name)
        self.nth, self.failure = nth, failure
        monkeypatch.setattr(durable.os, name, self)

    def __call__(self, *arguments: object, **named: object) -> object:
        self.calls += 1
        if self.calls - 1 != self.nth:
            return self.real(*arguments, **named)
        if self.failure == "short":
            fd, data = arguments
            return self.real(fd, data[:1])  # type: ignore[index]
        raise OSError(self.failure, os.strerror(int(self.failure)))


CASES = [
    (name, failure)
    for name in ("open", "write", "fsync", "replace", "fchmod", "lseek")
    for failure in FAILURES
]


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize(("name", "failure"), [*CASES, ("write", "short")])
def test_kth_failing_call(tmp_path, monkeypatch, name, failure, existing):
    target = tmp_path / "state.bin"
    for k in range(100):
        target.unlink(missing_ok=True)
        if existing:
            target.write_bytes(OLD)
        with monkeypatch.context() as patch:
            call = FailingCall(patch, name, k, failure)
            message = ""
            try:
                save(target)
            except CheckpointError as error:
                message = str(error)
        saved = not message
        if saved:
            assert target.read_bytes() == NEW
        else:
            assert failure not in (errno.EINTR, "short"), "an interrupted or short call is continued"
            assert repr(str(target)) in message
            assert os.strerror(failure) in message
            assert (target.read_bytes() == OLD) if existing else not target.exists()
        assert os.listdir(tmp_path) == (["state.bin"] if saved or existing else [])
        if call.calls <= k:
            assert saved
            break
    else:
        pytest.fail("the save never ended")
    never_called = name == "lseek" or (name == "fchmod" and not existing)
    assert never_called == (call.calls == 0)


def test_endless_interrupts_end_in_an_error(tmp_path, monkeypatch):
    def interrupted(*_: object) -> int:
        raise InterruptedError(errno.EINTR, "interrupted")

    monkeypatch.setattr(durable.os, "write", interrupted)
    with pytest.raises(CheckpointError, match=r"state\.bin"):
        save(tmp_path / "state.bin")
    assert os.listdir(tmp_path) == []


def test_error_in_the_block_keeps_the_old_file(tmp_path):
    target = tmp_path / "state.bin"
    target.write_bytes(OLD)

    def interrupted() -> None:
        with replacing(target) as file:
            file.write(NEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["state.bin"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0])
def test_new_file_has_the_mode_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        save(tmp_path / "state.bin")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.bin").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_mode_of_an_existing_file_is_kept(tmp_path, mode):
    target = tmp_path / "state.bin"
    target.write_bytes(OLD)
    target.chmod(mode)
    save(target)
    assert target.read_bytes() == NEW
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_symbolic_links_are_followed_and_stay(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "folder").symlink_to(real, target_is_directory=True)
    (tmp_path / "link.bin").symlink_to(real / "state.bin")  # dangling at first
    save(tmp_path / "link.bin", OLD)
    save(tmp_path / "folder" / "state.bin", NEW)
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "link.bin").read_bytes() == (real / "state.bin").read_bytes() == NEW
    assert os.listdir(real) == ["state.bin"]


@pytest.mark.parametrize(
    "name", ["missing/state.bin", "", "folder", "pipe", "loop", "nul\0l", "n" * 250, "file/x"]
)
def test_refused_targets(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError, match="cannot save"):
        save(os.path.join(tmp_path, name))
    assert sorted(os.listdir(tmp_path)) == before


def test_leftovers_of_the_dead_go_and_files_of_the_living_stay(tmp_path):
    dead = [f".state.bin.{'0' * 16}.tmp", f".state.bin.{'1' * 16}.old"]
    others = [f".other.bin.{'2' * 16}.tmp", ".state.bin.tmp", "state.bin.tmp", f".state.bin.{'g' * 16}.tmp"]
    for name in dead + others:
        (tmp_path / name).write_bytes(b"half")
    with replacing(tmp_path / "state.bin") as file:
        file.write(NEW[:10])
        alive = set(os.listdir(tmp_path)) - set(others)
        assert len(alive) == 1, "the dead ones are gone when the next save begins"
        assert remove_leftovers(tmp_path, "state.bin") == []
        file.write(NEW[10:])
    assert (tmp_path / "state.bin").read_bytes() == NEW
    assert remove_leftovers(tmp_path) == [others[0]]
    assert sorted(os.listdir(tmp_path)) == sorted([*others[1:], "state.bin"])


def test_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "state.bin"
    target.write_bytes(OLD)
    script = (
        "import os, signal, sys\n"
        "from neon_optim.serialization.durable import replacing\n"
        "with replacing(sys.argv[1]) as file:\n"
        "    file.write(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)], check=False)
    assert done.returncode == -9
    assert target.read_bytes() == OLD
    assert len(os.listdir(tmp_path)) == 2
    save(target)
    assert target.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["state.bin"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CheckpointError, match="permission"):
            save(tmp_path / "state.bin")
    finally:
        tmp_path.chmod(0o755)


def test_folder_without_fsync_and_without_hard_links(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no fsync for folders here")
        real(fd)

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(durable.os, "fsync", fsync)
    monkeypatch.setattr(durable.os, "link", link)
    for data in (OLD, NEW):
        save(tmp_path / "state.bin", data)
        assert (tmp_path / "state.bin").read_bytes() == data
