"""What becomes of a script, a config or a pickle of neon's: what is here, what is different, the modern form."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neon_optim.compat import public_names
from neon_optim.described import registry
from neon_optim.errors import ConfigError, NeonOptimError
from neon_optim.serialization.checkpoint.file_kind import HEAD_BYTES, kind_of
from neon_optim.serialization.config.loading import load_config
from neon_optim.serialization.neon.neon_pickle import NeonCheckpoint, read_neon_pickle

__all__ = ["Migration", "MigrationNote", "examine"]

_LARGEST_TEXT = 1 << 24
_KINDS = {
    "layers": "layer",
    "optimizer": "optimizer",
    "cost": "cost",
    "init": "initializer",
    "schedule": "schedule",
}
"""What stands under the keys of a description, where its name alone could mean several things."""


@dataclass(frozen=True)
class MigrationNote:
    """One thing in the file.

    Attributes:
        status: 'here' (as in neon), 'differs', 'absent', or 'note'.
        what: its name.
        line: where it stands first; 0 where the file has no lines.
        modern: what takes its place without neon's names.
        note: how it differs, or why it is not there.
    """

    status: str
    what: str
    line: int = 0
    modern: str = ""
    note: str = ""


@dataclass
class Migration:
    """What was found in a file.

    Attributes:
        kind: 'script', 'config' or 'checkpoint'.
        findings: one for each thing, in the order of the file.
        commands: what runs or converts the file as it is.
        config: the modern form of what it describes, for ``dump_config``; None where there is none.
    """

    kind: str
    findings: list[MigrationNote] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    config: dict[str, Any] | None = None

    @property
    def absent(self) -> list[MigrationNote]:
        """What there is not."""
        return [finding for finding in self.findings if finding.status == "absent"]


def examine(path: str | os.PathLike[str]) -> Migration:
    """Look at a file of neon's.

    Raises:
        ConfigError: it cannot be read, is of no kind that neon has, or is a config with faults.
        CheckpointError: a pickle that is no checkpoint of neon's.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     script = pathlib.Path(folder, "train.py")
    ...     _ = script.write_text("from neon.optimizers import Adam")
    ...     for finding in examine(script).findings:
    ...         print(finding.status, finding.what, "->", finding.modern)
    here neon.optimizers.Adam -> neon_optim.optimizers.Adam
    """
    file = os.fspath(path)
    try:
        with open(file, "rb") as opened:
            kind = kind_of(opened.read(HEAD_BYTES))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    if kind in ("pickle", "gzip"):
        return _of_checkpoint(file, read_neon_pickle(file))
    if kind != "text":
        raise ConfigError(f"{file}: a script, a YAML config or a pickle of neon's is due, received {kind}")
    text = _text(file)
    return _of_script(file, text) if file.endswith(".py") else _of_config(file)


def _text(file: str) -> str:
    try:
        if os.path.getsize(file) > _LARGEST_TEXT:
            raise ConfigError(f"{file} has more than {_LARGEST_TEXT:,} bytes")
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


# ---- scripts


def _of_script(file: str, text: str) -> Migration:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not Python of version 3: {error}") from error
    report = Migration("script")
    seen = set()
    for line, module, name in _names(tree):
        if (module, name) not in seen:
            seen.add((module, name))
            report.findings.append(_finding(line, module, name))
    if not seen:
        report.findings.append(MigrationNote("note", file, note="it imports nothing of neon's"))
    elif not report.absent:
        report.commands.append(f"python -m neon_optim.compat {file}")
    return report


def _finding(line: int, module: str, name: str) -> MigrationNote:
    full = f"{module}.{name}"
    found = public_names.standing(module, name)
    if found.status == "absent" and not found.note:
        known = name in public_names.names_of(module)
        note = "not here" if known else "no public name of neon 2.6"
        return MigrationNote("absent", full, line, note=note)
    return MigrationNote(found.status, full, line, public_names.modern_form(module, name), found.note)


def _names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of what a script takes from neon: imported from a module, or as its attribute."""
    packages = {}  # what the script calls it → the module of neon's
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _is_neons(node.module):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if alias.name == "*":
                    yield from (
                        (node.lineno, str(node.module), name)
                        for name in public_names.names_of(str(node.module))
                    )
                elif whole in public_names.NAMES:
                    packages[alias.asname or alias.name] = whole
                else:
                    yield node.lineno, str(node.module), alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if _is_neons(alias.name):
                    packages[alias.asname or "neon"] = alias.name if alias.asname else "neon"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(getattr(node, "parent", None), ast.Attribute):
            dotted = _dotted(node)
            begin, _, rest = (dotted or "").partition(".")
            if begin in packages:
                whole = f"{packages[begin]}.{rest}"
                module = whole.rpartition(".")[0]
                if whole not in public_names.NAMES and module in public_names.NAMES:
                    yield node.lineno, module, whole.rpartition(".")[2]


