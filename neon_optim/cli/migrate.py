"""``neon-optim migrate``: what becomes of a script, a config or a pickle of neon's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from neon_optim.cli.output import say

if TYPE_CHECKING:
    from neon_optim.compat.migrate import MigrationNote

_SIGNS = {"here": " ", "differs": "~", "absent": "-", "note": " "}


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "-o", "--output", type=click.Path(), help="Write the modern config of what FILE describes to this file."
)
def migrate(file: str, output: str | None) -> None:
    """Say what of FILE, a script, a YAML config or a pickle of Intel's neon, works here, and what takes its place.

    A line begins with ~ where something is different here, and with - where there is none. No code of FILE is run.
    """
    from neon_optim.compat.migrate import examine
    from neon_optim.serialization import dump_config

    report = examine(file)
    for finding in report.findings:
        say(_line(finding), indent="      ")
    if report.absent:
        say(f"\n{len(report.absent)} of {len(report.findings)} are not here.")
    if report.commands:
        say("\nAs it is:")
        for command in report.commands:
            say(f"  {command}")
    if report.config is None:
        if output is not None:
            raise click.UsageError(f"-o: {file} describes no model that a config can hold")
        return
    if output is None:
        say("\nAs a config:\n")
        click.echo(dump_config(report.config), nl=False)
    else:
        dump_config(report.config, output)
        say(f"\nThe config is in {output}:\n  neon-optim train {output}")


def _line(finding: MigrationNote) -> str:
    where = f"{finding.line}: " if finding.line else ""
    text = f"{_SIGNS[finding.status]} {where}{finding.what}"
    if finding.modern and finding.modern != finding.what:
        text += f" → {finding.modern}"
    return f"{text}: {finding.note}" if finding.note else text
