"""Schedules: learning rates and other hyper-parameters as functions of time."""

from neon_optim.schedules.composed import Chain, Piecewise, Sequential, Warmup
from neon_optim.schedules.cycles import CosineRestarts, Cyclic, OneCycle
from neon_optim.schedules.decay import Constant, Cosine, Exponential, Linear, Polynomial
from neon_optim.schedules.neon import (
    ExpSchedule,
    PolySchedule,
    PowerSchedule,
    Schedule,
    ShiftSchedule,
    StepSchedule,
)
from neon_optim.schedules.plateau import Plateau
from neon_optim.schedules.schedule import BaseSchedule

__all__ = [
    "BaseSchedule",
    "Chain",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "ExpSchedule",
    "Exponential",
    "Linear",
    "OneCycle",
    "Piecewise",
    "Plateau",
    "PolySchedule",
    "Polynomial",
    "PowerSchedule",
    "Schedule",
    "Sequential",
    "ShiftSchedule",
    "StepSchedule",
    "Warmup",
]
