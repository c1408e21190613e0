"""`neon-optim schema`: a JSON Schema of configs."""

from __future__ import annotations

import json

import click

from neon_optim.cli.options import imports

__all__ = ["schema"]


@click.command(short_help="Print a JSON Schema of configs, for editors.")
@imports
def schema() -> None:
    """Print a JSON Schema (draft 2020-12) of what `train` takes, with the plug-ins that are installed here.

    An editor with the YAML language server completes, explains and underlines by it:

    \b
      neon-optim schema > neon-optim.schema.json

    and as the first line of a config

    \b
      # yaml-language-server: $schema=neon-optim.schema.json
    """
    from neon_optim.serialization.config.schema import config_schema

    click.echo(json.dumps(config_schema(), indent=1, allow_nan=False))
