"""`neon-optim init`: a config to begin with."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["init"]


@click.command()
@click.argument("data", type=click.Path())
@click.option("--target", metavar="COLUMN", help="The column of a table that is to be predicted.")
@click.option(
    "--task",
    type=click.Choice(["auto", "classification", "regression"]),
    default="auto",
    help="What the target is; default: found out from its values.",
)
def init(data: str, target: str | None, task: Any) -> None:
    """Look at DATA and print a config that trains on it.

    DATA is a table (.csv, .parquet), a file of arrays (.npz with X and y, .h5 with input and output), or a folder
    with a folder of images for each class:

      neon-optim init iris.csv --target species > iris.yaml && neon-optim train iris.yaml
    """
    from neon_optim.data.starting_config import starting_config

    click.echo(starting_config(data, target, task).rstrip("\n"))
