"""The means to start a run, in this process or in its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from runs import CONFIG, ROOT

from neon_optim import cleanup_backend
from neon_optim.cli.app import cli


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder with the config in ``model.yaml``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(CONFIG)
    yield tmp_path
    cleanup_backend()


@pytest.fixture
def run(here):
    """Run a command in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture
def start(here):
    """Start a command in a process of its own."""

    def call(*arguments, **options):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        command = [sys.executable, "-m", "neon_optim", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=here,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return call
