"""A trained run as a file of another program: ONNX, safetensors for PyTorch, or an archive of arrays."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.errors import RunError
from neon_optim.export.onnx_encoding import append_answers, append_inputs
from neon_optim.export.onnx_graph import OnnxGraph
from neon_optim.export.onnx_layers import append_layers
from neon_optim.export.torch_layers import TorchModules
from neon_optim.runs import Run
from neon_optim.serialization.durable import replacing

__all__ = ["check_export", "export_run"]


def export_run(run: Run, path: str | os.PathLike[str], *, overwrite: bool = False) -> str:
    """Write the model of a run, with the weights that were validated; what the file is its ending says.

    Arguments:
        run: what :func:`neon_optim.load_run` gives.
        path: ``.onnx``: the model with all that is done before and after it, from raw values to classes;
            ``.safetensors``: the ``state_dict()`` of the ``torch.nn.Sequential`` whose Python text stands in its
            metadata as ``torch``; ``.npz``: parameters, and what layers keep beside them, as ``layer/array``, and
            all that describes them as JSON in ``about``.
        overwrite: replace a file that exists.

    Returns:
        The path.

    Raises:
        RunError: the file exists, has another ending or cannot be written, or a layer has no form there.
    """
    made = _WRITERS[check_export(path, overwrite)](run)
    with replacing(path) as file:
        file.write(made)
    return os.fspath(path)


def check_export(path: str | os.PathLike[str], overwrite: bool = False) -> str:
    """Refuse a file that cannot be written, before there is work to lose; else its ending."""
    place = Path(path)
    ending = place.suffix.lower()
    if ending not in _WRITERS:
        raise RunError(f"{place}: a model is exported to a file that ends in {', '.join(_WRITERS)}")
    if os.path.lexists(place) and not overwrite:
        raise RunError(f"{place} exists already; nothing was changed")
    if not place.parent.is_dir():
        raise RunError(f"{place}: there is no folder {str(place.parent)!r}")
    return ending


def _about(run: Run) -> dict[str, str]:
    """What describes a run beside its arrays, as texts."""
    encoding = run.encoding.to_json()
    target = encoding["target"]
    classes = {"classes": json.dumps(target["labels"])} if target["kind"] == "classes" else {}
    return {
        **classes,
        "target": target["name"],
        "encoding": json.dumps(encoding),
        "config": json.dumps(run.config),
        "epoch": str(run.epoch),
        "step": str(run.step),
    }


def _as_onnx(run: Run) -> bytes:
    graph, encoding = OnnxGraph(), run.encoding.to_json()
    inputs = append_inputs(graph, encoding, run.encoding.shape)
    datatype = str(run.config.get("datatype"))
    if datatype in ("float16", "bfloat16"):  # which is how a model of that type takes them
        inputs = graph.rounded(inputs, datatype)
    layers = run.model.layers
    outputs = append_layers(graph, layers, inputs)
    if len(layers.out_shape) > 1:
        outputs = graph.reshape(outputs, (layers.nout,))
    append_answers(graph, encoding["target"], outputs, layers.nout)
    return graph.serialized(_about(run))


def _as_safetensors(run: Run) -> bytes:
    try:
        from safetensors.numpy import save
    except ImportError:
        raise RunError(
            "safetensors files are written by the package safetensors, which is not installed: "
            "pip install 'neon_optim[export]'"
        ) from None
    modules = TorchModules(run.model.layers)
    return bytes(save(modules.arrays, metadata={"format": "pt", "torch": modules.text, **_about(run)}))


def _as_npz(run: Run) -> bytes:
    arrays: dict[str, Any] = {row.path: row.value[0][0].get() for row in run.model.parameters()}
    arrays |= {name: array.get() for name, array in run.model.get_arrays(inference=True).items()}
    made = io.BytesIO()
    np.savez(made, **arrays, about=np.array(json.dumps(_about(run))))
    return made.getvalue()


_WRITERS: dict[str, Callable[[Run], bytes]] = {
    ".onnx": _as_onnx,
    ".safetensors": _as_safetensors,
    ".npz": _as_npz,
}
