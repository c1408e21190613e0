"""Runs of every kind, saved at every step by one process and continued by another.

``python resume_matrix.py save FOLDER PART PARTS`` runs each case to its end, saves it after every step, and prints the
digests of the final arrays; ``resume`` starts each case anew from each of these files, and once without a file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from typing import Any

import numpy as np

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described.build import from_description
from neon_optim.serialization import load_checkpoint, save_checkpoint

STEPS = 5
SHAPES = [(5, 4), (3, 5), (5, 1)]
MULTI = {
    "default": {"type": "Adam", "config": {"learning_rate": 0.05}},
    "bias": {"type": "GradientDescentMomentum", "config": {"learning_rate": 0.1, "momentum_coef": 0.9}},
}
ADAM = {"type": "Adam", "config": {"learning_rate": 0.05, "gradient_clip_norm": 0.5}}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "GradientDescentMomentum": {"learning_rate": 0.1, "momentum_coef": 0.9, "wdecay": 0.01},
    "RMSProp": {"learning_rate": 0.05},
    "Adagrad": {"learning_rate": 0.1},
    "Adadelta": {},
    "Adam": {"learning_rate": 0.05},
    "ShiftAdaMax": {"learning_rate": 0.05},
    "MultiOptimizer": {"optimizer_mapping": MULTI},
    **{
        name: {"learning_rate": 0.05}
        for name in ("AdamW", "Adamax", "NAdam", "RAdam", "AdaBelief", "Yogi", "Rprop")
    },
    **{
        name: {"learning_rate": 0.05}
        for name in ("Lion", "LAMB", "LARS", "Adafactor", "Muon", "ScheduleFreeAdamW")
    },
    "EMA": {"optimizer": ADAM, "decay": 0.9},
    "Lookahead": {"optimizer": ADAM, "every": 2},
    "GradientAccumulation": {"optimizer": {"type": "EMA", "config": {"optimizer": ADAM}}, "every": 2},
    "SGD": {"learning_rate": 0.05, "momentum_coef": 0.9, "nesterov": True},
}
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "norm clipped": {"gradient_clip_norm": 0.5},
    "values clipped": {"gradient_clip_value": 0.05, "param_clip_value": 0.6},
    "rounding": {"stochastic_round": 6},
}
SCHEDULES: dict[str, dict[str, Any] | None] = {
    "constant": None,
    "Schedule": {"type": "Schedule", "config": {"step_config": [1, 2], "change": 0.5}},
    "PolySchedule": {"type": "PolySchedule", "config": {"total_epochs": 4, "power": 2.0}},
    "Plateau": {"type": "Plateau", "config": {"patience": 0}},
}
DTYPES = ["f4", "f8", "f2"]
ENGINES = ["numpy", "numba"]
COMPOSED = ["MultiOptimizer", "EMA", "Lookahead", "GradientAccumulation"]
NEONS = list(OPTIMIZERS)[:7]


class Layer:
    def __init__(self, number: int, dtype: str, seed: int) -> None:
        random = np.random.default_rng([seed, number])
        self.name = "bias" if SHAPES[number][1] == 1 else f"layer_{number}"
        self.param = random.uniform(-1, 1, SHAPES[number]).astype(dtype)
        self.grad, self.states = np.zeros(SHAPES[number], dtype), []  # type: ignore[var-annotated]

    def get_params(self) -> tuple:
        return (self.param, self.grad), self.states


def cases() -> list[tuple[str, str, str, str, str]]:
    """Every optimizer with every clipping, schedule and dtype, the engines in turns; neon's on both engines."""
    found = []
    for number, (name, extra, schedule, dtype) in enumerate(
        itertools.product(OPTIMIZERS, EXTRAS, SCHEDULES, DTYPES)
    ):
        if name in COMPOSED and (extra, schedule) != ("plain", "constant"):
            continue
        engines = ENGINES if name in NEONS else [ENGINES[(number + number // len(DTYPES)) % 2]]
        found += [(name, extra, schedule, dtype, engine) for engine in engines]
    return found


def build(name: str, extra: str, schedule: str) -> Any:
    config = {**OPTIMIZERS[name], **EXTRAS[extra]}
    if SCHEDULES[schedule] is not None:
        config["schedule"] = SCHEDULES[schedule]
    return from_description({"type": name, "config": config})


def train(optimizer: Any, layers: list[Layer], steps: range) -> None:
    for step in steps:
        random = np.random.default_rng(step)
        for layer in layers:
            layer.grad[:] = random.standard_normal(layer.grad.shape)
        optimizer.optimize(layers, epoch=step // 2)
        if getattr(optimizer, "schedule", None) is not None:
            optimizer.schedule.observe(1.0)


def digest(layers: list[Layer]) -> str:
    found = hashlib.sha256()
    for layer in layers:
        for array in (layer.param, *layer.states):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def run(phase: str, folder: str, case: tuple[str, str, str, str, str], number: int) -> list[str]:
    name, extra, schedule, dtype, engine = case
    if phase == "cross":
        engine = ENGINES[1 - ENGINES.index(engine)]
    files = [os.path.join(folder, f"{number}-{step}") for step in range(1, STEPS)]
    gen_backend("cpu", rng_seed=1 if phase == "save" else None, batch_size=2, engine=engine)
    if phase == "save":
        optimizer, layers = build(name, extra, schedule), [Layer(k, dtype, 0) for k in range(len(SHAPES))]
        for step, file in enumerate(files):
            train(optimizer, layers, range(step, step + 1))
            save_checkpoint(file, optimizer=optimizer, layers=layers, epoch=(step + 1) // 2)
        train(optimizer, layers, range(STEPS - 1, STEPS))
        return [digest(layers)]
    digests = []
    for step, file in enumerate(files, 1):
        optimizer, layers = build(name, extra, schedule), [Layer(k, dtype, 1) for k in range(len(SHAPES))]
        load_checkpoint(file, optimizer=optimizer, layers=layers)
        train(optimizer, layers, range(step, STEPS))
        digests.append(digest(layers))
    optimizer, layers = build(name, extra, schedule), [Layer(k, dtype, 0) for k in range(len(SHAPES))]
    train(optimizer, layers, range(STEPS - 1, STEPS))
    return [*digests, digest(layers)]


def main(phase: str, folder: str, part: int, parts: int) -> dict[str, list[str]]:
    found = {}
    for number, case in enumerate(cases()):
        if number % parts == part:
            found["/".join(case)] = run(phase, folder, case, number)
            cleanup_backend()
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
