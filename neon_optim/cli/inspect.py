"""``neon-optim inspect``: what is in a checkpoint, whether it is whole, what differs between two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from neon_optim.serialization.checkpoint.inspection import Difference, Inspection


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--verify", is_flag=True, help="Only check every byte of each FILE against its digests.")
@click.option("--diff", is_flag=True, help="Show what changed from the first FILE to the second.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(files: tuple[str, ...], verify: bool, diff: bool, as_json: bool) -> None:
    """Show what is in a checkpoint FILE: description, step, epoch, and numbers of every array.

    The whole file is verified first; a damaged one is an error.
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

        difference = diff_checkpoints(*files)
        _print(difference.as_dict() if as_json else _difference_lines(difference))
    else:
        from neon_optim.serialization.checkpoint.inspection import inspect_checkpoint

        found = inspect_checkpoint(files[0])
        _print(found.as_dict() if as_json else _inspection_lines(found))


def _verify(files: tuple[str, ...], as_json: bool) -> None:
    from neon_optim.errors import CheckpointError
    from neon_optim.serialization.checkpoint import archive

    results: dict[str, str | None] = {}
    for file in files:
        try:
            archive.verify(file)
            results[file] = None
        except CheckpointError as error:
            results[file] = str(error)
    damaged = [message for message in results.values() if message is not None]
    if as_json:
        _print({file: {"whole": message is None, "error": message} for file, message in results.items()})
    else:
        _print(f"{file}: whole" for file, message in results.items() if message is None)
    if damaged:
        raise CheckpointError("\n".join(damaged))


def _print(content: Any) -> None:
    if isinstance(content, dict):
        click.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        for line in content:
            click.echo(line)


def _inspection_lines(found: Inspection) -> Iterator[str]:
    yield f"{found.path}: whole; format {found.format_version}, written by {found.written_by}, {found.nbytes:,} bytes"
    yield f"optimizer  {_described(found.description)}  {_pairs(found.counters)}"
    if found.model is not None:
        yield f"model      {_described(found.model.get('description'), short=True)}"
    yield f"epoch      {found.epoch}" + ("" if found.step is None else f"   step {found.step}")
    if found.metrics:
        yield f"metrics    {_pairs(found.metrics)}"
    if found.extra is not None:
        yield f"extra      {json.dumps(found.extra)}"
    yield ""
    rows = [("array", "dtype", "shape", "min", "mean", "max", "norm", "non-finite")]
    for array in found.arrays:
        numbers = ["-" if n is None else f"{n:.6g}" for n in (array.min, array.mean, array.max, array.norm)]
        shape = "x".join(map(str, array.shape)) or "scalar"
        rows.append((array.name, array.dtype, shape, *numbers, str(array.nonfinite or "-")))  # type: ignore[arg-type]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        left = "  ".join(text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True))
        right = "  ".join(text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True))
        yield f"{left}  {right}"


def _difference_lines(found: Difference) -> Iterator[str]:
    if not found:
        yield "no difference"
    for name in found.only_a:
        yield f"- {name}"
    for name in found.only_b:
        yield f"+ {name}"
    for name, change in found.arrays.items():
        if "elements" in change:
            yield f"~ {name}: {change['elements']:,} of {change['of']:,} elements, by {change['largest']:.6g} at most"
        else:
            (dtype_a, dtype_b), (shape_a, shape_b) = change["dtype"], change["shape"]
            yield f"~ {name}: {dtype_a} {shape_a} -> {dtype_b} {shape_b}"
    for path, (a, b) in found.state.items():
        yield f"~ {path}: {_short(a)} -> {_short(b)}"


def _described(description: Any, short: bool = False) -> str:
    if not isinstance(description, dict):
        return "none"
    name = str(description.get("type")).rsplit(".", 1)[-1]
    config = description.get("config") or {}
    return (
        name if short else f"{name}({', '.join(f'{key}={_short(value)}' for key, value in config.items())})"
    )


def _pairs(values: dict[str, Any]) -> str:
    return "  ".join(f"{key} {_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    text = value if value == "(absent)" else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
