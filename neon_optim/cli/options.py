"""Options that several commands have."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from neon_optim.errors import RunError

__all__ = ["config_changes", "imported_modules", "imports", "which_checkpoint"]

_IMPORTED = f"{__name__}.imported"


def _import(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Import modules that the command line names, from the current folder too.

    Raises:
        RunError: one cannot be imported; it says why, and where.
    """
    for name in names:
        folder, stem = os.path.split(name)
        is_file = stem.endswith(".py")
        place = os.path.abspath(folder if is_file else "")
        if place not in sys.path:
            sys.path.insert(0, place)
        try:
            importlib.import_module(stem.removesuffix(".py") if is_file else name)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if last.filename.startswith("<frozen") else f" ({last.filename}:{last.lineno})"
            raise RunError(f"--import {name}: {type(error).__name__}: {error}{where}") from error
    context.meta[_IMPORTED] = names
    return names


def imported_modules() -> tuple[str, ...]:
    """What the command line of the command that runs names under ``--import``."""
    context = click.get_current_context(silent=True)
    return () if context is None else context.meta.get(_IMPORTED, ())


imports = click.option(
    "--import",
    multiple=True,
    metavar="MODULE",
    is_eager=True,
    expose_value=False,
    callback=_import,
    help="Import a Python module, or a file of one, whose layers, datasets, optimizers … can then be named; may be "
    "repeated.",
)
"""``--import``: done before the command, which learns of it by :func:`imported_modules`."""

config_changes = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="A.B.C=VALUE",
    help="Change the config, e.g. --set optimizer.config.learning_rate=0.01; may be repeated.",
)
"""``--set``, as ``changes``."""


def which_checkpoint(command: Any) -> Any:
    """``--best``, ``--last`` and ``--step N``, which choose a checkpoint of a run, as ``which`` and ``step``."""
    for option in (
        click.option("--step", type=int, metavar="N", help="Take the checkpoint of step N."),
        click.option("--last", "which", flag_value="last", help="Take the newest checkpoint."),
        click.option(
            "--best", "which", flag_value="best", default=True, help="Take the best by validation (default)."
        ),
    ):
        command = option(command)
    return command
