"""neon.util.load_experiment: a model with its callbacks and datasets out of one file."""

from __future__ import annotations

import logging
from typing import Any

from neon_optim.compat.neon.callbacks.callbacks import Callbacks
from neon_optim.compat.neon.models.model import Model
from neon_optim.compat.neon.util.persist import load_class, load_obj
from neon_optim.errors import CheckpointError

__all__ = ["deserialize"]

_log = logging.getLogger(__name__)


def deserialize(fn: str, datasets: Any = None, inference: bool = False) -> tuple[Any, Any, Any]:
    """The model, the datasets by name, and the callbacks (or None) of a file of :func:`.persist.serialize`.

    Arguments:
        datasets: iterators by name, 'train' among them; they stand for those of the file.
        inference: take over the weights alone, without states.

    Raises:
        CheckpointError: the file has no datasets, and none are given.
    """
    content = load_obj(fn)
    if datasets is not None:
        _log.warning("the datasets of %s are left out, as others are given", fn)
    elif "datasets" in content:
        described = content["datasets"]
        datasets = load_class(described["type"]).gen_class(described["config"]).gen_iterators()
    else:
        raise CheckpointError(f"{fn} has no datasets: give some")
    if "train" not in datasets:
        _log.warning("there is no 'train' among the datasets: %s", ", ".join(datasets))
    model = Model(content, weights_only=inference)
    if "callbacks" not in content:
        return model, datasets, None
    callbacks = content["callbacks"]
    for callback in callbacks["callbacks"]:
        config = callback.setdefault("config", {})
        for name, value in config.items():
            if isinstance(value, dict) and value.get("type") == "Data":
                config[name] = datasets.get(value["name"])
    return model, datasets, Callbacks.load_callbacks(callbacks, model)
