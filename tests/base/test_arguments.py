"""Constructor arguments are checked before __init__ runs, and every fault is told at once."""

from __future__ import annotations

import inspect
import math
import pickle
from fractions import Fraction as Rational
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neon_optim.described.arguments import (
    AnySchedule,
    Flag,
    Fraction,
    Name,
    NonNegative,
    Positive,
    PositiveInt,
    Real,
    RoundBits,
    Scheduled,
    argument_problems,
    check_of,
    constructor_arguments,
)
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, ArgumentTypeError, NeonOptimError, Position, Problem

if TYPE_CHECKING:
    from nowhere import Unknown


class Halving:
    def get_learning_rate(self, learning_rate: float, epoch: int) -> float:
        return learning_rate / 2**epoch


class Rule(NervanaObject):
    def __init__(self, name: Name = None, *, schedule: AnySchedule | None = None, wdecay: NonNegative = 0.0):
        super().__init__(name)
        self.schedule, self.wdecay = schedule, wdecay


class Momentum(Rule):
    built = 0

    def __init__(
        self,
        stochastic_round: RoundBits = False,
        learning_rate: Scheduled[Positive] = 0.1,
        momentum: Fraction = 0.9,
        steps: list[PositiveInt] | None = None,
        mode: Literal["sum", "mean"] = "sum",
        **options: Any,
    ) -> None:
        type(self).built += 1
        super().__init__(**options)
        self.stochastic_round, self.learning_rate, self.momentum = stochastic_round, learning_rate, momentum
        self.steps, self.mode = steps, mode


def accepts(annotation: Any, value: object) -> bool:
    return not list(check_of(annotation).faults(value))


def test_all_faults_are_told_at_once_and_init_does_not_run() -> None:
    before = Momentum.built
    with pytest.raises(ArgumentError) as caught:
        Momentum(learning_rat=1, momentum=1.0, mode="max", wdecay=-1)
    assert [(p.argument, p.received) for p in caught.value.problems] == [
        ("learning_rat", 1),
        ("momentum", 1.0),
        ("mode", "max"),
        ("wdecay", -1),
    ]
    assert Momentum.built == before
    assert str(caught.value).splitlines() == [
        "Momentum: 4 bad arguments",
        "  learning_rat is no argument of Momentum, received 1; did you mean 'learning_rate'?",
        "  momentum must be a number in [0, 1), received 1.0",
        "  mode must be one of 'sum', 'mean', received 'max'",
        "  wdecay must be a number >= 0, received -1",
    ]


def test_the_first_argument_is_stochastic_round() -> None:
    with pytest.raises(TypeError, match=r"pass learning_rate by name: Momentum\(learning_rate=0.01\)"):
        Momentum(0.01)
    with pytest.raises(TypeError) as caught:
        Momentum(stochastic_round=0.01)
    assert "by name" not in str(caught.value)


@pytest.mark.parametrize("bits", [False, True, 1, 23, np.True_, np.int32(8)])
def test_rounding_takes_a_flag_or_bits(bits: object) -> None:
    assert accepts(RoundBits, bits)


@pytest.mark.parametrize("bits", [0, 24, -1, 0.5, 8.0, "True", None])
def test_rounding_takes_nothing_else(bits: object) -> None:
    assert not accepts(RoundBits, bits)


def test_wrong_types_and_wrong_values_are_caught_as_such() -> None:
    with pytest.raises(TypeError):
        Momentum(learning_rate="0.1")
    with pytest.raises(ValueError):
        Momentum(learning_rate="0.1")
    with pytest.raises(ArgumentError) as caught:
        Momentum(learning_rate=-0.1)
    assert not isinstance(caught.value, TypeError)
    assert isinstance(caught.value, NeonOptimError)


def test_missing_repeated_and_surplus_arguments() -> None:
    class Needs(NervanaObject):
        def __init__(self, rate: Positive, power: Real = 1.0) -> None:
            super().__init__()

    with pytest.raises(TypeError, match="rate is missing; it must be a number > 0"):
        Needs()
    with pytest.raises(TypeError, match="rate is given twice"):
        Needs(1.0, rate=2.0)
    with pytest.raises(TypeError, match="argument 3 is one too many: Needs takes at most 2 positional"):
        Needs(1.0, 2.0, 3.0)


def test_what_a_subclass_gives_its_base_is_not_missing() -> None:
    class Needs(NervanaObject):
        def __init__(self, rate: Positive, power: Real = 1.0) -> None:
            super().__init__()
            self.rate, self.power = rate, power

    class Gives(Needs):
        def __init__(self, word: str, **options: Any) -> None:
            super().__init__(rate=3.0, **options)

    assert (Gives("a").rate, Gives("a", power=2.0).power) == (3.0, 2.0)
    with pytest.raises(TypeError, match="word is missing"):
        Gives()
    with pytest.raises(TypeError, match="power must be a number"):
        Gives("a", power="2")


