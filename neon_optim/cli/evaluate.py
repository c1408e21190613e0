"""`neon-optim evaluate`: how good a trained model is on data that it may not have seen."""

from __future__ import annotations

import json

import click

from neon_optim.cli.options import imports, which_checkpoint

__all__ = ["evaluate"]


@click.command()
@click.argument("run", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@imports
@which_checkpoint
def evaluate(run: str, data: str, as_json: bool, which: str, step: int | None) -> None:
    """Measure the model that RUN, the folder of a run or a checkpoint, has trained, on DATA, which has the targets too.

    For classes the share of wrong predictions, for numbers the root of the mean squared error and the mean absolute
    error in their own units; for both the cost that the model was trained with.
    """
    from neon_optim.runs import load_run

    loaded = load_run(run, which if step is None else step)
    found = loaded.evaluate(data)
    if as_json:
        click.echo(json.dumps({"checkpoint": loaded.path, **found}))
        return
    click.echo(f"{loaded.path} (epoch {loaded.epoch}, step {loaded.step}) on {data}")
    for name, value in found.items():
        if name == "samples":
            text = f"{int(value):,}"
        else:
            text = f"{100 * value:.2f} %" if name == "error" else f"{value:.6g}"
        click.echo(f"  {name.replace('_', ' '):<24} {text}")
