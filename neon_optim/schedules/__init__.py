"""Learning-rate schedules: pure functions of a base rate and of time."""

from neon_optim.schedules.neon import (
    ExpSchedule,
    PolySchedule,
    PowerSchedule,
    Schedule,
    ShiftSchedule,
    StepSchedule,
)
from neon_optim.schedules.schedule import BaseSchedule

__all__ = [
    "BaseSchedule",
    "ExpSchedule",
    "PolySchedule",
    "PowerSchedule",
    "Schedule",
    "ShiftSchedule",
    "StepSchedule",
]
