"""The rows of the test matrix: one for each optimizer. A new optimizer is one file and one row here.

``config`` is what it converges with; ``other`` are arguments unlike their defaults, for descriptions and restarts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from neon_optim.described.build import from_description


@dataclass(frozen=True)
class Row:
    name: str
    config: dict[str, Any]
    other: dict[str, Any] = field(default_factory=dict)
    own_schedule: bool = False

    def make(self, **options: Any) -> Any:
        return from_description({"type": self.name, "config": {**self.config, **options}}, "optimizer")


INNER = {"type": "AdamW", "config": {"learning_rate": 0.1, "wdecay": 0.0}}
LINEAR = {"type": "Linear", "config": {"length": 8, "start": 0.9, "end": 0.5, "unit": "step"}}

ROWS = [
    Row(
        "GradientDescentMomentum",
        {"learning_rate": 2e-3, "momentum_coef": 0.9},
        {"nesterov": True, "momentum_coef": LINEAR, "wdecay": 0.1},
    ),
    Row(
        "SGD",
        {"learning_rate": 2e-3, "momentum_coef": 0.9},
        {"dampening": 0.5, "wdecay": LINEAR},
    ),
    Row(
        "RMSProp",
        {"learning_rate": 0.05},
        {"centered": True, "momentum_coef": LINEAR, "epsilon_inside": False},
    ),
    Row("Adagrad", {"learning_rate": 0.5}, {"epsilon": 1e-3}),
    Row("Adadelta", {"epsilon": 1e-3}, {"decay": LINEAR}),
    Row("Adam", {"learning_rate": 0.1}, {"beta_1": LINEAR, "amsgrad": True, "epsilon_hat": False}),
    Row("AdamW", {"learning_rate": 0.1, "wdecay": 0.0}, {"beta_2": LINEAR, "amsgrad": True, "wdecay": 0.1}),
    Row("Adamax", {"learning_rate": 0.1}, {"beta_2": LINEAR}),
    Row(
        "NAdam",
        {"learning_rate": 0.1},
        {"beta_1": LINEAR, "momentum_decay": 0.1, "decoupled_weight_decay": True},
    ),
    Row(
        "RAdam",
        {"learning_rate": 0.1, "gradient_clip_norm": 1.0},
        {"beta_2": 0.8, "decoupled_weight_decay": True, "wdecay": 0.1},
    ),
    Row("ShiftAdaMax", {"learning_rate": 0.05}, {"beta_1": LINEAR}),
    Row("Lion", {"learning_rate": 0.05}, {"beta_1": LINEAR, "wdecay": 0.1}),
    Row("LAMB", {"learning_rate": 0.1}, {"beta_1": LINEAR, "eps_root": 0.1, "wdecay": 0.1}),
    Row(
        "LARS",
        {"learning_rate": 1.0, "trust_coefficient": 0.01},
        {"momentum_coef": LINEAR, "nesterov": True, "wdecay": 0.1},
    ),
    Row("AdaBelief", {"learning_rate": 0.1}, {"beta_1": LINEAR, "nesterov": True}),
    Row("Yogi", {"learning_rate": 0.1}, {"beta_2": LINEAR, "initial_accumulator_value": 0.1}),
    Row("Rprop", {"learning_rate": 0.01}, {"etas": [0.3, 1.5], "step_sizes": [1e-3, 0.1]}),
    Row(
        "Muon",
        {"learning_rate": 0.1, "wdecay": 0.0},
        {"nesterov": False, "momentum_coef": LINEAR, "ns_steps": 3},
    ),
    Row(
        "Adafactor",
        {"learning_rate": 0.3},
        {"beta2_decay": -0.5, "d": 2.0, "epsilon": [1e-6, 0.1], "wdecay": 0.1},
    ),
    Row(
        "ScheduleFreeAdamW",
        {"learning_rate": 0.1},
        {"beta_1": 0.8, "warmup_steps": 4, "r": 1.0, "wdecay": 0.1, "beta_2": LINEAR},
        own_schedule=True,
    ),
    Row(
        "MultiOptimizer",
        {"optimizer_mapping": {"default": INNER}},
        {
            "optimizer_mapping": {
                "default": {"type": "Lion"},
                "b*": {"type": "MultiOptimizer", "config": {"optimizer_mapping": {"default": INNER}}},
            }
        },
        own_schedule=True,
    ),
    Row("EMA", {"optimizer": INNER, "decay": 0.9}, {"decay": LINEAR}, own_schedule=True),
    Row("Lookahead", {"optimizer": INNER}, {"every": 2, "alpha": LINEAR}, own_schedule=True),
    Row("GradientAccumulation", {"optimizer": INNER, "every": 1}, {"every": 3}, own_schedule=True),
]
