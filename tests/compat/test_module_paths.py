"""`import neon` is this package, module by module, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(code, *arguments, folder=None):
    """In a process of its own: whether a name is taken is a fact of the process."""
    path = os.pathsep.join([*([str(folder)] if folder else []), os.getcwd()])
    return subprocess.run(
        [sys.executable, *arguments, *(["-c", code] if code else [])],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_module_by_neons_path_is_ours_itself():
    done = run(
        "from neon_optim.compat import install_as_neon; install_as_neon(); install_as_neon()\n"
        "import neon, neon.optimizers, neon_optim.compat.neon.optimizers as ours, neon_optim\n"
        "print(neon.optimizers is ours, neon.NervanaObject is neon_optim.NervanaObject, ours.__spec__.name)\n"
        "neon.logger.display('shown')"
    )
    assert done.stdout.strip() == "True True neon_optim.compat.neon.optimizers", done.stderr
    assert done.stderr.strip() == "shown"


def test_what_neon_has_not_is_not_found():
    done = run("from neon_optim.compat import install_as_neon; install_as_neon(); import neon.nothing")
    assert "No module named 'neon.nothing'" in done.stderr


@pytest.mark.parametrize("first", ["", "import neon; "])
def test_another_neon_is_not_hidden(tmp_path, first):
    (tmp_path / "neon").mkdir()
    (tmp_path / "neon" / "__init__.py").write_text("")
    done = run(f"{first}from neon_optim.compat import install_as_neon; install_as_neon()", folder=tmp_path)
    assert "another package is installed as 'neon'" in done.stderr
    assert str(tmp_path / "neon") in done.stderr


def test_a_script_runs_as_it_is(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside\nfrom neon.optimizers import Adam\n"
        "if __name__ == '__main__': print(sys.argv[1:], Adam.__name__, beside.x)"
    )
    (tmp_path / "beside.py").write_text("x = 1")
    done = run(None, "-m", "neon_optim.compat", str(script), "-b", "cpu")
    assert done.stdout.strip() == "['-b', 'cpu'] Adam 1", done.stderr


@pytest.mark.parametrize("arguments", [[], ["-b", "cpu"], ["nowhere.py"]])
def test_there_is_no_script(arguments):
    done = run(None, "-m", "neon_optim.compat", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "usage" in done.stderr or "there is no script" in done.stderr
