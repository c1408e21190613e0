"""``neon-optim doctor`` names what is missing and the command that mends it."""

from __future__ import annotations

import importlib.util
import os

import pytest
from click.testing import CliRunner

from neon_optim.cli import doctor as module
from neon_optim.cli.app import cli


@pytest.fixture
def lines():
    def run(**environment):
        done = CliRunner(env=environment).invoke(cli, ["doctor"])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    return run


def test_it_says_what_is_there(lines):
    output = lines()
    for name in ("Python", "NumPy", "BLAS", "processors", "Numba", "PyCUDA", "nvcc", "cache of kernels"):
        assert any(name in line for line in output), name
    assert all(line.startswith(("ok", "missing", " ")) for line in output)


def test_what_is_missing_is_followed_by_its_remedy(lines, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "numba" else found(name)
    )
    output = lines()
    (place,) = [k for k, line in enumerate(output) if line.startswith("missing") and "Numba" in line]
    assert 'pip install "neon_optim[fast]"' in output[place + 1]


def test_missing_nvcc(lines, tmp_path):
    output = lines(PATH=str(tmp_path))
    (place,) = [k for k, line in enumerate(output) if line.startswith("missing") and "nvcc" in line]
    assert "toolkit" in output[place + 1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written(lines, tmp_path):
    tmp_path.chmod(0o500)
    output = lines(NEON_OPTIM_CACHE=str(tmp_path / "cache"))
    assert any(line.startswith("missing") and "cannot be written" in line for line in output)


def test_a_cache_in_the_place_of_a_file(lines, tmp_path):
    (tmp_path / "file").write_text("")
    output = lines(NEON_OPTIM_CACHE=str(tmp_path / "file" / "cache"))
    assert any(line.startswith("missing") and "cannot be written" in line for line in output)


@pytest.mark.gpu
def test_devices_are_listed(lines):
    pytest.importorskip("pycuda")
    output = lines()
    assert any("CUDA driver" in line and line.startswith("ok") for line in output)
    assert any("device 0" in line and "compute capability" in line for line in output)
