"""Options that several commands have."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["config_changes", "which_checkpoint"]

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
