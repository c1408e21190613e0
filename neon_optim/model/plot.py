"""A picture of a metrics log."""

from __future__ import annotations

import io
import json
import os
from typing import Any

from neon_optim.errors import DataError, RunError
from neon_optim.serialization.durable import replacing

__all__ = ["plot_metrics", "read_metrics"]


def plot_metrics(log: str | os.PathLike[str], picture: str | os.PathLike[str]) -> bool:
    """Draw cost and learning rate over the steps of a metrics log as PNG.

    Returns whether it was drawn: False where matplotlib is not installed.

    Raises:
        DataError: the log cannot be read.
        RunError: matplotlib fails.
        CheckpointError: the picture cannot be written.
    """
    steps, epochs = read_metrics(log)
    image = io.BytesIO()
    try:
        from matplotlib.figure import Figure

        figure = _draw(Figure(figsize=(8, 6), layout="constrained"), steps, epochs)
        figure.savefig(image, format="png", dpi=120)
    except ImportError:
        return False
    except Exception as error:  # whatever is wrong with an installation of matplotlib
        raise RunError(f"matplotlib cannot draw {os.fspath(picture)!r}: {error}") from error
    with replacing(picture) as file:
        file.write(image.getvalue())
    return True


def _draw(figure: Any, steps: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> Any:
    cost, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    x = [line["step"] for line in steps]
    cost.plot(x, [line["cost"] for line in steps], linewidth=0.6, alpha=0.6, label="minibatch")
    for key, label in (("train_cost", "epoch"), ("valid_cost", "validation")):
        known = [(line["step"], line[key]) for line in epochs if key in line]
        if known:
            cost.plot(*zip(*known, strict=True), label=label)
    cost.set_yscale("log")
    cost.set_ylabel("cost")
    cost.legend()
    rate.plot(x, [line["learning_rate"] for line in steps])
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    return figure


def read_metrics(log: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of the steps and those of the epochs of a metrics log; a last one that is still being written is not.

    Raises:
        DataError: it is no such log.
    """
    try:
        with open(log, encoding="utf-8") as file:
            texts = file.readlines()
        whole = texts if len(texts) == 1 else [text for text in texts if text.endswith("\n")]
        lines = [json.loads(text) for text in whole]
        steps = [line for line in lines if "cost" in line]
        epochs = [line for line in lines if "train_cost" in line]
        if any(not isinstance(line, dict) or "step" not in line for line in (*steps, *epochs)):
            raise ValueError("a line has no step")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{os.fspath(log)!r} is no metrics log: {error}") from error
    return steps, epochs
