"""`neon-optim validate`: every mistake of every config, found without training."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from neon_optim.cli.options import imports
from neon_optim.cli.output import say, say_with_excerpts
from neon_optim.cli.preparation import Preparation, read_config
from neon_optim.errors import ConfigError, NeonOptimError, Position, Problem

if TYPE_CHECKING:
    from neon_optim.model.outline import DataOutline

__all__ = ["validate"]


@click.command(short_help="Check YAML files as train does, without training.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@imports
@click.option("--together", is_flag=True, help="Take the files as one config, as `train FILE...` does.")
@click.option("--config-only", is_flag=True, help="Check the files alone: read no data, set up no backend.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(files: tuple[str, ...], together: bool, config_only: bool, as_json: bool) -> None:
    """Check every YAML file FILE as `train` does before it starts, and tell all mistakes of all of them.

    Names, types and ranges; whether the layers go together with the data, the cost with the last activation, the
    optimizer with each parameter, the batch size with the samples; whether the backend can be set up and the
    parameters have room. Nothing is computed and nothing is written. Data that several files name is read once.

    Exit code: 0 where all files are right, 2 where one is not.
    """
    check = _Check(config_only)
    configs = [files] if together else [(file,) for file in dict.fromkeys(files)]
    found = {" ".join(config): check.problems(config) for config in configs}
    if as_json:
        click.echo(json.dumps([_as_json(file, problems) for file, problems in found.items()], indent=2))
    else:
        for file, problems in found.items():
            if not problems:
                say(f"{file}: ok")
            for problem in problems:
                say_with_excerpts("\n".join([str(problem), *problem.excerpt()]))
    faulty, mistakes = sum(map(bool, found.values())), sum(map(len, found.values()))
    if faulty:
        files_are = (
            "file is" if len(found) == 1 else f"of {len(found)} files {'is' if faulty == 1 else 'are'}"
        )
        raise NeonOptimError(
            f"{faulty} {files_are} faulty, with {mistakes} {'mistake' if mistakes == 1 else 'mistakes'}"
        )


class _Check:
    """Checks configs one by one, and remembers what it had to find out for that."""

    def __init__(self, config_only: bool) -> None:
        self._config_only = config_only
        self._data: dict[str, DataOutline] = {}

    def problems(self, files: tuple[str, ...]) -> list[Problem]:
        """Everything that is wrong with a config, of one file or of several."""
        try:
            config = read_config(files)
            if self._config_only:
                return []
            parts = Preparation(config, self._data)
            parts.bring_together()
            self._look_for_room(parts)
            parts.try_backend()
            return parts.problems
        except ConfigError as error:
            return error.problems or [Problem.at(Position(files[0]), str(error))]

    def _look_for_room(self, parts: Preparation) -> None:
        outline = parts.outline()
        if outline is not None and parts.config.settings.backend in ("cpu", "mkl"):
            parts.refuse_beyond(outline, _bytes_of_machine())


def _bytes_of_machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _as_json(file: str, problems: list[Problem]) -> dict[str, Any]:
    return {
        "file": file,
        "ok": not problems,
        "problems": [
            {
                "source": problem.place.source if problem.place else file,
                "line": problem.place.line if problem.place else None,
                "column": problem.place.column if problem.place else None,
                "path": problem.argument,
                "message": problem.message,
            }
            for problem in problems
        ],
    }
