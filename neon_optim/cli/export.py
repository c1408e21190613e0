"""`neon-optim export`: a trained model as a file of another program."""

from __future__ import annotations

import click

from neon_optim.cli.options import imports, which_checkpoint
from neon_optim.cli.output import say

__all__ = ["export"]


@click.command()
@click.argument("run", type=click.Path())
@click.argument("output", metavar="FILE", type=click.Path())
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@imports
@which_checkpoint
def export(run: str, output: str, force: bool, which: str, step: int | None) -> None:
    """Write the model that RUN, the folder of a run or a checkpoint, has trained, to FILE, whose ending says how.

    \b
    .onnx         the model with all that is done before and after it: the columns of a table go in as they are, and
                  the names of classes come out
    .safetensors  for PyTorch: the state_dict of the torch.nn.Sequential that is printed
    .npz          the weights by the names of the layers, for NumPy

    The weights are those that were validated (of an average, where the optimizer keeps one).
    """
    from neon_optim.export.files import check_export, export_run
    from neon_optim.runs import load_run

    check_export(output, force)
    loaded = load_run(run, which if step is None else step)
    export_run(loaded, output, overwrite=force)
    say(f"{output}: the model of {loaded.path} (epoch {loaded.epoch}, step {loaded.step})")
    if output.lower().endswith(".safetensors"):
        from neon_optim.export.torch_layers import TorchModules

        say(TorchModules(loaded.model.layers).text)
