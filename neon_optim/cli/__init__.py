"""The neon-optim command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; what the console script calls."""
    from neon_optim.cli.app import cli
    from neon_optim.cli.output import open_closed_streams

    open_closed_streams()
    cli(prog_name="neon-optim")
