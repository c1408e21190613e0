"""The neon-optim command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; what the console script calls."""
    from neon_optim.cli.app import cli

    cli(prog_name="neon-optim")
