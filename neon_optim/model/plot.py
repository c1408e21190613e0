"""A picture of a metrics log."""

from __future__ import annotations

import io
import json
import os
from typing import Any

from neon_optim.errors import DataError
from neon_optim.serialization.durable import replacing

__all__ = ["plot_metrics"]


def plot_metrics(log: str | os.PathLike[str], picture: str | os.PathLike[str]) -> bool:
    """Draw cost and learning rate over the steps of a metrics log as PNG.

    Returns whether it was drawn: False where matplotlib is not installed.

    Raises:
        DataError: the log cannot be read.
        CheckpointError: the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    steps, epochs = _read(log)
    figure = Figure(figsize=(8, 6), layout="constrained")
    cost, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    x = [line["step"] for line in steps]
    cost.plot(x, [line["cost"] for line in steps], linewidth=0.6, alpha=0.6, label="minibatch")
    ends = [line["step"] for line in epochs]
    cost.plot(ends, [line["train_cost"] for line in epochs], label="epoch")
    if epochs and "valid_cost" in epochs[-1]:
        cost.plot(ends, [line["valid_cost"] for line in epochs], label="validation")
    cost.set_yscale("log")
    cost.set_ylabel("cost")
    cost.legend()
    rate.plot(x, [line["learning_rate"] for line in steps])
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    with replacing(picture) as file:
        file.write(image.getvalue())
    return True


def _read(log: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    try:
        with open(log, encoding="utf-8") as file:
            lines = [json.loads(text) for text in file]
    except (OSError, ValueError) as error:
        raise DataError(f"{os.fspath(log)!r} is no metrics log: {error}") from error
    return [line for line in lines if "cost" in line], [line for line in lines if "train_cost" in line]
