"""``neon-optim inspect``: what is in a checkpoint, whether it is whole, what differs between two."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from neon_optim.cli.output import columns, wrapped
from neon_optim.cli.pretty import as_call, pretty
from neon_optim.cli.same_settings import around
from neon_optim.errors import CheckpointError, printable

if TYPE_CHECKING:
    from neon_optim.serialization.checkpoint.inspection import Difference, Inspection

_WIDTH_OF_A_PIPE = 100
_MOST_LINES = 200
_COLUMNS = ("array", "dtype", "shape", "min", "mean", "max", "norm", "non-finite")
_TEXT_COLUMNS = 3


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--verify", is_flag=True, help="Only check every byte of each FILE against its digests.")
@click.option("--diff", is_flag=True, help="Show what changed from the first FILE to the second.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(files: tuple[str, ...], verify: bool, diff: bool, as_json: bool) -> None:
    """Show what is in a checkpoint FILE: description, step, epoch, and numbers of every array.

    The whole file is verified first; a damaged one is an error. A sharded checkpoint is a folder, step-….sharded, and
    taken like a file. The folder of a run, or of checkpoints, stands for the newest one in it; with --verify for all.
    """
    if verify and diff:
        raise click.UsageError("--verify and --diff exclude each other")
    if diff and len(files) != 2:
        raise click.UsageError(f"--diff takes two files, received {len(files)}")
    if not (diff or verify) and len(files) != 1:
        raise click.UsageError(f"inspect takes one file, received {len(files)}")
    if verify:
        _verify(files, as_json)
    elif diff:
        from neon_optim.serialization.checkpoint.inspection import diff_checkpoints

        difference = diff_checkpoints(*map(_newest, files))
        _print(difference.as_dict() if as_json else _difference_lines(difference))
    else:
        from neon_optim.serialization.checkpoint.inspection import inspect_checkpoint

        found = inspect_checkpoint(_newest(files[0]))
        _print(found.as_dict() if as_json else _inspection_lines(found))


def _checkpoints(path: str) -> list[str]:
    """A checkpoint itself; those of a run, or in a folder of them, the newest last: an error where there are none."""
    from neon_optim.serialization.checkpoint.manager import CheckpointManager
    from neon_optim.serialization.checkpoint.shard_index import holds_parts

    if not os.path.isdir(path) or holds_parts(path):
        return [path]
    folder = path
    for place in (os.path.join(folder, "checkpoints"), folder):
        manager = CheckpointManager(place)
        steps = manager.steps()
        if steps:
            return [os.path.join(place, os.path.basename(manager.path(step))) for step in steps]
    others = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))
    hint = f"; other files in it: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}" if others else ""
    raise CheckpointError(f"{folder!r} is a folder without checkpoints of a run (step-*.safetensors){hint}")


def _newest(path: str) -> str:
    return _checkpoints(path)[-1]


def _verify(files: tuple[str, ...], as_json: bool) -> None:
    from neon_optim.serialization.checkpoint.stored import verify_checkpoint

    results: dict[str, str | None] = {}
    for file in [one for given in files for one in _checkpoints(given)]:
        try:
            verify_checkpoint(file)
            results[file] = None
        except CheckpointError as error:
            results[file] = str(error)
    damaged = [message for message in results.values() if message is not None]
    if as_json:
        _print({file: {"whole": message is None, "error": message} for file, message in results.items()})
    else:
        _print(f"{printable(file)}: whole" for file, message in results.items() if message is None)
    if damaged:
        raise CheckpointError("\n".join(damaged))


def _print(content: Any) -> None:
    if isinstance(content, dict):
        click.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        for line in content:
            click.echo(line)


def _inspection_lines(found: Inspection) -> Iterator[str]:
    terminal = columns(sys.stdout)
    width = terminal or _WIDTH_OF_A_PIPE
    about = f"whole; format {found.format_version}, written by {printable(found.written_by)}, {found.nbytes:,} bytes"
    about += f" in {found.parts} part{'s' if found.parts > 1 else ''}" if found.parts else ""
    path = printable(found.path)
    one_line = terminal is None or len(path) + len(about) + 2 <= terminal
    yield from [f"{path}: {about}"] if one_line else [path, about]
    optimizer = "none" if found.description is None else as_call(found.description)
    yield from _section("optimizer", f"{optimizer}  {_pairs(found.counters)}", width)
    if found.model is not None:
        description = found.model.get("description")
        name = description.get("type") if isinstance(description, dict) else None
        yield from _section("model", "none" if name is None else str(name).rsplit(".", 1)[-1], width)
    yield from _section(
        "epoch", f"{found.epoch}" + ("" if found.step is None else f"   step {found.step}"), width
    )
    if found.metrics:
        yield from _section("metrics", _pairs(found.metrics), width)
    if found.extra is not None:
        lines = list(pretty(found.extra, width, "  "))
        yield from _section("extra", lines[0].strip(), width) if len(lines) == 1 else ["extra"]
        if len(lines) > 1:
            for line in lines[:_MOST_LINES]:
                yield from wrapped(line, width, "    ")
        if len(lines) > _MOST_LINES:
            yield f"  … {len(lines) - _MOST_LINES:,} more lines: --json shows all"
    yield ""
    yield from _table(found.arrays, terminal)


def _section(name: str, text: str, width: int) -> list[str]:
    """A line with a name before it, wrapped below itself."""
    return wrapped(f"{name:10} {printable(text)}".rstrip(), width, " " * 11)


def _table(arrays: list[Any], terminal: int | None) -> list[str]:
    """A row for each array; in a narrow terminal with fewer digits, then with fewer columns."""
    empty = [] if any(array.nonfinite for array in arrays) else ["non-finite"]
    lines: list[str] = []
    for digits, left_out in ((6, []), (4, []), (3, []), (3, empty), (3, [*empty, "min", "max"])):
        rows = [_row(array, digits) for array in arrays]
        names = [name for name in _COLUMNS if name not in left_out]
        cells = [[name, *(row[name] for row in rows)] for name in names]
        widths = [max(map(len, column)) for column in cells]
        lines = [
            "  ".join(
                text.ljust(width) if k < _TEXT_COLUMNS else text.rjust(width)
                for k, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in zip(*cells, strict=True)
        ]
        if terminal is None or max(map(len, lines)) <= terminal:
            break
    return lines


def _row(array: Any, digits: int) -> dict[str, str]:
    def number(name: str) -> str:
        value = getattr(array, name)
        return "-" if value is None else f"{value:.{digits}g}"

    return {
        "array": printable(array.name),
        "dtype": array.dtype,
        "shape": "x".join(map(str, array.shape)) or "scalar",
        **{name: number(name) for name in ("min", "mean", "max", "norm")},
        "non-finite": str(array.nonfinite or "-"),
    }


def _difference_lines(found: Difference) -> Iterator[str]:
    if not found:
        yield "no difference"
    for name in found.only_a:
        yield f"- {printable(name)}"
    for name in found.only_b:
        yield f"+ {printable(name)}"
    for name, change in found.arrays.items():
        if "elements" in change:
            text = f"{change['elements']:,} of {change['of']:,} elements, by {change['largest']:.6g} at most"
        else:
            (dtype_a, dtype_b), (shape_a, shape_b) = change["dtype"], change["shape"]
            text = f"{dtype_a} {shape_a} -> {dtype_b} {shape_b}"
        yield f"~ {printable(name)}: {text}"
    for path, values in found.state.items():
        a, b = around(*map(_json, values))
        yield f"~ {printable(path)}: {a} -> {b}"


def _pairs(values: dict[str, Any]) -> str:
    return "  ".join(f"{printable(key)} {_json(value)}" for key, value in values.items())


def _json(value: Any) -> str:
    return value if value == "(absent)" else json.dumps(value)
