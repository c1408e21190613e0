"""A run across two network namespaces with host names of their own: what is between them is a network."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import test_mpi
from kills import ranks_of
from test_mpi import CONFIG, MPIEXEC, is_same, run, start, train

pytestmark = [test_mpi.pytestmark, pytest.mark.slow]

REMOTE = """\
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
node={prefix}${1##*.}; shift
exec ip netns exec "$node" unshare --uts sh -c "hostname $node; exec $*"
"""
"""In the place of ssh."""


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def launcher(tmp_path):
    """Options of mpiexec for two hosts, which there are for the time of a test."""
    if os.geteuid() or not (shutil.which("ip") and shutil.which("unshare")) or "hydra" not in _kind():
        pytest.skip("needs root, ip, unshare and MPICH")
    prefix, bridge, net = f"no{os.getpid()}-", f"no{os.getpid()}", f"10.{os.getpid() % 200 + 20}.77"
    hosts = (2, 3)
    try:
        ip("link", "add", bridge, "type", "bridge")
    except subprocess.CalledProcessError:
        pytest.skip("no network namespaces here")
    try:
        ip("addr", "add", f"{net}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for k in hosts:
            node, inner = f"{prefix}{k}", ["netns", "exec", f"{prefix}{k}", "ip"]
            ip("netns", "add", node)
            ip("link", "add", f"v{os.getpid()}-{k}", "type", "veth", "peer", "name", "e0", "netns", node)
            ip("link", "set", f"v{os.getpid()}-{k}", "master", bridge, "up")
            ip(*inner, "addr", "add", f"{net}.{k}/24", "dev", "e0")
            ip(*inner, "link", "set", "e0", "up")
            ip(*inner, "link", "set", "lo", "up")
        remote = tmp_path / "remote"
        remote.write_text(REMOTE.replace("{prefix}", prefix))
        remote.chmod(0o755)
        names = ",".join(f"{net}.{k}" for k in hosts)
        yield [
            "-launcher",
            "ssh",
            "-launcher-exec",
            remote,
            "-localhost",
            f"{net}.1",
            "-hosts",
            names,
            "-ppn",
            "2",
        ]
    finally:
        for k in hosts:
            subprocess.run(["ip", "netns", "del", f"{prefix}{k}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


def _kind():
    return subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, check=False).stdout.lower()


def test_two_hosts(tmp_path, launcher):
    """The same bits as on one; and who is killed is named with its host."""
    words = ["-m", "neon_optim", "train", "config.yaml", "-s"]
    train(None, tmp_path, "-s", "alone")
    run(3, *words, "many", folder=tmp_path, launcher=launcher)
    assert is_same(tmp_path, "alone", "many")
    started = start(3, *words, "killed", "-e", "2000", folder=tmp_path, launcher=launcher)
    while not list(tmp_path.glob("killed/checkpoints/*/index*")):
        time.sleep(0.05)
        assert started.poll() is None
    (tmp_path / "config.yaml").write_text(CONFIG)
    victim = ranks_of(started)[-1]
    os.kill(victim, signal.SIGKILL)
    _, err = started.communicate(timeout=60)
    assert started.returncode
    assert re.search(rf"Error: rank \d of 3 on no\d+-\d \(process {victim}\) has ended: killed", err), err