def test_faults_inside_lists_and_mappings_have_a_path() -> None:
    with pytest.raises(ArgumentError, match=r"steps\[1\] must be an integer >= 1, received 0"):
        Momentum(steps=[3, 0])

    class Table(NervanaObject):
        def __init__(self, table: dict[str, list[Fraction]]) -> None:
            super().__init__()

    (problem,) = argument_problems(Table, ({"a": [0.1], "b": [0.2, 2]},))
    assert (problem.argument, problem.path, problem.received) == ("table", ("b", 1), 2)


def test_options_reach_the_base_class() -> None:
    names = ["stochastic_round", "learning_rate", "momentum", "steps", "mode", "name", "schedule", "wdecay"]
    assert list(constructor_arguments(Momentum)) == names
    assert list(inspect.signature(Momentum).parameters) == names
    assert inspect.signature(Momentum).parameters["wdecay"].kind is inspect.Parameter.KEYWORD_ONLY
    assert Momentum(wdecay=0.5).wdecay == 0.5


def test_a_class_that_passes_everything_on_takes_what_its_base_takes() -> None:
    class Renamed(Momentum):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    assert list(constructor_arguments(Renamed)) == list(constructor_arguments(Momentum))
    assert Renamed(8, 0.5).learning_rate == 0.5
    with pytest.raises(ArgumentError):
        Renamed(8, -0.5)


def test_an_annotation_that_cannot_be_evaluated_leaves_the_others_checked() -> None:
    class Half(NervanaObject):
        def __init__(self, odd: Unknown = None, rate: Positive = 1.0) -> None:
            super().__init__()

    Half(odd=object())
    with pytest.raises(ArgumentError):
        Half(rate=0)


def test_schedules_stand_where_numbers_stand() -> None:
    assert Momentum(learning_rate=Halving()).learning_rate.get_learning_rate(1.0, 1) == 0.5
    with pytest.raises(TypeError, match="learning_rate must be a number > 0 or a schedule"):
        Momentum(learning_rate=Halving)  # the class, not an object of it
    with pytest.raises(TypeError):
        Momentum(momentum=Halving())


@pytest.mark.parametrize("value", [True, np.True_, "1", None, [1.0], 1j, Rational(1, 2), np.array([1.0])])
def test_what_is_no_number(value: object) -> None:
    assert not accepts(Real, value)
    assert not accepts(PositiveInt, value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, np.float32("nan"), pytest.param(10**400, id="10**400")]
)
def test_numbers_are_finite(value: object) -> None:
    (fault,) = check_of(Real).faults(value)
    assert (fault.allowed, fault.wrong_type) == ("must be finite: a number", False)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_bounds_mean_what_they_say(value: float) -> None:
    assert accepts(Positive, value) == (value > 0)
    assert accepts(NonNegative, value) == (value >= 0)
    assert accepts(Fraction, value) == (0 <= value < 1)
    assert accepts(Real, np.float64(value))
    assert not accepts(PositiveInt, value)


@given(st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.lists(st.integers()), st.booleans()))
def test_every_value_is_judged_and_every_fault_can_be_told(value: object) -> None:
    for annotation in (
        Positive,
        Fraction,
        PositiveInt,
        Flag,
        RoundBits,
        Name,
        AnySchedule,
        Scheduled[Fraction],
    ):
        check = check_of(annotation)
        faults = list(check.faults(value))
        assert (check.verdict(value) is None) == (not faults)
        assert all(fault.allowed.startswith("must ") for fault in faults)


def test_errors_survive_pickling() -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        Momentum(learning_rate="x")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 (made here)
    assert str(again) == str(caught.value)
    assert again.problems == caught.value.problems


def test_a_problem_says_what_is_wrong_and_where() -> None:
    problem = Problem("steps", 0, "must be an integer >= 1", (2,), hint="; try 1")
    assert str(problem) == problem.message == "steps[2] must be an integer >= 1, received 0; try 1"
    placed = Problem.at(Position("a.yaml", 3, 5), "the key 'x' stands twice", "x")
    assert str(placed) == "a.yaml:3:5: the key 'x' stands twice"
    assert (placed.message, placed.argument) == ("the key 'x' stands twice", "x")
    assert str(Problem.at(Position("--set a=1"), "no")) == "--set a=1: no"
    assert str(Problem.at(Position(), "no")) == "no"
    assert pickle.loads(pickle.dumps(placed)) == placed  # noqa: S301 (made here)
