"""The weights of a file that its model was validated with, where they are others than those that were trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from neon_optim.backends import cleanup_backend, gen_backend
from neon_optim.backends.dtypes import float_dtype
from neon_optim.described.build import from_description
from neon_optim.described.object import NervanaObject
from neon_optim.errors import CheckpointError, NeonOptimError, printable, shown
from neon_optim.serialization.checkpoint.archive import Arrays
from neon_optim.serialization.checkpoint.training_state import TrainingState
from neon_optim.stepping.parameters import NamedParameter

__all__ = ["WEIGHTS", "check_weights", "evaluated_arrays"]

WEIGHTS = ("evaluated", "raw")


def check_weights(weights: Any) -> None:
    """Refuse what is none of the two."""
    if weights not in WEIGHTS:
        raise CheckpointError(
            f"weights must be one of {', '.join(map(repr, WEIGHTS))}, received {shown(weights)}"
        )


def evaluated_arrays(arrays: Mapping[str, np.ndarray], found: TrainingState, file: str) -> Arrays:
    """Name → array for each parameter that is not evaluated as it was trained: of an average, say.

    The optimizer, rebuilt from its description, computes them as ``optimizer.evaluation()`` does, with the same bits.

    Raises:
        CheckpointError: the optimizer cannot be rebuilt, or keeps other states.
    """
    wanted = {
        name: record
        for name, record in found.parameters.items()
        if record.evaluated is not None and all(key in arrays for key in (name, *record.arrays(name)))
    }
    if not wanted:
        return {}
    made: Arrays = {}
    try:
        if found.description is None:
            raise CheckpointError("it describes no optimizer")
        optimizer = from_description(found.description, "optimizer")
        with _some_backend() as be:
            for name, record in wanted.items():
                layer, layer_class, own = record.evaluated or ("", None, "")
                array = arrays[name]
                rule = optimizer.rule_for(NamedParameter(layer, layer_class, own, ((array, array), [])))
                if tuple(rule.slots) != record.slots:
                    raise CheckpointError(
                        f"{rule.classnm} keeps {list(rule.slots)}, not {list(record.slots)}"
                    )
                values = [arrays[key] for key in (name, *record.arrays(name))]
                tensors = [be.array(value, float_dtype(value.dtype)) for value in values]
                tree = rule.evaluated(*tensors)
                if tree is not None:
                    tensors[0][:] = tree
                    made[name] = tensors[0].get().reshape(array.shape)
    except Exception as error:  # whatever a class makes of a file
        reason = printable(str(error) if isinstance(error, NeonOptimError) else repr(error))
        raise CheckpointError(
            f"{file}: the weights that it was validated with cannot be computed: {reason}. "
            "weights='raw' takes them as they were trained."
        ) from error
    return made


@contextmanager
def _some_backend() -> Iterator[Any]:
    """The current backend; where there is none, one for the time being."""
    if NervanaObject.be is not None:
        yield NervanaObject.be
        return
    try:
        yield gen_backend("cpu", engine="numpy", batch_size=1)
    finally:
        cleanup_backend()
