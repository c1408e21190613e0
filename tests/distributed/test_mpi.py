"""Real processes, started by mpiexec."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cases import ROWS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MPIEXEC = shutil.which(
    "mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)

pytestmark = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="no MPI: pip install 'neon_optim[mpi]'",
)

CONFIG = """\
engine: numpy
epochs: 2
batchsize: 64
rng_seed: 3
dataset: {name: digits}
checkpoint: {every_steps: 7, keep_last: 4}
distributed: {shards: 4}
layers:
- {type: Dropout, config: {keep: 0.9}}
- type: Affine
  config: {nout: 16, init: {type: Kaiming}, bias: {type: Constant}, activation: {type: Rectlin}}
- BatchNorm
- type: Affine
  config: {nout: 10, init: {type: GlorotUniform}, activation: {type: Softmax}}
cost: CrossEntropyMulti
optimizer: {type: EMA, config: {decay: 0.9, optimizer: {type: Adam, config: {gradient_clip_norm: 0.5}}}}
"""


def start(processes, *words, folder=HERE, launcher=(), **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    launched = [] if processes is None else [MPIEXEC, *launcher, "-n", str(processes)]
    return subprocess.Popen(
        [*launched, sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def run(processes, *words, folder=HERE, code=0, launcher=()):
    started = start(processes, *words, folder=folder, launcher=launcher)
    out, err = started.communicate(timeout=120)
    assert started.returncode == code, out + err
    return out, err


def train(processes, folder, *words, code=0):
    (folder / "config.yaml").write_text(CONFIG)
    return run(processes, "-m", "neon_optim", "train", "config.yaml", *words, folder=folder, code=code)


def log_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [line.partition(', "seconds"')[0] for line in lines]


def is_same(folder, one, other):
    out, _ = run(None, "-m", "neon_optim", "inspect", "--diff", one, other, folder=folder)
    return out == "no difference\n" and log_of(folder / one) == log_of(folder / other)


def test_processes_of_mpi_give_the_same_bits():
    out, _ = run(3, "on_mpi.py", "Adam", "Adafactor", "EMA")
    assert (out.count(" True"), out.count(" False")) == (3 * (2 + 3), 0), out


@pytest.mark.slow
def test_a_run_of_two_goes_on_with_one_and_three(tmp_path):
    train(None, tmp_path, "-s", "alone")
    out, err = train(2, tmp_path, "-s", "many", "-e", "1")
    assert out.count("2 processes; minibatches in 4 parts") == 1, "one talks"
    assert err == ""
    train(3, tmp_path, "-s", "many", "--resume")
    assert is_same(tmp_path, "alone", "many")


@pytest.mark.slow
def test_every_optimizer_on_mpi():
    names = [row.name for row in ROWS if row.name != "Muon"]  # it takes as long as all others
    out, _ = run(3, "on_mpi.py", *names)
    assert (out.count(" True"), out.count(" False")) == (len(names) * (2 + 3), 0), out


@pytest.mark.slow
def test_parameters_of_pytorch():
    pytest.importorskip("torch")
    out, _ = run(2, "on_mpi.py", "torch")
    (first,) = {line.split()[2] for line in out.splitlines()}
    assert len(out.splitlines()) == 2
    assert first


@pytest.mark.slow
def test_mistakes_are_told_once(tmp_path):
    _, err = train(2, tmp_path, "-s", "run", "--set", "epochs=0", "--set", "distributed.shards=1", code=2)
    assert err.count("Error") == 1
    assert "epochs must be an integer >= 1, received 0" in err
    _, err = train(2, tmp_path, "-s", "run", "--set", "distributed.shards=1", code=2)
    assert err == (
        "Error: 2 processes cannot share 1 part of a minibatch: start at most 1, or set shards to 2 or more\n"
    )


def test_a_process_by_itself_starts_no_mpi():
    code = (
        "import sys, numpy as np\nfrom neon_optim import gen_backend\nfrom neon_optim.distributed import Distributed\n"
        "from neon_optim.optimizers import SGD\ngen_backend('cpu')\nw = np.ones(3)\n"
        "Distributed(SGD(0.1)).optimize([((w, np.ones(3)), [])], 0)\nprint('mpi4py' in sys.modules)"
    )
    assert run(1, "-c", code)[0] == "False\n"
    assert run(None, "-c", code)[0] == "False\n"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_a_process_that_is_killed_is_named(tmp_path, processes):
    from kills import ranks_of

    (tmp_path / "config.yaml").write_text(CONFIG)
    started = start(
        processes, "-m", "neon_optim", "train", "config.yaml", "-s", "run", "-e", "2000", folder=tmp_path
    )
    while not list(tmp_path.glob("run/checkpoints/*/index*")):
        time.sleep(0.05)
        assert started.poll() is None
    victim = ranks_of(started)[-1]
    begin = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    _, err = started.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert started.returncode
    assert re.search(rf"Error: rank \d of {processes} on \S+ \(process {victim}\) has ended: killed", err), (
        err
    )


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path):
    """tests/distributed/kills.py does it as often as one likes."""
    out, _ = run(None, "kills.py", tmp_path, "3", "3", "40")
    assert int(out.split()[0]) >= 1, "a fast machine may be done before there were three"
    assert out.endswith("the same bits: True\n")
