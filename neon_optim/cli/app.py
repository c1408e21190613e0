"""The table of commands; each is imported when it is run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from typing import Any

import click

from neon_optim.cli.output import discard, say, say_with_excerpts
from neon_optim.errors import CheckpointWarning, ConfigWarning, DataWarning, NeonOptimError
from neon_optim.version import __version__

__all__ = ["UserError", "cli"]

#: Command → what it does. Each is the click command of its name in the module of its name beside this one.
COMMANDS = {
    "init": "Write a config that trains on a data file.",
    "validate": "Check YAML files as train does, without training.",
    "show": "Show what a YAML file comes to: settings, layers, optimizers, memory.",
    "schema": "Print a JSON Schema of configs, for editors.",
    "train": "Train a model that a YAML file defines.",
    "predict": "Predict with a trained model.",
    "evaluate": "Measure a trained model on other data.",
    "export": "Write a trained model for ONNX or PyTorch.",
    "compare": "Compare runs: how good they are, and what differs.",
    "lr-find": "Look for a learning rate.",
    "inspect": "Show what is in a checkpoint.",
    "convert": "Turn a checkpoint of neon's into one of ours.",
    "migrate": "Say what becomes of a file of neon's.",
    "doctor": "Check what this machine can do.",
}


class UserError(click.ClickException):
    """What the user can put right: one message on standard error, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Write the message."""
        say_with_excerpts(f"Error: {self.message}", err=True)


class CommandTable(click.Group):
    """Knows every command by its line in the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands that there are."""
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(_module(cmd_name))
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help text, without importing what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line. Output that cannot be written is one message and exit code 1."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            if not _came_from_echo(error):
                raise
            discard(sys.stdout)
            say(f"Error: standard output cannot be written: {error.strerror or error}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. What it refuses becomes one message and exit code 2, anything unforeseen a traceback."""
        try:
            with warnings.catch_warnings():
                for category in (CheckpointWarning, ConfigWarning, DataWarning):
                    warnings.simplefilter("always", category)
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except NeonOptimError as error:
            raise UserError(str(error)) from error
        except MemoryError as error:
            raise UserError(
                f"not enough memory: {str(error) or 'the system gives no more'}; smaller layers (nout) or "
                "a smaller batchsize need less"
            ) from error
        except BrokenPipeError:  # the reader of our output has gone, as `| head` does
            discard(sys.stdout)
            ctx.exit(1)


def _module(name: str) -> str:
    """The module of a command."""
    return f"neon_optim.cli.{name.replace('-', '_')}"


def _came_from_echo(error: OSError) -> bool:
    """Whether an error is that of writing the output: where it was raised click.echo was at work."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == click.echo.__module__


def _show_warning(message: Any, *where: Any, **more: Any) -> None:
    say(f"Warning: {message}", err=True)


@click.command(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neon-optim")
def cli() -> None:
    """Train models that YAML files define; stop and restore them exactly.

    Exit code: 0 on success, 2 for a mistake in what was given (one message on standard error), 1 otherwise.
    """
