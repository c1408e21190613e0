"""A few steps of an optimizer on synthetic gradients, each part of a minibatch with its own: what all processes run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from neon_optim.distributed import Distributed

sys.path.append(str(Path(__file__).parents[1] / "optimizers"))
from rows import ROWS

__all__ = ["PARTS", "ROWS", "options_of", "train"]

PARTS = 8
SHAPES = [(100, 1400), (7,), (20, 30), (3, 4, 5)]
"""Three chunks of sums in the first; a rule that needs whole tensors gives each to one process."""


def options_of(row):
    """What is set beside the row's own: clipping by the norm of all, and coarse stochastic rounding of every store."""
    composed = row.name in ("MultiOptimizer", "EMA", "Lookahead", "GradientAccumulation", "StepSize")
    return {} if composed else {"gradient_clip_norm": 0.5, "stochastic_round": 9}


def train(make, comm=None, parts=PARTS, steps=2, shapes=SHAPES, seed=0, **options):
    """Parameters, and the whole states on the first process, after some steps; and the optimizer."""
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
    with optimizer.saving(layers):
        states = [[np.array(state) for state in states] for _, states in layers]
    return arrays, states, optimizer
