"""Writes the pages of docs/optimizers, docs/schedules and docs/model from the docstrings, and their plots; and the page
of neon's names.

    python docs/generate.py            # pages
    python docs/generate.py --plots    # and plots (needs matplotlib and scikit-learn)

Fails where a public name has no docstring, or an argument is not described.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from neon_optim import gen_backend, model, optimizers, schedules
from neon_optim.compat import public_names
from neon_optim.described import registry
from neon_optim.described.arguments import REQUIRED, constructor_arguments
from neon_optim.described.build import from_description
from neon_optim.described.docstrings import argument_docs, argument_texts, sections
from neon_optim.optimizers import Optimizer, Wrapper
from neon_optim.schedules import BaseSchedule
from neon_optim.stepping.part import Part

HERE = Path(__file__).parent
COMMON = "Those of every optimizer"
FULL = {
    "MultiOptimizer": {"optimizer_mapping": {"default": optimizers.Adam()}},
    **{name: {"optimizer": optimizers.SGD(0.1)} for name in ("EMA", "Lookahead")},
    "GradientAccumulation": {"optimizer": optimizers.SGD(0.1), "every": 4},
    "GradientDescentMomentum": {"learning_rate": 0.1, "momentum_coef": 0.9},
    "LARS": {"learning_rate": 0.1},
    "SGD": {"momentum_coef": 0.9},
}
SCHEDULES_IN_YAML = """
type: AdamW
config:
  learning_rate: 0.01
  schedule:                        # 500 steps of warm-up, then a cosine over 30 epochs
    type: Warmup
    config:
      length: 500
      unit: step
      schedule: {type: Cosine, config: {length: 30, end: 0.01}}
  beta_1: {type: Linear, config: {length: 10, start: 0.9, end: 0.99}}
"""
MODEL_KINDS: list[tuple[str, str, Any]] = [
    ("Layers", "layer", model.Layer),
    ("Activations", "activation", model.ActivationFunction),
    ("Costs", "cost", model.Cost),
    ("Initializers", "initializer", model.Initializer),
    ("Datasets", "dataset", model.Dataset),
    ("Metrics", "metric", model.Metric),
    ("Callbacks", "callback", model.callbacks.Hooks),
]
MODEL_BEGIN = """
# Layers, activations, costs, initializers, datasets, metrics, callbacks

All are in `neon_optim.model`, and a [config](../configs.md) names them by their class:
`{type: Linear, config: {nout: 10, init: Kaiming}}`. Checkpoints, CsvLog, MetricsLog and
Validation are for programs: `neon-optim train` makes its own. How they are
put together, and how to write your own: [training](../training.md).
"""
USE = """
`optimizer.optimize(layers, epoch)` is neon's way: one step on layers, or on `((param, grad), state)` tuples. Gradients
are sums over the minibatch there, and `optimize` divides them by `be.bsz`. `optimizer.bind(parameters)` is the way of
PyTorch and ScalaTion: [what comes back](BoundOptimizer.md) has `step()`, `zero_grad()`, `clip_grad_norm(max_norm)`,
`state_dict()` and more. Gradients are means there, and are divided by nothing, unless `bind(parameters, batch_size=n)`
says so.

A module of PyTorch is trained in place:

```python
import torch
from neon_optim.optimizers import AdamW

torch.manual_seed(0)
module, x = torch.nn.Linear(3, 1), torch.randn(64, 3)
bound = AdamW(learning_rate=0.05).bind(dict(module.named_parameters()))
for _ in range(200):
    bound.zero_grad()
    loss = torch.nn.functional.mse_loss(module(x), x.sum(1, keepdim=True))
    loss.backward()
    bound.step()
assert loss < 1e-3
```

