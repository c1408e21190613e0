"""A few steps of an optimizer on synthetic gradients, each part of a minibatch with its own: what all processes run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from neon_optim.distributed import Distributed

sys.path.append(str(Path(__file__).parents[1] / "optimizers"))
from rows import ROWS

__all__ = ["PARTS", "ROWS", "options_of", "train", "whole_states"]

PARTS = 8
SHAPES = [(40, 1700), (7,), (20, 30), (3, 4, 5)]
"""Two chunks of sums in the first; a rule that needs whole tensors gives each to one process."""


def options_of(row):
    """What is set beside the row's own: clipping by the norm of all, and coarse stochastic rounding of every store."""
    composed = row.name in ("MultiOptimizer", "EMA", "Lookahead", "GradientAccumulation", "StepSize")
    return {} if composed else {"gradient_clip_norm": 0.5, "stochastic_round": 9}


def train(make, comm=None, parts=PARTS, steps=2, shapes=SHAPES, seed=0, **options):
    """Parameters and the shares of the states after some steps, and the optimizer."""
    optimizer = Distributed(make(), comm, parts, bucket_mb=0.2, **options)
    start = np.random.RandomState(seed)
    arrays = [start.standard_normal(shape).astype(np.float32) for shape in shapes]
    layers = [((array, np.zeros_like(array)), []) for array in arrays]
    for step in range(steps):
        for part in optimizer.own_parts:
            draw = np.random.RandomState(1000 * step + part + 1)
            for (_, grad), _ in layers:
                grad[:] = draw.standard_normal(grad.shape)
            if part != optimizer.own_parts[-1]:
                optimizer.add(layers)
        optimizer.optimize(layers, epoch=step)
    states = [
        [_share(state) for state in parameter.value[1]] for parameter, _ in optimizer.named_parameters(layers)
    ]
    return arrays, states, optimizer


def _share(state):
    """Where the elements begin that a process has of a state, and these."""
    return getattr(state, "start", 0), np.array(getattr(state, "values", state)).reshape(-1)


def whole_states(results):
    """The states of all processes, put together."""
    of_parameters = zip(*(states for _, states, _ in results), strict=True)
    return [
        [
            np.concatenate(
                [values for _, values in sorted(shares, key=lambda share: share[0]) if values.size] or [[]]
            )
            for shares in zip(*of_processes, strict=True)
        ]
        for of_processes in of_parameters
    ]
