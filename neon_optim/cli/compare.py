"""`neon-optim compare`: how good some runs are, and what differs between them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from neon_optim.cli.options import imports
from neon_optim.cli.output import columns
from neon_optim.cli.run_folder import RunFolder
from neon_optim.cli.table import table_lines
from neon_optim.errors import RunError, printable, shown

__all__ = ["compare"]

_WIDTH = 100
_MOST_SHOWN = 40
_ABOUT_THE_PLACE = ("backend", "engine", "device_id", "checkpoint", "distributed")


class _Story(NamedTuple):
    """A run: its settings by their paths, and the lines of its epochs."""

    name: str
    settings: dict[str, Any]
    epochs: list[dict[str, Any]]
    best_by: tuple[str, str] | None

    def best(self, metric: str, mode: str) -> dict[str, Any] | None:
        """The line of the best epoch; None where the metric was not measured."""
        sign = -1.0 if mode == "max" else 1.0
        known = [line for line in self.epochs if isinstance(line.get(metric), (int, float))]
        known = [line for line in known if math.isfinite(line[metric])]
        return min(known, key=lambda line: sign * line[metric], default=None)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path())
@click.option("--by", metavar="METRIC", help="Compare by this one; default: that of the first run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@imports
def compare(runs: tuple[str, ...], by: str | None, as_json: bool) -> None:
    """Compare runs by their folders: each at its best epoch, the best run first, and the settings in which they differ.

    A run that is still under way is compared as far as it is.
    """
    stories = [_story(run) for run in dict.fromkeys(runs)]
    metric, mode = _judged(stories, by)
    sign = -1.0 if mode == "max" else 1.0

    def rank(story: _Story) -> float:
        best = story.best(metric, mode)
        return math.inf if best is None else sign * best[metric]

    stories.sort(key=rank)
    differing = _differing(stories)
    if as_json:
        found = {"metric": metric, "mode": mode, "runs": [_as_json(story, metric, mode) for story in stories]}
        click.echo(json.dumps({**found, "differing": differing}, indent=2))
        return
    width = columns(sys.stdout) or _WIDTH
    for line in _lines(stories, metric, mode, differing, width):
        click.echo(printable(line))


def _story(run: str) -> _Story:
    """What a folder tells of its run.

    Raises:
        RunError: there is none, or nothing of it is known yet.
    """
    from neon_optim.model.plot import read_metrics
    from neon_optim.runs.run import chosen_by

    folder = RunFolder(run)
    config = folder.read_settings() if folder.path.is_dir() else None
    if config is None or not folder.metrics.is_file():
        raise RunError(f"there is no run in {run!r}")
    _, epochs = read_metrics(folder.metrics)
    return _Story(run.rstrip("/"), dict(_flat(dict(config))), epochs, chosen_by(run))


def _judged(stories: Sequence[_Story], by: str | None) -> tuple[str, str]:
    """The metric to compare by, and which values are better."""
    measured = list(dict.fromkeys(name for story in stories for line in story.epochs for name in line))
    own = next((story.best_by for story in stories if story.best_by is not None), ("valid_cost", "min"))
    metric = by or own[0]
    if by is not None and by not in measured:
        raise RunError(f"--by: no run has measured {shown(by)}; measured are {', '.join(measured) or 'none'}")
    known = dict(story.best_by for story in stories if story.best_by is not None)
    return metric, known.get(metric, "max" if metric.endswith("accuracy") else "min")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The innermost values by their paths."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}[{index}]")
    else:
        yield path, value


def _differing(stories: Sequence[_Story]) -> dict[str, list[Any]]:
    """Settings in which the runs differ, each with its value in every run; None where it is not given."""
    paths = dict.fromkeys(path for story in stories for path in story.settings)
    of_runs = {path: [story.settings.get(path) for story in stories] for path in paths}
    return {
        path: values
        for path, values in of_runs.items()
        if any(value != values[0] for value in values) and path.partition(".")[0] not in _ABOUT_THE_PLACE
    }


def _as_json(story: _Story, metric: str, mode: str) -> dict[str, Any]:
    best = story.best(metric, mode)
    return {"run": story.name, "epochs": len(story.epochs), "best": best}


def _lines(
    stories: Sequence[_Story], metric: str, mode: str, differing: Mapping[str, list[Any]], width: int
) -> Iterator[str]:
    rows = []
    for story in stories:
        best = story.best(metric, mode)
        at = ("-", "-", "-") if best is None else (*_values(best, metric), str(best["epoch"]))
        seconds = sum(line.get("seconds") or 0.0 for line in story.epochs)
        rows.append((story.name, *at, str(len(story.epochs)), f"{seconds:.1f}"))
    head = ("run", f"best {metric.replace('_', ' ')}", "train cost", "at epoch", "of", "seconds")
    yield from table_lines(head, rows, width, right=(1, 2, 3, 4, 5))
    if len(stories) > 1:
        yield ""
        yield "settings that differ" if differing else "no settings differ"
    for path, values in differing.items():
        yield f"  {path}"
        for story, value in zip(stories, values, strict=True):
            text = "not given" if value is None else shown(value, limit=_MOST_SHOWN)
            yield f"    {text:<{min(_MOST_SHOWN, width // 2)}}  {story.name}"


def _values(line: Mapping[str, Any], metric: str) -> tuple[str, str]:
    value = line[metric]
    return f"{100 * value:.2f} %" if metric.endswith(
        "_error"
    ) else f"{value:.4f}", f"{line['train_cost']:.4f}"
