"""A loader of aeon as neon's models want it: minibatches as tensors of features × samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_optim.compat.neon.data.dataloader_transformers import DataLoaderTransformer
from neon_optim.errors import DataError

__all__ = ["DataLoaderAdapter"]


class DataLoaderAdapter(DataLoaderTransformer):
    """Minibatches of aeon's loader, pairs (name, array), as tuples of tensors.

    Arguments:
        dataloader: with ``ndata``, ``axes_info``, ``config`` and iteration, as aeon's ``DataLoader`` has them.
    """

    def __init__(self, dataloader: Any) -> None:
        super().__init__(dataloader, None)
        self.shape = self.shapes()[0]
        self.nbatches = -(-dataloader.ndata // self.be.bsz)
        self.outputs: dict[str, Any] = {}
        for part in dataloader.config["etl"]:
            if part["type"] == "audio":
                self.max_duration = _samples(part["max_duration"], part["sample_freq_hz"])

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of a sample for each part of a minibatch."""
        return tuple(tuple(size for _, size in axes) for _, axes in self.dataloader.axes_info)

    def transform(self, t: Any) -> tuple[Any, ...]:
        """Arrays of (be.bsz, …) as tensors of (…, be.bsz); lengths of audio in percent of the longest."""
        for name, value in t:
            if value.shape[0] != self.be.bsz:
                raise DataError(f"{name!r} has {value.shape[0]} samples, a minibatch has {self.be.bsz}")
            if name == "audio_length":
                value = (value / self.max_duration * 100).astype(np.uint8)
            if name == "char_map":
                array = value[value != 0].reshape(1, -1)
            else:
                array = value.reshape(self.be.bsz, -1).T
            self.outputs[name] = self.be.array(np.ascontiguousarray(array), dtype=value.dtype)
        return tuple(self.outputs.values())


def _samples(duration: str, frequency: float) -> float:
    """A duration of aeon's, '3 seconds', as a number of samples of audio."""
    units = {"samples": 1.0, "seconds": frequency, "milliseconds": frequency / 1000}
    number, _, unit = duration.partition(" ")
    if unit not in units:
        raise DataError(f"a duration has one of the units {', '.join(units)}, received {duration!r}")
    return float(number) * units[unit]
