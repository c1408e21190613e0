"""`neon-optim lr-find`: a range test, which tells the rates that a model learns with."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from neon_optim.cli.chart import chart
from neon_optim.cli.options import config_changes, imports
from neon_optim.cli.output import columns
from neon_optim.cli.preparation import Preparation, read_config
from neon_optim.errors import RunError

__all__ = ["lr_find"]

_WIDTH = 80


@click.command("lr-find")
@click.argument("files", nargs=-1, required=True, metavar="CONFIG...", type=click.Path())
@click.option("--from", "lowest", type=float, default=1e-7, show_default=True, help="The first rate.")
@click.option("--to", "highest", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option(
    "--steps", type=click.IntRange(min=10), default=200, show_default=True, help="Minibatches at most."
)
@config_changes
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@imports
def lr_find(
    files: tuple[str, ...], lowest: float, highest: float, steps: int, changes: tuple[str, ...], as_json: bool
) -> None:
    """Train the model of CONFIG for a few minibatches with a rate that grows from each to the next, and tell with which
    rates the cost falls. It ends where the cost has become four times its smallest. Nothing is written.

    Schedules are left out; rates of several optimizers keep their ratios, and those of the first are shown.
    """
    from neon_optim.model.range_test import range_test

    if not 0 < lowest < highest:
        raise RunError(f"--from and --to: 0 < from < to is needed, received {lowest:g} and {highest:g}")
    parts = Preparation(read_config(files, changes))
    parts.bring_together()
    parts.set_backend()
    parts.raise_if_any()
    settings = parts.config.settings
    found = range_test(parts.model, parts.train, settings.cost, settings.optimizer, lowest, highest, steps)
    if as_json:
        click.echo(json.dumps(found._asdict(), indent=2))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: Any) -> list[str]:
    width = min(columns(sys.stdout) or _WIDTH, _WIDTH)
    count = min(width - 18, 60, len(found.costs))
    values = [found.costs[round(k * (len(found.costs) - 1) / max(count - 1, 1))] for k in range(count)]
    plain = (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
    ends = (f"{found.rates[0]:.1e}", f"{found.rates[-1]:.1e}")
    told = ["cost, averaged over minibatches, by learning rate", *chart(values, ends, plain=plain)]
    if found.steepest is None:
        return [
            *told,
            "the cost does not fall with any of these rates: begin lower (--from), or look at the model",
        ]
    return [
        *told,
        f"falls fastest at   {found.steepest:.2g}",
        f"is smallest at     {found.smallest:.2g}",
        f"a rate to begin with: {found.suggested:.2g}",
    ]