An optimizer has one step count `t` for all its parameters. One that joins later (a layer that is unfrozen) starts with
empty state at the present `t`: bias corrections and schedules by step do not begin anew for it. (PyTorch counts each
parameter's steps, and corrects anew.) Where they shall, give it an optimizer of its own.
"""
OPTIMIZERS_IN_YAML = """
type: EMA
config:
  decay: 0.999
  optimizer:
    type: MultiOptimizer
    config:
      optimizer_mapping:
        "conv*": {type: Muon, config: {learning_rate: 0.02}}
        "/(Bias|norm).*/": {type: AdamW, config: {learning_rate: 0.001, wdecay: 0}}
        default: {type: AdamW, config: {learning_rate: 0.001, gradient_clip_norm: 1.0, no_decay: ["*/bias"]}}
"""


MIGRATION_BEGIN = """
# From neon to neon_optim

Intel's neon 2.6 imports on no Python of today. Its programs run on this package:

| you have | do |
|---|---|
| a script | `python -m neon_optim.compat script.py …`, with its own options; nothing in it changes |
| another program | `neon_optim.compat.install_as_neon()` before its first `import neon` |
| a YAML file | `neon-optim train model.yaml` |
| a pickle of a model | `Model(path)` as before; `neon-optim convert FILE NEW` makes a checkpoint of ours |
| neon itself, patched to run | `import neon_optim.compat.plugin`: backends, optimizers [inside](inside-neon.md) |

`neon-optim migrate FILE` looks at a script, a YAML file or a pickle and says which of its names are here, what is
different about them, and what takes their place in a program that is written anew.

Where neon contradicts itself or loses something in silence, this package does not: [what differs](neon-differences.md).
Nothing is downloaded: a dataset that is not on the disk is an error that names its path and its address. neon's own
cache files (`~/nervana/data/mnist.pkl.gz` and the like) are read, as data; no file can run code.

## Names

Every public name of neon 2.6, module by module. The kernels of its GPU and MKL backends (`neon.backends.winograd*`,
`.kernels`, `.layer_mkl` and the like) are no names that programs use, and are not here.
"""


class UndocumentedError(Exception):
    """A public name, or an argument of one, that no docstring speaks of."""


def public(module: Any, base: type) -> list[type]:
    """The concrete classes that a module exports, in order of their names; all it exports must be documented."""
    found = []
    for name in sorted(module.__all__, key=str.lower):
        thing = getattr(module, name)
        if not (vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__):
            raise UndocumentedError(f"{module.__name__}.{name} has no docstring")
        if isinstance(thing, type) and issubclass(thing, base) and thing is not base:
            found += [] if registry.is_abstract(thing) else [thing]
    return found


# --- docstrings ---


def markdown(text: str) -> str:
    """reStructuredText as the docstrings use it, in Markdown."""
    text = re.sub(r"\.\. math::\n((?:[ ]+.*\n|\n)+)", _math_block, text + "\n")
    text = re.sub(r":math:`([^`]+)`", r"$`\1`$", text)
    text = re.sub(
        r":(?:class|meth|mod|func|data):`~?([^`]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text
    )
    return re.sub(r"(?<!`)``(?!`)", "`", text).strip("\n")


def _math_block(match: re.Match[str]) -> str:
    body = inspect.cleandoc(match[1])
    if "\\\\" in body or "&" in body:
        body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
    return f"```math\n{body}\n```\n\n"


# --- pages ---


def page(cls: type, base: type) -> str:
    """The page of one class."""
    parts = sections(str(cls.__doc__))
    first, _, rest = parts[""].partition("\n")
    lines = [f"# {cls.__name__}", "", markdown(first), "", *_signature(cls, base), ""]
    rest = re.sub(r"The others are those of :class:`[^`]*Optimizer`\.[ \n]*", "", rest)
    lines += [markdown(rest), "", "## Arguments", "", *_arguments(cls, base)]
    if base is Optimizer:
        lines += ["", f"{COMMON} are on [the overview](README.md)."]
    lines += _lists(parts, "##")
    if ">>>" not in parts:
        raise UndocumentedError(f"{cls.__name__} has no example")
    lines += ["", "## Example", "", *_example(cls, base.__module__.rpartition(".")[0]), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _lists(parts: dict[str, str], level: str) -> list[str]:
    """The sections of a docstring that are lists."""
    lines: list[str] = []
    for heading in ("Returns", "Raises", "References"):
        if parts.get(heading):
            items = [
                markdown(item) for item in re.split(r"\n(?=    \S)", "\n" + parts[heading]) if item.strip()
            ]
            lines += ["", f"{level} {heading}", "", *(f"- {' '.join(item.split())}" for item in items)]
    return lines


def _arguments(cls: type, base: type) -> list[str]:
    """The table of the arguments; of an optimizer those that are its own."""
    lines = ["| argument | allowed | default | |", "|---|---|---|---|"]
    meanings = argument_docs(cls)
    shared = constructor_arguments(Optimizer) if base is Optimizer else {}
    own = sections(str(cls.__doc__)).get("Arguments", "")
    for argument in constructor_arguments(cls).values():
        if argument.name not in meanings and argument.name != "name":
            raise UndocumentedError(f"{cls.__name__}: the argument {argument.name} is not described")
        if argument.name in shared and argument.name not in argument_texts(own):
            continue
        if argument.name not in meanings and base is not Optimizer:
            continue
        allowed = argument.check.allowed if argument.check else ""
        default = "required" if argument.default is REQUIRED else f"`{argument.default!r}`"
        meaning = markdown(meanings.get(argument.name, "for people"))
        cells = [f"`{argument.name}`", *(x.replace("|", "\\|") for x in (allowed, default, meaning))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _example(cls: type, module: str) -> list[str]:
    """The example of a docstring as it can be pasted: with the import of the class itself."""
    lines = sections(str(cls.__doc__))[">>>"].splitlines()
    begin = next((k for k, line in enumerate(lines) if not re.match(r">>> (import|from) ", line)), 0)
    named = [re.search(rf"\b{cls.__name__}\b", line) is not None for line in lines]
    if any(named) and not any(named[:begin]):
        beside = [k for k, line in enumerate(lines[:begin]) if line.startswith(f">>> from {module} import ")]
        if beside:
            start, _, names = lines[beside[0]].partition(" import ")
            lines[beside[0]] = f"{start} import {', '.join(sorted([*names.split(', '), cls.__name__]))}"
        else:
            lines.insert(begin, f">>> from {module} import {cls.__name__}")
    return ["```python", *lines, "```"]


def _signature(cls: type, base: type) -> list[str]:
    shared = set(constructor_arguments(Optimizer)) if base is Optimizer else set()
    arguments = constructor_arguments(cls).values()
    if issubclass(cls, Wrapper):
        shared.discard("name")
    own = [a for a in arguments if a.positional or a.name not in shared or a.owner is cls]
    own.sort(key=lambda a: (not a.positional, a.name in shared))  # what is the class's own first
    shown = [a.name if a.default is REQUIRED else f"{a.name}={a.default!r}" for a in own]
    stars = next((k for k, a in enumerate(own) if not a.positional), None)
    if stars is not None:
        shown.insert(stars, "*")
    if len(own) < len(constructor_arguments(cls)):
        shown.append("**options")
    return ["```", f"{cls.__name__}({', '.join(shown)})", "```"]


def interface(cls: type) -> str:
    """The page of a class by its methods."""
    parts = sections(str(cls.__doc__))
    lines = [f"# {cls.__name__}", "", markdown(parts[""]), "", "| | |", "|---|---|"]
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        function = member.fget if isinstance(member, property) else member
        if not function.__doc__:
            raise UndocumentedError(f"{cls.__name__}.{name} has no docstring")
        shown = name
        if not isinstance(member, property):
            parameters = list(inspect.signature(function).parameters.values())[1:]
            shown += f"({', '.join(str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters)})"
        text = " ".join(inspect.cleandoc(sections(function.__doc__)[""]).split())
        lines.append(f"| `{shown}` | {markdown(text)} |")
    lines += ["", "## Example", "", *_example(cls, cls.__module__), ""]
    return "\n".join(lines)


def first_line(cls: type) -> str:
    """What it is, in one line."""
    return markdown(str(cls.__doc__).strip().splitlines()[0])


def cost(cls: type) -> tuple[str, str, str]:
    """(state arrays, bytes of state, bytes moved in a step) an element in float32, of default arguments."""
    gen_backend("cpu", engine="numpy")
    optimizer = cls(**FULL.get(cls.__name__, {}))
    if isinstance(optimizer, optimizers.MultiOptimizer):
        return "those of its optimizers", "", ""
    names = ", ".join(optimizer.slots) or "none"
    if optimizer.per_tensor and optimizer.state_shape("row", (3, 2)) != (3, 2):
        return names, "4 (1/rows + 1/columns)", "tensor by tensor"
    state = f"{4 * len(optimizer.slots)}"
    if optimizer.per_tensor:
        return names, state, "tensor by tensor"
    optimizer.t = optimizer.every - 1 if hasattr(optimizer, "every") else 1
    rule = optimizer.rule_for(None)
    program = Part(rule).traced(rule.numbers(0, 1.0, True), alone=False).program
    moved = 0
    for stage in program.stages:
        moved += sum(1 for v in stage.element_code if program.code[v].op == "slot") + len(stage.outputs)
    return names, state, f"{4 * moved}"


def overview(classes: list[type]) -> str:
    """docs/optimizers/README.md."""
    lines = [
        "# Optimizers",
        "",
        "Bytes are those of one element of a parameter in float32 with default arguments: of state that is kept, and",
        "moved between memory and processor in a step. A step is limited by the latter. Clipping by norm reads each",
        "gradient once more (4). Wrappers are shown around SGD without momentum, at the step with most to do.",
        "",
        "| optimizer | | state | bytes of state | bytes moved |",
        "|---|---|---|---|---|",
    ]
    for cls in classes:
        names, state, moved = cost(cls)
        lines.append(
            f"| [{cls.__name__}]({cls.__name__}.md) | {first_line(cls)} | {names} | {state} | {moved} |"
        )
    lines += [
        "",
        "![Learning curves](learning-curves.png)",
        "",
        "Loss on the training images of scikit-learn's digits, of a network 64-32-10 in batches of 128 from the same",
        "weights; the rate is the best of four. The script is [plots.py](../plots.py).",
        "",
        "## Use",
        "",
        *USE.strip().splitlines(),
        "",
        "In YAML:",
        "",
        "```yaml",
        OPTIMIZERS_IN_YAML.strip(),
        "```",
        "",
        f"## {COMMON}",
        "",
        "neon's own optimizers take their first arguments in neon's order; everything else is by keyword. Wrappers",
        "(EMA, Lookahead, GradientAccumulation) and MultiOptimizer take none of these: their inner optimizers do.",
        "",
        "| argument | allowed | default | |",
        "|---|---|---|---|",
    ]
    meanings = argument_docs(Optimizer)
    for argument in constructor_arguments(Optimizer).values():
        allowed = (argument.check.allowed if argument.check else "").replace("|", "\\|")
        meaning = markdown(meanings[argument.name])
        lines.append(f"| `{argument.name}` | {allowed} | `{argument.default!r}` | {meaning} |")
    return "\n".join([*lines, ""])


def schedule_overview(classes: list[type]) -> str:
    """docs/schedules/README.md."""
    lines = ["# Schedules", "", "| schedule | |", "|---|---|"]
    lines += [f"| [{cls.__name__}]({cls.__name__}.md) | {first_line(cls)} |" for cls in classes]
    lines += ["", "![Values](values.png)", ""]
    lines.append(markdown("\n".join(inspect.cleandoc(str(BaseSchedule.__doc__)).splitlines()[2:])))
    lines += ["", "In YAML:", "", "```yaml", SCHEDULES_IN_YAML.strip(), "```"]
    return "\n".join([*lines, ""])


def model_page() -> str:
    """docs/model/README.md: what stands in a config, kind by kind."""
    lines = [*MODEL_BEGIN.strip().splitlines(), ""]
    for heading, kind, base in MODEL_KINDS:
        classes = public(model, base) + ([model.ArrayIterator] if kind == "dataset" else [])
        lines += [f"## {heading}", "", markdown("\n".join(sections(str(base.__doc__))[""].splitlines())), ""]
        for cls in classes:
            parts = sections(str(cls.__doc__))
            names = [name for name in registry.available(kind) if registry.resolve(name, kind) is cls]
            named = [f"In a config: `{kind}: {{name: {name}}}`.\n" for name in names if name != cls.__name__]
            lines += [f"### {cls.__name__}", "", *_signature(cls, base), "", markdown(parts[""]), "", *named]
            table = _arguments(cls, base)
            lines += [*(table if len(table) > 2 else []), *_lists(parts, "####"), ""]
            lines += [*_example(cls, model.__name__), ""] if ">>>" in parts else []
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def migration_page() -> str:
    """docs/neon-migration.md: neon's names, what is different about them, and what takes their place."""
    lines = [*MIGRATION_BEGIN.strip().splitlines(), ""]
    lines += ["| module | as in neon | different | not here |", "|---|---|---|---|"]
    different: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    by_same_name: dict[str, list[str]] = {}
    by_another: list[str] = []
    for module in public_names.modules():
        cells: dict[str, list[str]] = {"here": [], "differs": [], "absent": []}
        for name in public_names.names_of(module):
            status, note = public_names.standing(module, name)
            cells[status].append(f"`{name}`")
            if status == "absent" and not note:
                raise UndocumentedError(f"{module}.{name} is not here, and nothing says why")
            if status != "here":
                (different if status == "differs" else missing).setdefault(note, []).append(
                    f"`{module}.{name}`"
                )
            form = public_names.modern_form(module, name)
            home, _, same = form.rpartition(".")
            if module.count(".") != 1 or not form:
                continue
            if same == name:
                by_same_name.setdefault(home, []).append(f"`{name}`")
            else:
                by_another.append(f"| `{module}.{name}` | {form if '`' in form else f'`{form}`'} |")
        lines.append(f"| `{module}` | {' | '.join(', '.join(names) for names in cells.values())} |")
    lines += ["", "## What is different", "", "| name | here |", "|---|---|"]
    lines += [f"| {', '.join(names)} | {note} |" for note, names in different.items()]
    lines += ["", "## What is not here", "", "| name | why |", "|---|---|"]
    lines += [f"| {', '.join(names)} | {note} |" for note, names in missing.items()]
    lines += ["", "## What a new program uses", ""]
    lines += [
        f"- `{home}` has, by the same names: {', '.join(names)}." for home, names in by_same_name.items()
    ]
    return "\n".join([*lines, "", "| neon | neon_optim |", "|---|---|", *by_another, ""])


def pages() -> dict[str, str]:
    """Every page: path below docs → text."""
    found = {}
    for folder, module, base in (
        ("optimizers", optimizers, Optimizer),
        ("schedules", schedules, BaseSchedule),
    ):
        classes = public(module, base)
        found |= {f"{folder}/{cls.__name__}.md": page(cls, base) for cls in classes}
        found[f"{folder}/README.md"] = overview(classes) if base is Optimizer else schedule_overview(classes)
    found["model/README.md"] = model_page()
    found["neon-migration.md"] = migration_page()
    found["optimizers/BoundOptimizer.md"] = interface(optimizers.BoundOptimizer)
    return found


def main(plots: bool) -> None:
    texts = pages()
    for path, text in texts.items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_text(text, encoding="utf-8")
    for folder in ("optimizers", "schedules", "model"):
        for file in (HERE / folder).glob("*.md"):
            if f"{folder}/{file.name}" not in texts:
                file.unlink()
    if plots:
        import plots as drawing

        drawing.learning_curves(HERE / "optimizers" / "learning-curves.png", from_description)
        drawing.schedule_values(HERE / "schedules" / "values.png")


if __name__ == "__main__":
    main("--plots" in sys.argv[1:])
