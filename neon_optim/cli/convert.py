"""``neon-optim convert``: checkpoints of ours, of neon, and safetensors files of names and arrays."""

from __future__ import annotations

import click


@click.command()
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "--to",
    type=click.Choice(["checkpoint", "sharded", "neon", "torch"]),
    default="checkpoint",
    show_default=True,
    help="What TARGET becomes: a checkpoint in one file, or in the parts of a folder, a pickle that neon loads, or the "
    "parameters as a PyTorch state_dict.",
)
@click.option(
    "--parts", type=int, help="For sharded: into how many parts. Any number of processes can load them."
)
@click.option("--t", type=int, help="Steps that the optimizer has done, where neon's Adam did not save them.")
@click.option("--batches-per-epoch", type=int, help="Gives those steps: this number times the epochs.")
@click.option(
    "--saved-in-callback",
    is_flag=True,
    help="SOURCE was written by neon's callback, not by save_params after fit: its epoch is right as it stands.",
)
@click.option(
    "--weights",
    type=click.Choice(["evaluated", "raw"]),
    help="For torch, where an optimizer such as EMA has two kinds: those that were validated (the default), or those "
    "that were trained.",
)
@click.option("--force", is_flag=True, help="Replace TARGET if it exists.")
def convert(
    source: str,
    target: str,
    to: str,
    parts: int | None,
    t: int | None,
    batches_per_epoch: int | None,
    saved_in_callback: bool,
    weights: str | None,
    force: bool,
) -> None:
    """Write the checkpoint SOURCE to TARGET in another format.

    SOURCE is a checkpoint (a file, or the folder of a sharded one), a pickle of neon (no code in it is run), or a
    safetensors file of another program.
    """
    from neon_optim.serialization.conversion import convert_checkpoint

    path = convert_checkpoint(
        source,
        target,
        to=to,
        t=t,
        batches_per_epoch=batches_per_epoch,
        saved_after_fit=not saved_in_callback,
        overwrite=force,
        weights=weights,
        parts=parts,
    )
    click.echo(path)
