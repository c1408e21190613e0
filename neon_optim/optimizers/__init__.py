"""Optimizers: one algorithm a file, its math written once as algebra."""

from neon_optim.optimizers.adadelta import Adadelta
from neon_optim.optimizers.adagrad import Adagrad
from neon_optim.optimizers.adam import Adam
from neon_optim.optimizers.gradient_descent_momentum import GradientDescentMomentum
from neon_optim.optimizers.multi_optimizer import MultiOptimizer
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.optimizers.rmsprop import RMSProp
from neon_optim.optimizers.shift_ada_max import ShiftAdaMax
from neon_optim.parameters import get_param_list
from neon_optim.schedules import (
    ExpSchedule,
    PolySchedule,
    PowerSchedule,
    Schedule,
    ShiftSchedule,
    StepSchedule,
)

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "ExpSchedule",
    "GradientDescentMomentum",
    "MultiOptimizer",
    "Optimizer",
    "PolySchedule",
    "PowerSchedule",
    "RMSProp",
    "Schedule",
    "ShiftAdaMax",
    "ShiftSchedule",
    "StepSchedule",
    "get_param_list",
]
