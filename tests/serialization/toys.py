"""Small classes of each kind, for tests of configs that need no model stack."""

from __future__ import annotations

from neon_optim.described.arguments import (
    AnySchedule,
    Flag,
    Fraction,
    Name,
    Positive,
    PositiveInt,
    RoundBits,
    Scheduled,
)
from neon_optim.described.object import NervanaObject
from neon_optim.described.registry import register


class ToySchedule(NervanaObject, kind="schedule"):
    def __init__(self, steps: int | list[int] | None = None, change: Positive = 1.0) -> None:
        super().__init__()
        self.steps, self.change = steps, change

    def get_learning_rate(self, learning_rate: float, epoch: int) -> float:
        return learning_rate


class ToyRule(NervanaObject, kind="optimizer", abstract=True):
    def __init__(self, name: Name = None, *, schedule: AnySchedule | None = None, wdecay: Fraction = 0.0):
        super().__init__(name)
        self.schedule, self.wdecay = schedule, wdecay


class ToyAdam(ToyRule):
    def __init__(
        self,
        stochastic_round: RoundBits = False,
        learning_rate: Scheduled[Positive] = 0.001,
        nesterov: Flag = False,
        name: Name = "toy",
        **options,
    ) -> None:
        super().__init__(name, **options)
        self.stochastic_round, self.learning_rate, self.nesterov = stochastic_round, learning_rate, nesterov


class ToyMulti(ToyRule):
    def __init__(self, optimizer_mapping: dict[str, ToyRule], name: Name = None) -> None:
        super().__init__(name)
        self.optimizer_mapping = optimizer_mapping


class ToyInit(NervanaObject, kind="initializer"):
    def __init__(self, scale: Positive = 1.0, name: Name = "toyinit") -> None:
        super().__init__(name)
        self.scale = scale


class ToyLinear(NervanaObject, kind="layer"):
    def __init__(self, nout: PositiveInt, init: ToyInit, name: Name = None) -> None:
        super().__init__(name)
        self.nout, self.init = nout, init


class ToyFragile(NervanaObject, kind="layer"):
    def __init__(self, how: str = "key") -> None:
        super().__init__("fragile")
        raise KeyError(how)


class ToyCost(NervanaObject, kind="cost"):
    def __init__(self) -> None:
        super().__init__("toycost")


@register(name="toydata")
class ToyData(NervanaObject, kind="dataset"):
    def __init__(self, samples: PositiveInt = 10) -> None:
        super().__init__("toydata")
        self.samples = samples


MODEL = """\
wt_init: &norm1
  type: ToyInit
  config:
    scale: 0.01
layers:
- type: ToyLinear
  config:
    nout: 100
    init: *norm1
- type: ToyLinear
  config: {nout: 10, init: *norm1}
cost: ToyCost
optimizer:
  type: ToyAdam
  config:
    learning_rate: 1e-3
dataset: {name: toydata}
epochs: 3
batchsize: 32
"""
