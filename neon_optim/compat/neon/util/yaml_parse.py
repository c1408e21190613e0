"""neon.util.yaml_parse: models that neon's YAML files describe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.compat.descriptions import class_of
from neon_optim.compat.neon.layers.container import Sequential
from neon_optim.compat.neon.layers.layer import GeneralizedCost
from neon_optim.compat.neon.models.model import Model
from neon_optim.described.object import NervanaObject
from neon_optim.errors import BackendError, ConfigError
from neon_optim.serialization.config.yaml_tree import parse_yaml

__all__ = ["create_objects", "format_yaml_dict"]


def format_yaml_dict(yamldict: dict[str, Any], type_prefix: str) -> dict[str, Any]:
    """Put a module path before the type of a description, in place."""
    yamldict["type"] = type_prefix + yamldict["type"]
    return yamldict


def create_objects(
    root_yaml: Any,
    be_type: str = "gpu",
    batch_size: int = 128,
    rng_seed: int | None = None,
    device_id: int = 0,
    default_dtype: Any = np.float32,
    stochastic_rounding: bool | int = False,
) -> tuple[Any, Any, Any]:
    """The model, the cost and the optimizer of a YAML file; the optimizer is None where the file has none.

    Arguments:
        root_yaml: the path of the file, or what is in it.
        be_type, batch_size, rng_seed, device_id, default_dtype, stochastic_rounding: neon's; without effect, there too.

    Raises:
        BackendError: there is no backend yet.
        ConfigError: the file is no YAML, or has no layers or no cost.
    """
    if NervanaObject.be is None:
        raise BackendError("no backend: call gen_backend() before create_objects()")
    where = "the dict"
    if isinstance(root_yaml, (str, os.PathLike)):
        where = os.fspath(root_yaml)
        root_yaml = parse_yaml(Path(root_yaml).read_text(encoding="utf-8"), where)
    for key in ("layers", "cost"):
        if not isinstance(root_yaml, dict) or key not in root_yaml:
            raise ConfigError(f"{where} has no '{key}'")
    model = Model(layers=Sequential.gen_class({"layers": root_yaml["layers"]}))
    cost = GeneralizedCost.gen_class({"costfunc": {"type": root_yaml["cost"]}})
    described = root_yaml.get("optimizer")
    if described is None:
        return model, cost, None
    return model, cost, class_of(described["type"]).gen_class(described.get("config") or {})
