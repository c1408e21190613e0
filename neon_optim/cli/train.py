"""`neon-optim train`."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from pathlib import Path

import click

from neon_optim.cli.options import config_changes, imported_modules, imports
from neon_optim.cli.output import columns, say
from neon_optim.cli.preparation import OPTIONS
from neon_optim.cli.processes import all_processes, as_one
from neon_optim.cli.run_folder import RunFolder
from neon_optim.cli.training_run import TrainingRun
from neon_optim.errors import RunError

__all__ = ["train"]


@click.command(short_help="Train a model that a YAML file defines.")
@click.argument("files", nargs=-1, required=True, metavar="CONFIG...", type=click.Path())
@click.option("-e", "--epochs", metavar="N", help="Passes over the training data, in all.")
@click.option("-b", "--backend", metavar="NAME", help="Where to compute: cpu, gpu, or a plug-in's name.")
@click.option("-z", "--batch_size", metavar="N", help="Samples in a minibatch.")
@click.option("-r", "--rng_seed", metavar="N", help="Seed of initial values, shuffling and dropout.")
@click.option(
    "-s",
    "--save_path",
    metavar="DIR",
    type=click.Path(),
    help="Folder of the run; default: runs/<config>-<number>.",
)
@click.option(
    "--resume", is_flag=True, help="Continue the run in the folder, exactly; without one, start it."
)
@config_changes
@click.option(
    "--change",
    "changed",
    multiple=True,
    metavar="A.B.C=VALUE",
    help="With --resume: go on with another value; the run keeps a record of it. May be repeated.",
)
@click.option(
    "--init-from",
    metavar="RUN",
    type=click.Path(),
    help="Begin with the weights of a checkpoint, or of the best one of a run, where there is nothing to resume.",
)
@click.option("--init-with-state", is_flag=True, help="… and with the state of its optimizer.")
@click.option("--init-partly", is_flag=True, help="… or with those that fit by name and shape.")
@imports
def train(
    files: tuple[str, ...],
    epochs: str | None,
    backend: str | None,
    batch_size: str | None,
    rng_seed: str | None,
    save_path: str | None,
    resume: bool,
    changes: tuple[str, ...],
    changed: tuple[str, ...],
    init_from: str | None,
    init_with_state: bool,
    init_partly: bool,
) -> None:
    """Train the model that the YAML file CONFIG defines; of several, each is laid over those before it.

    The run's folder gets config.yaml (all settings), metrics.jsonl, checkpoints/ and, where matplotlib is installed,
    training.png. Without -s it is runs/<config>-1, -2, …; --resume takes the last of these.

    Ctrl-C, SIGTERM or SIGHUP saves a checkpoint after the present minibatch and ends with exit code 1. With --resume
    a run continues from its newest checkpoint and ends with the bits of one that was never stopped; one that is
    finished ends at once with exit code 0.

    `mpiexec -n 4 neon-optim train …` is one run on four processes; docs/distributed.md.
    """
    flags = {"-e": epochs, "-b": backend, "-z": batch_size, "-r": rng_seed}
    given = [(flag, value) for flag, value in flags.items() if value is not None]
    overrides = [*changes, *(f"{OPTIONS[flag]}={value}" for flag, value in given)]
    config = files[0]
    for file in files:
        if os.path.isdir(file):
            raise RunError(_about_folder(Path(file)))
    if changed and not resume:
        raise RunError("--change is for a run that goes on: add --resume, or take --set for a new run")
    if (init_with_state or init_partly) and init_from is None:
        raise RunError("--init-with-state and --init-partly say how --init-from begins, which is missing")
    init = None if init_from is None else (init_from, init_with_state, init_partly)
    repeated = [
        *(("--import", name) for name in imported_modules()),
        *(("--set", change) for change in changes),
        *given,
        *(("--change", change) for change in changed),
    ]
    comm = all_processes()
    with as_one(comm):
        if save_path:
            folder = RunFolder(save_path)
        else:
            folder = RunFolder.last(config) if resume else RunFolder.numbered(config)
        run = TrainingRun(comm, files, overrides, folder, resume, changed, init)
        if run.start():
            return
    launched = ["mpiexec", "-n", str(comm.size)] if comm.size > 1 else []
    repeated.append(("-s", str(folder.path)))
    say(f"Stopped {run.position()}; a checkpoint is saved.\nContinue with:", err=True)
    say(
        _command([*launched, "neon-optim", "train", *files, *itertools.chain(*repeated), "--resume"]),
        err=True,
    )
    raise SystemExit(1)


def _about_folder(folder: Path) -> str:
    """What is wrong with a folder in the place of a config, and what was probably meant."""
    text = f"{str(folder)!r} is a folder; a config is a YAML file"
    run = RunFolder(folder)
    if run.config.is_file():
        again = shlex.join(["neon-optim", "train", str(run.config)])
        there = shlex.join(["-s", str(folder), "--resume"])
        return f"{text}. It holds a run:\n  to continue it: {again} {there}\n  to repeat it in a new folder: {again}"
    try:
        files = sorted(str(path) for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError:
        files = []
    if not files:
        return f"{text}, and there is none in it"
    return f"{text}; in it: {', '.join(files[:5])}{', …' if len(files) > 5 else ''}"


def _command(words: list[str]) -> str:
    """A command to copy, on several lines where the terminal is too narrow for one."""
    width = columns(sys.stderr)
    lines = [" "]
    for word in map(shlex.quote, words):
        if width is not None and lines[-1].strip() and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n".join(lines)
