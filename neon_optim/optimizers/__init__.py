"""Optimizers: one algorithm a file, its math written once as algebra."""

from neon_optim.optimizers.adabelief import AdaBelief
from neon_optim.optimizers.adadelta import Adadelta
from neon_optim.optimizers.adafactor import Adafactor
from neon_optim.optimizers.adagrad import Adagrad
from neon_optim.optimizers.adam import Adam
from neon_optim.optimizers.adamax import Adamax
from neon_optim.optimizers.adamw import AdamW
from neon_optim.optimizers.ema import EMA
from neon_optim.optimizers.gradient_accumulation import GradientAccumulation
from neon_optim.optimizers.gradient_descent_momentum import GradientDescentMomentum
from neon_optim.optimizers.lamb import LAMB
from neon_optim.optimizers.lars import LARS
from neon_optim.optimizers.lion import Lion
from neon_optim.optimizers.lookahead import Lookahead
from neon_optim.optimizers.multi_optimizer import MultiOptimizer
from neon_optim.optimizers.muon import Muon
from neon_optim.optimizers.nadam import NAdam
from neon_optim.optimizers.optimizer import Optimizer
from neon_optim.optimizers.radam import RAdam
from neon_optim.optimizers.rmsprop import RMSProp
from neon_optim.optimizers.rprop import Rprop
from neon_optim.optimizers.schedule_free import ScheduleFreeAdamW
from neon_optim.optimizers.sgd import SGD
from neon_optim.optimizers.shift_ada_max import ShiftAdaMax
from neon_optim.optimizers.wrapper import Wrapper
from neon_optim.optimizers.yogi import Yogi
from neon_optim.schedules import (
    ExpSchedule,
    PolySchedule,
    PowerSchedule,
    Schedule,
    ShiftSchedule,
    StepSchedule,
)
from neon_optim.stepping.bound import BoundOptimizer
from neon_optim.stepping.parameters import get_param_list

__all__ = [
    "EMA",
    "LAMB",
    "LARS",
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "BoundOptimizer",
    "ExpSchedule",
    "GradientAccumulation",
    "GradientDescentMomentum",
    "Lion",
    "Lookahead",
    "MultiOptimizer",
    "Muon",
    "NAdam",
    "Optimizer",
    "PolySchedule",
    "PowerSchedule",
    "RAdam",
    "RMSProp",
    "Rprop",
    "Schedule",
    "ScheduleFreeAdamW",
    "ShiftAdaMax",
    "ShiftSchedule",
    "StepSchedule",
    "Wrapper",
    "Yogi",
    "get_param_list",
]
