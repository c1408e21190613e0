"""A small run, and what it left."""

from __future__ import annotations

import json
from pathlib import Path

from neon_optim.serialization import load_checkpoint
from neon_optim.serialization.checkpoint.manager import CheckpointManager

ROOT = Path(__file__).parents[2]

#: 23 minibatches of 64 in an epoch, the last of 30; Dropout, so that random numbers count.
CONFIG = """\
engine: numpy
epochs: 4
batchsize: 64
rng_seed: 3
dataset: {name: digits}
checkpoint: {every_steps: 7, keep_last: 4}
layers:
- {type: Dropout, config: {keep: 0.9}}
- type: Affine
  config: {nout: 16, init: {type: Kaiming}, bias: {type: Constant}, activation: {type: Rectlin}}
- type: Affine
  config: {nout: 10, init: {type: GlorotUniform}, activation: {type: Softmax}}
cost: CrossEntropyMulti
optimizer:
  type: Adam
  config: {learning_rate: 0.01, schedule: {type: Schedule, config: {step_config: [2], change: 0.5}}}
"""


def final_arrays(folder):
    """(epoch, the bytes of every array by name) of the newest checkpoint of a run."""
    found = load_checkpoint(CheckpointManager(Path(folder) / "checkpoints").latest())
    return found.epoch, {name: array.tobytes() for name, array in found.arrays.items()}


def log_of(folder):
    """The lines of the metrics log of a run, but for the seconds."""
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
