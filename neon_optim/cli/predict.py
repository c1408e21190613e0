"""`neon-optim predict`: what a trained model says of data."""

from __future__ import annotations

import io

import click

from neon_optim.cli.options import imports, which_checkpoint
from neon_optim.cli.output import say

__all__ = ["predict"]


@click.command()
@click.argument("run", type=click.Path())
@click.argument("data", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="A new file: .csv, .parquet or .npz; default: CSV on the output.",
)
@imports
@which_checkpoint
def predict(run: str, data: str, output: str | None, which: str, step: int | None) -> None:
    """Predict with the model that RUN, the folder of a run or a checkpoint, has trained, for all samples of DATA.

    DATA is of the kind that the model was trained on: a table (.csv, .parquet) with the same columns, an archive of
    arrays (.npz, .npy), an image or a folder of images. What was learned of the training data, such as means and
    categories, is applied to it.

    The columns are `prediction` and, for classes, `probability_<class>`.
    """
    from neon_optim.data.answers import check_output, write_answers
    from neon_optim.runs import load_run

    if output is not None:
        check_output(output)
    answers = load_run(run, which if step is None else step).answers(data)
    if output is None:
        text = io.BytesIO()
        write_answers(answers, text)
        click.echo(text.getvalue(), nl=False)
    else:
        write_answers(answers, output)
        say(f"{len(next(iter(answers.values()))):,} predictions in {output}")