def _is_neons(module: str | None) -> bool:
    return f"{module}.".startswith("neon.")


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.attr}"
    return None


# ---- configs and checkpoints


def _of_config(file: str) -> Migration:
    config = load_config(file)
    values = {key: _modern(value) for key, value in config.items()}
    report = Migration("config", commands=[f"neon-optim train {file}"], config=values)
    report.findings += _classes(values)
    if values.get("backend") == "mkl":
        values["backend"] = "cpu"
        report.findings.append(MigrationNote("differs", "backend: mkl", note="taken as cpu"))
    dataset = values.get("dataset")
    if isinstance(dataset, Mapping) and dataset.get("name") == "mnist":
        report.findings.append(
            MigrationNote(
                "differs",
                "dataset: mnist",
                note="from its IDX files, shuffled in each epoch, never downloaded",
            )
        )
    return report


def _of_checkpoint(file: str, neon: NeonCheckpoint) -> Migration:
    report = Migration("checkpoint")
    report.findings.append(
        MigrationNote(
            "note", f"neon {neon.neon_version}", note=f"{neon.epoch_index} epochs, {len(neon.arrays)} arrays"
        )
    )
    values: dict[str, Any] = {"epochs": max(neon.epoch_index, 1)}
    layers = neon.model.get("config", {}).get("layers", [])
    described = {
        "layers": layers,
        "cost": (neon.cost or {}).get("config", {}).get("costfunc"),
        "optimizer": neon.optimizer,
    }
    values |= {key: _modern(value) for key, value in described.items() if value}
    report.findings += _classes(values)
    name = str((neon.optimizer or {}).get("type")).rpartition(".")[2]
    if name == "Adam":
        report.findings.append(
            MigrationNote(
                "differs",
                "Adam",
                note="its step count was not saved: convert takes --t or --batches-per-epoch",
            )
        )
    if not report.absent:
        report.config = values
        report.commands.append(f"neon-optim convert {file} {Path(file).stem}.safetensors")
    return report


def _modern(value: Any) -> Any:
    """A description in our own short names, without empty configs and automatic names."""
    if isinstance(value, list | tuple):
        return [_modern(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "type" not in value:
        return {key: _modern(item) for key, item in value.items()}
    short = str(value["type"]).rpartition(".")[2]
    config = {
        key: _modern(item)
        for key, item in (value.get("config") or {}).items()
        if not (key == "name" and str(item).rpartition("_")[0] == short)
    }
    return {"type": short, "config": config} if config else {"type": short}


def _classes(values: Any) -> Iterator[MigrationNote]:
    """A note on each class that is described, once."""
    for name, kind in dict.fromkeys(_types(values, "")):
        try:
            cls = registry.resolve(name, _KINDS.get(kind))
        except NeonOptimError as error:
            yield MigrationNote("absent", name, note=str(error).partition("\n")[0])
        else:
            yield MigrationNote("here", name, modern=registry.full_name(cls))


def _types(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """(name of a class, the key that it stands under) for each description in a value."""
    if isinstance(value, Mapping):
        if isinstance(value.get("type"), str):
            yield value["type"], key
        for name, item in value.items():
            yield from _types(item, key if key == "optimizer_mapping" else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _types(item, key)
