"""Writes a config that trains on a file of data: the start of somebody's own."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from neon_optim.backends import gen_backend
from neon_optim.data.array_datasets import Hdf5, Npz
from neon_optim.data.array_encoding import HDF5_ENDINGS
from neon_optim.data.columns import Scan
from neon_optim.data.encoded_dataset import EncodedDataset, Task
from neon_optim.data.encoding import Classes
from neon_optim.data.image_folders import Images
from neon_optim.data.table_datasets import Csv, Parquet
from neon_optim.data.table_learning import useless_columns
from neon_optim.data.tables import TABLE_FORMATS, open_table
from neon_optim.described.listing import first_of
from neon_optim.described.object import NervanaObject
from neon_optim.described.words import suggestion
from neon_optim.errors import DataError
from neon_optim.serialization import dump_config

__all__ = ["starting_config"]

_STEPS = 3_000
"""Steps that a small model is trained for, about."""

_BATCH_SIZES = ((16, 500), (32, 5_000), (128, 100_000), (512, math.inf))
"""Samples in a minibatch, and in the training data up to which so many are taken."""

_MOST_LISTED = 8
_MEMORY = 500_000_000
"""Bytes of a table that may stay in memory while it is looked at."""


def starting_config(path: str, target: str | None = None, task: Task = "auto") -> str:
    """The YAML text of a config that trains on a table, a file of arrays, or a folder of images.

    Arguments:
        path: of the file or folder.
        target: the column of a table that is to be predicted.
        task: 'classification', 'regression', or 'auto'.

    Raises:
        DataError: the data cannot be read or used.
    """
    dataset, settings, notes = _dataset(path, target, task)
    if NervanaObject.be is None:
        gen_backend("cpu", batch_size=1)
    samples = dataset.train_iter
    goal = dataset.encoding.target
    classes = isinstance(goal, Classes)
    settings["task"] = "classification" if classes else "regression"
    batchsize = next(size for size, most in _BATCH_SIZES if samples.ndata <= most)
    epochs = min(100, max(5, round(_STEPS * batchsize / samples.ndata)))
    lower = [round(0.6 * epochs), max(round(0.6 * epochs) + 1, round(0.85 * epochs))]
    stem = Path(path).stem or "data"
    what = f"{goal.nout} classes" if isinstance(goal, Classes) else "numbers"
    shape = " × ".join(map(str, dataset.encoding.shape))
    new = "folder/" if isinstance(dataset, Images) else f"new{Path(path).suffix}"
    lines = [
        f"# Trains on {path}: {shape} inputs, {what}; {samples.ndata:,} samples to train on,",
        f"# {dataset.valid_iter.ndata:,} to validate with. Save this as {stem}.yaml, then:",
        "#",
        f"#   neon-optim train {stem}.yaml",
        f"#   neon-optim predict runs/{stem}-1 {new} -o predictions.csv",
        "",
        f"epochs: {epochs}",
        f"batchsize: {batchsize}",
        "rng_seed: 1  # of the first weights and of the order of samples",
        "",
        "dataset:",
        *_indented(settings),
        *(f"  # {note}" for note in notes),
        "",
        "zero: &zero",
        "  type: Constant",
        "",
        "layers:",
        *_layers(dataset, samples.ndata),
        "",
        f"cost: {'CrossEntropyMulti' if classes else 'MeanSquared'}",
        "",
        "optimizer:",
        "  type: Adam",
        "  config:",
        "    learning_rate: 0.003",
        "    schedule:  # less and less towards the end",
        "      type: Schedule",
        f"      config: {{step_config: {lower}, change: 0.3}}",
    ]
    return "\n".join(lines) + "\n"


def _dataset(path: str, target: str | None, task: Task) -> tuple[EncodedDataset, dict[str, Any], list[str]]:
    """The dataset, its settings as they are written, and what somebody should know."""
    made: EncodedDataset
    if os.path.isdir(path):
        made = Images(path=path)
        names = made.encoding.target.labels[:_MOST_LISTED]  # type: ignore[union-attr]
        settings: dict[str, Any] = {"name": "images", "path": path, "validation": 0.2}
        height, width = made.encoding.shape[1:]
        return made, settings | {"height": height, "width": width}, [f"classes: {', '.join(map(str, names))}"]
    ending = Path(path).suffix.lower()
    if ending == ".npz":
        made = Npz(path=path, standardize=True, task=task)
        settings = {"name": "npz", "path": path, "inputs": "X", "targets": "y", "standardize": True}
        return made, settings | {"validation": 0.2}, []
    if ending in HDF5_ENDINGS:
        settings = {"name": "hdf5", "path": path, "inputs": "input", "targets": "output", "validation": 0.2}
        return Hdf5(path=path, task=task), settings, []
    if ending not in TABLE_FORMATS:
        known = ", ".join([*TABLE_FORMATS, ".npz", *HDF5_ENDINGS])
        raise DataError(
            f"{path}: data is a file that ends in {known}, or a folder with a folder of images for each class"
        )
    return _of_table(path, target, task)


def _of_table(path: str, target: str | None, task: Task) -> tuple[EncodedDataset, dict[str, Any], list[str]]:
    kind: Any = {"csv": Csv, "parquet": Parquet}[TABLE_FORMATS[Path(path).suffix.lower()]]
    table = open_table(path)
    known = table.names
    if target is None or target not in known:
        what = "which column is to be predicted"
        if target is not None:
            what = f"there is no column {target!r}{suggestion(target, known).rstrip('?')}"
        raise DataError(f"{path}: {what}? Give --target one of: {', '.join(known)}")
    scan = Scan(table, known, _MEMORY)
    left_out = useless_columns(scan, target)
    features = [name for name in known if name != target and name not in left_out] if left_out else None
    if features == []:
        raise DataError(
            f"{path}: no column can be an input: " + "; ".join(f"{k}: {v}" for k, v in left_out.items())
        )
    settings = {"name": kind.format, "path": path, "target": target}
    notes = [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    if features is not None:
        settings["features"] = features
    lacking = {name: scan.columns[name].missing.count for name in [target, *(features or known)]}
    if lacking[target]:
        settings["missing"] = "drop"
        notes.append(
            f"missing: {lacking[target]:,} rows have no {target}; rows that lack a value are left out"
        )
    elif any(lacking.values()):
        settings["missing"] = "mean"
        listed = ", ".join(f"{name} ({count:,})" for name, count in lacking.items() if count)
        notes.append(f"missing: the mean, or the most frequent word, stands for it in {listed}; or: drop")
    made: EncodedDataset = kind.of(
        scan,
        path=path,
        target=target,
        features=features,
        task=task,
        missing=settings.get("missing", "error"),
    )
    settings["validation"] = 0.2
    goal = made.encoding.target
    if isinstance(goal, Classes):
        notes.insert(0, f"classes: {first_of(goal.labels, most=_MOST_LISTED)}")
    notes += made.encoding.summary()
    return made, settings, notes


def _layers(dataset: EncodedDataset, samples: int) -> list[str]:
    """Layers that do well on such data, as a start."""
    shape, goal = dataset.encoding.shape, dataset.encoding.target
    lines: list[str] = []
    is_image, is_sequence = len(shape) == 3 and min(shape[1:]) >= 12, len(shape) == 2
    for filters in (16, 32) if is_image else ():
        lines += _layer("Conv", f"fshape: [3, 3, {filters}]", "Rectlin", "padding: 1")
        lines += ["- type: Pooling", "  config: {fshape: 2, strides: 2}"]
    if is_sequence:
        lines += ["- type: LSTM", "  config:", "    output_size: 64", "    init: {type: GlorotUniform}"]
        lines += [
            "    activation: {type: Tanh}",
            "    gate_activation: {type: Logistic}",
            "- type: RecurrentLast",
        ]
    inputs = 64 if is_image or is_sequence else math.prod(shape)
    width = min(256, max(16, 2 ** math.ceil(math.log2(2 * inputs))))
    for _ in range(1 if samples < 1_000 or is_image else 2):
        lines += _layer("Affine", f"nout: {width}", "Rectlin")
    return lines + _layer("Affine", f"nout: {goal.nout}", "Softmax" if isinstance(goal, Classes) else None)


def _layer(kind: str, size: str, activation: str | None, *more: str) -> list[str]:
    init = "Kaiming" if activation == "Rectlin" else "GlorotUniform"
    config = [size, *more, f"init: {{type: {init}}}", "bias: *zero"]
    config += [f"activation: {{type: {activation}}}"] if activation else []
    return [f"- type: {kind}", "  config:", *(f"    {line}" for line in config)]


def _indented(settings: dict[str, Any]) -> list[str]:
    return [f"  {line}" for line in dump_config(settings).splitlines()]
