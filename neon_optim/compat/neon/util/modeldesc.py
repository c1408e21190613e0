"""neon.util.modeldesc: searching in what a model is saved as."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from neon_optim.compat.neon.util.persist import load_obj

__all__ = ["ModelDescription"]


class ModelDescription(dict):
    """What :meth:`Model.serialize` gives.

    Arguments:
        pdict: the dict, or the path of a file with it.

    Two are equal where the models in them are, names aside.
    """

    def __init__(self, pdict: Any):
        super().__init__(load_obj(pdict) if isinstance(pdict, str) else pdict)

    @property
    def version(self) -> str:
        """The version of neon that wrote it."""
        return str(self["neon_version"])

    def layers(self, field: str = "name", regex: str | None = None) -> list[Any]:
        """A setting of each layer that has it.

        Arguments:
            field: its name.
            regex: with what it must begin; None: any will do.
        """
        return self.find_layers(self["model"]["config"], field, regex)

    @staticmethod
    def find_layers(layers: Any, field: str, regex: Any = None) -> list[Any]:
        """:meth:`layers` of a container's ``config``."""
        pattern = None if regex is None else re.compile(regex)
        found = []
        for layer in layers["layers"]:
            config = layer["config"]
            if field in config and (pattern is None or pattern.match(config[field])):
                found.append(config[field])
            if "layers" in config:
                found += ModelDescription.find_layers(config, field, pattern)
        return found

    def getlayer(self, layer_name: str) -> Any:
        """The description of the layer of a name; None where there is none."""
        return self.find_by_name(self["model"]["config"], layer_name)

    @staticmethod
    def find_by_name(layers: Any, layer_name: str) -> Any:
        """:meth:`getlayer` in a container's ``config``."""
        for layer in layers["layers"]:
            config = layer.get("config", {})
            if config.get("name") == layer_name:
                return layer
            if "layers" in config:
                found = ModelDescription.find_by_name(config, layer_name)
                if found is not None:
                    return found
        return None

    @staticmethod
    def match(o1: Any, o2: Any) -> bool:
        """Whether two descriptions, or parts of such, are of the same type and equal, names aside."""
        same = ModelDescription.match
        if type(o1) is not type(o2):
            return False
        if isinstance(o1, dict):
            return o1.keys() == o2.keys() and all(key == "name" or same(o1[key], o2[key]) for key in o1)
        if isinstance(o1, (list, tuple)):
            return len(o1) == len(o2) and all(map(same, o1, o2))
        return np.array_equal(o1, o2) if isinstance(o1, np.ndarray) else bool(o1 == o2)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, dict)
            and "model" in self
            and "model" in other
            and (self.match(self["model"], other["model"]))
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None
