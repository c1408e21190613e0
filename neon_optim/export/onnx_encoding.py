"""What stands before and behind a model, in ONNX: raw values become inputs, and outputs answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.errors import RunError
from neon_optim.export.onnx_graph import OnnxGraph

__all__ = ["append_answers", "append_inputs"]


def append_inputs(graph: OnnxGraph, encoding: dict[str, Any], shape: Sequence[int]) -> str:
    """Add the inputs that a user gives, and what an encoding makes of them; the name of what the model takes.

    Arguments:
        encoding: as a checkpoint holds it.
        shape: of a sample as the model sees it.

    Raises:
        RunError: it is an encoding that has no form in ONNX.
    """
    forms: dict[str, Callable[[OnnxGraph, dict[str, Any], Sequence[int]], str]] = {
        "table": _table,
        "arrays": _arrays,
        "images": _images,
    }
    if encoding["kind"] not in forms:
        raise RunError(f"data of the kind {encoding['kind']!r} has no form in ONNX: {', '.join(forms)} have")
    return forms[encoding["kind"]](graph, encoding, shape)


def append_answers(graph: OnnxGraph, target: dict[str, Any], outputs: str, count: int) -> None:
    """Add what a user gets: for classes ``prediction`` and ``probabilities``, for numbers ``prediction``.

    Arguments:
        target: as a checkpoint holds it.
        outputs: the name of what the model gives.
        count: how many numbers it gives.
    """
    if target["kind"] == "classes":
        labels = np.array(target["labels"])
        if labels.dtype.kind not in "iU":
            labels = np.array([str(label) for label in target["labels"]])
        best = graph.add("ArgMax", outputs, axis=1, keepdims=0)
        named = graph.add("Gather", graph.constant(labels, "labels"), best)
        graph.output("prediction", named, np.int64 if labels.dtype.kind == "i" else np.object_, ())
        graph.output("probabilities", outputs, np.float32, (count,))
        return
    deviation, mean = (graph.constant(target[key], key, np.float64) for key in ("deviation", "mean"))
    wide = graph.add("Add", graph.add("Mul", graph.cast(outputs, np.float64), deviation), mean)
    if count == 1:
        graph.output("prediction", graph.reshape(wide, ()), np.float64, ())
    else:
        graph.output("prediction", wide, np.float64, (count,))


def _table(graph: OnnxGraph, encoding: dict[str, Any], shape: Sequence[int]) -> str:
    """An input for each column, (samples, 1): float64 for numbers, strings for words."""
    columns = [
        (_words if "values" in feature else _numbers)(graph, feature) for feature in encoding["features"]
    ]
    return graph.add("Concat", *columns, axis=1)


def _numbers(graph: OnnxGraph, feature: dict[str, Any]) -> str:
    x = graph.input(feature["column"], np.float64, (1,))
    if feature["fill"] is not None:
        x = graph.add("Where", graph.add("IsNaN", x), graph.constant(feature["fill"], "fill", np.float64), x)
    return graph.cast(_standardized(graph, x, feature["mean"], feature["deviation"]), np.float32)


def _words(graph: OnnxGraph, feature: dict[str, Any]) -> str:
    """One input for each word; where a missing one is filled, '' stands for that."""
    x = graph.input(feature["column"], np.object_, (1,))
    values, fill = list(feature["values"]), feature["fill"]
    filled = fill is not None and "" not in values
    known = [*values, ""] if filled else values
    places = graph.add(
        "OneHotEncoder", graph.reshape(x, ()), domain="ai.onnx.ml", cats_strings=known, zeros=1
    )
    if filled:
        becomes = np.eye(len(known), len(values), dtype=np.float32)
        becomes[-1, values.index(fill)] = 1.0
        places = graph.add("MatMul", places, graph.constant(becomes, "fill"))
    return places


def _arrays(graph: OnnxGraph, encoding: dict[str, Any], shape: Sequence[int]) -> str:
    x = graph.input(encoding["names"][0] or "inputs", np.float32, shape)
    if not encoding["mean"]:
        return x
    mean, deviation = (np.reshape(encoding[key], shape) for key in ("mean", "deviation"))
    return graph.cast(_standardized(graph, graph.cast(x, np.float64), mean, deviation), np.float32)


def _images(graph: OnnxGraph, encoding: dict[str, Any], shape: Sequence[int]) -> str:
    """Pixels from 0 to 1."""
    return graph.input("images", np.float32, shape)


def _standardized(graph: OnnxGraph, x: str, mean: Any, deviation: Any) -> str:
    centred = graph.add("Sub", x, graph.constant(mean, "mean", np.float64))
    return graph.add("Div", centred, graph.constant(deviation, "deviation", np.float64))
