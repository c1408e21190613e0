"""The command in a shell: completion, and how long it takes to answer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner
from runs import ROOT

from neon_optim.cli.app import COMMANDS, cli


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("neon-optim val", "plain,validate"),
        ("neon-optim train --init", "plain,--init-from"),
        ("neon-optim train mod", "file,mod"),
        ("neon-optim predict ru", "file,ru"),
        ("neon-optim predict a b -o out", "file,out"),
    ],
)
def test_what_bash_completes(words, found):
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = CliRunner().invoke(
        cli, [], prog_name="neon-optim", env={"_NEON_OPTIM_COMPLETE": "bash_complete", **environment}
    )
    assert done.exit_code == 0
    assert found in done.output.splitlines()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_have_their_functions(shell):
    environment = {"_NEON_OPTIM_COMPLETE": f"{shell}_source"}
    done = CliRunner().invoke(cli, [], prog_name="neon-optim", env=environment)
    assert f"_NEON_OPTIM_COMPLETE={shell}_complete" in done.output


def seconds_of(arguments, folder):
    """Processor time of a command, which other work on the machine does not change much."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "neon_optim", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_every_command_takes_less_than_three_tenths_of_a_second(command, tmp_path):
    assert min(seconds_of([command, "--help"], tmp_path) for _ in range(3)) <= 0.3


@pytest.mark.slow
def test_a_hundred_files_are_validated_in_two_seconds(tmp_path):
    for number in range(50):
        for name in ("digits_mlp", "digits_lenet"):
            text = (ROOT / f"configs/{name}.yaml").read_text()
            (tmp_path / f"{name}_{number}.yaml").write_text(text)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 100
    assert min(seconds_of(["validate", *files], tmp_path) for _ in range(2)) <= 2.0
