"""`neon-optim show`: what a config comes to, before it is trained."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from neon_optim.cli.chart import chart
from neon_optim.cli.options import config_changes, imports
from neon_optim.cli.output import columns
from neon_optim.cli.preparation import Preparation, read_config
from neon_optim.cli.pretty import as_call
from neon_optim.cli.run_folder import RunFolder
from neon_optim.cli.table import table_lines
from neon_optim.errors import Position, printable

if TYPE_CHECKING:
    from neon_optim.model.outline import Outline
    from neon_optim.serialization.config.resolved import ResolvedSetting

__all__ = ["show"]

_MOST_COLUMNS = 100
_POINTS = 200


@click.command(short_help="Show what a YAML file comes to: settings, layers, optimizers, memory.")
@click.argument("files", nargs=-1, required=True, metavar="CONFIG...", type=click.Path())
@imports
@config_changes
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(files: tuple[str, ...], changes: tuple[str, ...], as_json: bool) -> None:
    """Show what the YAML file CONFIG comes to, without training; of several, each laid over those before it.

    In its place the folder of a run stands for the settings of that, and for what it began with and what was changed
    on its way.

    Every setting with the place that it comes from; each layer with its shape and the numbers that it learns; for
    each parameter the optimizer, its learning rate, weight decay and schedule; the rate over the whole run; and the
    memory that the run takes on its device.
    """
    from neon_optim.serialization.config.resolved import resolved_settings

    history = _history(files[0]) if len(files) == 1 else []
    configs = [_config_of(file) for file in files]
    found = read_config(configs, changes)
    parts = Preparation(found)
    parts.bring_together()
    outline = parts.outline()
    settings = list(resolved_settings(found, parts.dataset))
    if as_json:
        parts.raise_if_any()
        click.echo(
            json.dumps(
                {**_as_json(configs, settings, parts, outline), "history": history}, indent=2, allow_nan=False
            )
        )
        return
    width = min(columns(sys.stdout) or 80, _MOST_COLUMNS)
    _print(_settings(settings, width))
    if outline is not None:
        groups = _groups(parts, outline)
        for section in (
            _layers(outline, width),
            _parameters(outline, groups, width),
            _rates(groups, width),
            _memory(outline),
            *([_story(history)] if history else []),
        ):
            click.echo()
            _print(section)
    parts.raise_if_any()


def _config_of(file: str) -> str:
    """The file of settings: of a run in its folder the one that is there."""
    folder = RunFolder(file)
    return str(folder.config) if folder.config.is_file() else file


def _history(file: str) -> list[dict[str, Any]]:
    """What a run began with, and what was changed on its way; nothing where the file is no folder of one."""
    from neon_optim.runs.run import history_of

    return history_of(file) if os.path.isdir(file) else []


def _story(history: Sequence[dict[str, Any]]) -> Iterator[str]:
    from neon_optim.cli.run_history import history_lines

    yield "history"
    for line in history_lines(history):
        yield f"  {line}"


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(printable(line))


# --- settings ---


def _settings(settings: Sequence[ResolvedSetting], width: int) -> Iterator[str]:
    """What is given, each with its place, and what is not in a line of each object."""
    places = [_place(setting.place) for setting in settings if setting.place is not None]
    wide = min(max(map(len, places), default=0), width // 3)
    yield f"{'settings':<{width - wide}}from" if places else "settings"
    defaults: list[tuple[int, list[str]]] = []
    for setting in settings:
        while defaults and setting.depth < defaults[-1][0]:
            yield from _defaults(*defaults.pop(), width)
        if not defaults or defaults[-1][0] < setting.depth:
            defaults.append((setting.depth, []))
        if setting.place is None and not setting.is_object:
            if setting.name != "name":  # the table of layers has them
                defaults[-1][1].append(f"{setting.name} {as_call(setting.value)}")
            continue
        if setting.place is None and setting.value == "":
            yield f"{'  ' * (setting.depth + 1)}{setting.name}"
            continue
        yield from _line(setting, width, wide)
    while defaults:
        yield from _defaults(*defaults.pop(), width)


def _line(setting: ResolvedSetting, width: int, wide: int) -> Iterator[str]:
    indent = "  " * (setting.depth + 1)
    value = setting.value if setting.is_object else as_call(setting.value)
    name = f"[{setting.name}]" if setting.name.isdigit() else setting.name
    room = width - wide - 2
    lines = textwrap.wrap(
        f"{indent}{name}  {value}".rstrip(), room, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )
    yield f"{lines[0]:<{width - wide}}{_cut(_place(setting.place), wide)}"
    yield from lines[1:]


def _defaults(depth: int, texts: list[str], width: int) -> Iterator[str]:
    if texts:
        indent = "  " * (depth + 1)
        yield from textwrap.wrap(
            f"{indent}default: {', '.join(texts)}",
            width,
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
        )


def _place(place: Position | None) -> str:
    """A place in few columns: of a file its name, of an override its option."""
    if place is None:
        return "default"
    source = place.source.split(" ")[0] if place.line is None else os.path.basename(place.source)
    return source if place.line is None else f"{source}:{place.line}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


# --- layers ---


def _layers(outline: Outline, width: int) -> Iterator[str]:
    rows = [("(data)", "", _shape(outline.in_shape), "")]
    rows += [
        (
            layer.name,
            layer.classnm,
            _shape(layer.out_shape),
            f"{layer.parameters:,}" if layer.parameters else "",
        )
        for layer in outline.layers
    ]
    total = sum(layer.parameters for layer in outline.layers)
    rows.append(("", "", "in all", f"{total:,}"))
    yield from table_lines(("layer", "class", "gives", "parameters"), rows, width, right=(3,))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


# --- optimizers ---


class _Group(NamedTuple):
    """An algorithm of the config, with what it is called here and its rates over the run.

    Attributes:
        label: its class, with a number where there are several of it.
        rates: (epoch, step, rate) at some steps, the first and the last among them.
    """

    label: str
    algorithm: Any
    rates: list[tuple[int, int, float]]

    @property
    def changes(self) -> bool:
        """Whether the rate does."""
        return len({rate for _, _, rate in self.rates}) > 1


def _groups(parts: Preparation, outline: Outline) -> dict[int, _Group]:
    """The algorithms that update something, by id()."""
    batches = -(-parts.train.ndata // outline.batch_size)
    total = parts.config.settings.epochs * batches
    found: dict[int, _Group] = {}
    for algorithm in (parameter.rule.algorithm for parameter in outline.parameters):
        if id(algorithm) not in found:
            same = sum(type(group.algorithm) is type(algorithm) for group in found.values())
            label = f"{algorithm.classnm} #{same + 1}" if same else algorithm.classnm
            count = min(total, _POINTS)
            steps = [round(k * (total - 1) / max(count - 1, 1)) for k in range(count)]
            rates = [
                (step // batches, step, float(algorithm.rate_at(step // batches, step))) for step in steps
            ]
            found[id(algorithm)] = _Group(label, algorithm, rates)
    return found


def _with_wrappers(rule: Any, label: str) -> str:
    for wrapper in rule.wrappers:
        label = f"{wrapper.classnm}({label})"
    return label


def _decay(rule: Any) -> str:
    """The weight decay of a parameter at the first step, with its form."""
    algorithm = rule.algorithm
    now = algorithm.hyperparameters().at(0, 0)
    wdecay, decoupled = now.get("wdecay"), now.get("decoupled_wdecay")
    if not rule.decays or not (wdecay or decoupled):
        return ""
    if decoupled or algorithm.decay_form == "decoupled":
        return f"{decoupled or wdecay:.4g} decoupled"
    return f"{wdecay:.4g}"


def _schedule(algorithm: Any) -> Any:
    """The description of the schedule of a rate; None where the rate is constant."""
    described = algorithm.get_description()["config"]
    rate = described.get("learning_rate")
    return described.get("schedule") or (rate if isinstance(rate, dict) else None)


def _parameters(outline: Outline, groups: dict[int, _Group], width: int) -> Iterator[str]:
    rows = []
    for parameter in outline.parameters:
        group = groups[id(parameter.rule.algorithm)]
        first, last = group.rates[0][2], group.rates[-1][2]
        rate = f"{first:.4g} to {last:.4g}" if first != last else f"{first:.4g}"
        schedule = _schedule(group.algorithm)
        rows.append(
            (
                parameter.path,
                _shape(parameter.shape),
                _with_wrappers(parameter.rule, group.label),
                rate,
                _decay(parameter.rule) or "-",
                as_call(schedule).partition("(")[0] if schedule else "-",
            )
        )
    yield from table_lines(("parameter", "shape", "optimizer", "rate", "decay", "schedule"), rows, width)


def _rates(groups: dict[int, _Group], width: int) -> Iterator[str]:
    """The rate of each algorithm over the run."""
    plain = (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
    yield "learning rate over the run"
    for group in groups.values():
        epochs, steps = group.rates[-1][0] + 1, group.rates[-1][1] + 1
        schedule = _schedule(group.algorithm)
        text = f"  {group.label}: {as_call(schedule) if schedule else f'{group.rates[0][2]:.4g}, constant'}"
        yield from textwrap.wrap(text, width, subsequent_indent="    ", break_on_hyphens=False)
        if any(schedule_of.get_counters() for schedule_of in group.algorithm.all_schedules()):
            yield "    (as long as the metric that it watches improves)"
        if group.changes:
            count = min(width - 18, 60, steps)
            values = [
                group.rates[round(k * (len(group.rates) - 1) / max(count - 1, 1))][2] for k in range(count)
            ]
            yield from chart(values, ("0", f"{epochs} epochs, {steps:,} steps"), plain=plain)


# --- memory ---


def _memory(outline: Outline) -> Iterator[str]:
    memory = outline.memory
    yield "memory on the device"
    rows = [
        ("parameters", memory.parameters),
        ("gradients", memory.gradients),
        ("kept by layers beside them", memory.others),
        ("states of the optimizer", memory.states),
        (f"a minibatch of {outline.batch_size}, forward and backward", memory.minibatch),
        ("in all", memory.total),
    ]
    wide = max(len(name) for name, _ in rows)
    for name, size in rows:
        if size:
            yield f"  {name:<{wide}}  {_size(size):>10}"


def _size(count: int) -> str:
    power = min(int(math.log2(count) // 10), 4) if count else 0
    return f"{count / 1024**power:,.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


# --- JSON ---


def _as_json(
    configs: list[str], settings: Sequence[ResolvedSetting], parts: Preparation, outline: Outline | None
) -> dict[str, Any]:
    assert outline is not None  # there were no problems
    groups = _groups(parts, outline)
    names = list(groups)
    return {
        "config": configs[0] if len(configs) == 1 else configs,
        "settings": [
            {
                "path": setting.path,
                "value": _finite(setting.value),
                "from": "default" if setting.place is None else str(setting.place),
            }
            for setting in settings
        ],
        "samples": {"train": parts.train.ndata, "batch_size": outline.batch_size},
        "in_shape": outline.in_shape,
        "layers": [
            {
                "name": layer.name,
                "class": layer.classnm,
                "out_shape": layer.out_shape,
                "parameters": layer.parameters,
            }
            for layer in outline.layers
        ],
        "parameters": [
            {
                "name": parameter.path,
                "shape": parameter.shape,
                "optimizer": names.index(id(parameter.rule.algorithm)),
                "wrappers": [wrapper.classnm for wrapper in parameter.rule.wrappers],
                "states": list(parameter.rule.slots),
                "decays": parameter.rule.decays,
            }
            for parameter in outline.parameters
        ],
        "optimizers": [
            {
                "description": group.algorithm.get_description(),
                "rates": [{"epoch": epoch, "step": step, "rate": rate} for epoch, step, rate in group.rates],
            }
            for group in groups.values()
        ],
        "memory": {**outline.memory._asdict(), "total": outline.memory.total},
    }


def _finite(value: Any) -> Any:
    """A value as JSON, in which a float that is not finite is a string."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
