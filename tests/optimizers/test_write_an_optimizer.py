"""docs/write-an-optimizer.md: its code runs, and works from a distribution of its own."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "write-an-optimizer.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(PROJECT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)

USE = """
import io, json, sys
import numpy as np
from neon_optim import gen_backend
from neon_optim.described.build import from_description
from neon_optim.described.registry import available

assert "tiny_optim" not in sys.modules
assert "SignMomentum" in available("optimizer")
gen_backend("cpu")
optimizer = from_description({"type": "SignMomentum", "config": {"learning_rate": 0.5}}, "optimizer")
w, dw = np.ones(3), np.array([1.0, -2.0, 0.0])
optimizer.optimize([((w, dw), [])], 0)
assert w.tolist() == [0.5, 1.5, 1.0], w
again = from_description(json.loads(json.dumps(optimizer.get_description())))
assert type(again) is type(optimizer) and again.learning_rate == 0.5
"""


def test_the_page_shows_a_complete_optimizer_that_runs(tmp_path, capsys):
    module = tmp_path / "page.py"
    module.write_text("\n".join(PYTHON), encoding="utf-8")
    names = runpy.run_path(str(module))
    (expected,) = re.findall(r"print\(w.round\(3\)\)  # (.*)", PAGE)
    assert capsys.readouterr().out.strip() == expected
    assert len(PYTHON[0].strip().splitlines()) <= 20
    with pytest.raises(ValueError, match=r"beta must be a number in \[0, 1\).*received 2"):
        names["SignMomentum"](beta=2)


def use_from(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_installed_distribution_is_found_by_name(tmp_path):
    """What an installer leaves behind: the module and its metadata."""
    (tmp_path / "tiny_optim.py").write_text(PYTHON[0], encoding="utf-8")
    metadata = tmp_path / "tiny_optim-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-optim\nVersion: 1.0\n")
    ((group, name, value),) = re.findall(r'entry-points\."(.*)"\]\n(\w+) = "(.*)"', PROJECT)
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    use_from(tmp_path)


@pytest.mark.slow
def test_pip_installs_it(tmp_path):
    pytest.importorskip("setuptools", reason="pip builds the distribution with it")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "tiny_optim.py").write_text(PYTHON[0], encoding="utf-8")
    (source / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    use_from(target)
