"""Classes that state their arguments as annotated attributes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pytest

from neon_optim.described.arguments import (
    REQUIRED,
    AnySchedule,
    Flag,
    Fraction,
    Name,
    NonNegative,
    Positive,
    PositiveInt,
    RoundBits,
    Scheduled,
    constructor_arguments,
)
from neon_optim.described.build import from_description
from neon_optim.described.checks import Items, Number
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, ArgumentTypeError, Problem

if TYPE_CHECKING:
    from nowhere import Unknown


class Base(NervanaObject, abstract=True):
    closed: ClassVar[bool] = True
    limits: ClassVar[dict[str, float]] = {}
    _hidden: int = 3
    shared = 1.5

    _: KW_ONLY
    stochastic_round: RoundBits = False
    clip: NonNegative | None = None
    name: Name = None
    no_decay: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.t = 0

    @property
    def twice(self) -> int:
        return 2 * self.t

    @twice.setter
    def twice(self, value: int) -> None:
        self.t = value // 2


class Momentum(Base):
    learning_rate: Scheduled[Positive] = 0.001
    _: KW_ONLY
    coef: Scheduled[Fraction] = 0.0
    nesterov: Flag = False

    def check_fields(self) -> None:
        super().check_fields()
        if self.nesterov and self.coef == 0:
            problem = Problem("nesterov", self.nesterov, "needs coef > 0")
            raise ArgumentError(f"Momentum: {problem}", [problem])


class InNeonsOrder(Base):
    positional: ClassVar[tuple[str, ...]] = ("stochastic_round", "learning_rate", "clip", "name")

    learning_rate: Scheduled[Positive] = 0.1
    power: PositiveInt = 2


class Halving(NervanaObject, kind="schedule"):
    def get_learning_rate(self, learning_rate: float, epoch: int) -> float:
        return learning_rate / 2**epoch


def names(cls: type) -> list[str]:
    return [("" if a.positional else "*") + a.name for a in constructor_arguments(cls).values()]


# --- what is a field ---


def test_annotated_attributes_are_arguments_and_no_others() -> None:
    assert names(Momentum) == [
        "learning_rate",
        *("*stochastic_round", "*clip", "*name", "*no_decay", "*coef", "*nesterov"),
    ]
    argument = constructor_arguments(Momentum)["coef"]
    assert (argument.default, argument.owner) == (0.0, Momentum)
    assert argument.check.allowed == "a number in [0, 1) or a schedule"
    assert constructor_arguments(Momentum)["clip"].owner is Base
    for other in ("limits", "_hidden", "shared", "closed"):
        with pytest.raises(TypeError, match="is no argument"):
            Momentum(**{other: 1})


def test_the_signature_shows_defaults_kinds_and_what_is_required() -> None:
    class Needs(NervanaObject):
        rate: Positive
        _: KW_ONLY
        power: PositiveInt = 2
        other: Positive

    signature = inspect.signature(Needs)
    assert [str(p.replace(annotation=p.empty)) for p in signature.parameters.values()] == [
        *("rate", "power=2", "other")
    ]
    assert str(signature).startswith("(rate: ")
    assert ", *, power" in str(signature)
    assert constructor_arguments(Needs)["other"].default is REQUIRED
    assert Needs(1.0, other=2.0).other == 2.0
    with pytest.raises(TypeError) as caught:
        Needs(power=0)
    assert str(caught.value).splitlines() == [
        "Needs: 3 bad arguments",
        "  rate is missing; it must be a number > 0",
        "  power must be an integer >= 1, received 0",
        "  other is missing; it must be a number > 0",
    ]


def test_the_fields_of_bases_come_first_and_a_redeclared_one_stays_in_its_place() -> None:
    class First(NervanaObject):
        a: PositiveInt = 1
        b: PositiveInt = 2

    class Second(First):
        c: PositiveInt = 3
        a: PositiveInt = 10

    assert names(Second) == ["a", "b", "c"]
    made = Second(4, c=5)
    assert (made.a, made.b, made.c) == (4, 2, 5)
    assert Second().a == 10
    assert First().a == 1


def test_an_attribute_without_annotation_is_another_default() -> None:
    class Fast(Momentum):
        learning_rate = 1.0
        coef = 0.5

    assert (Fast().learning_rate, Fast().coef, Fast(0.1).learning_rate) == (1.0, 0.5, 0.1)
    assert Fast().get_description(skip=["name"])["config"] == {}
    assert Momentum().learning_rate == 0.001


def test_a_property_takes_the_place_of_an_inherited_field() -> None:
    class Fixed(Momentum):
        @property
        def clip(self) -> float:
            return 7.0

    assert "clip" not in constructor_arguments(Fixed)
    assert Fixed().clip == 7.0
    assert "clip" not in Fixed(name="x").get_description()["config"]


def test_positional_names_what_may_be_given_by_position() -> None:
    assert names(InNeonsOrder) == [
        *("stochastic_round", "learning_rate", "clip", "name", "*no_decay", "*power")
    ]
    made = InNeonsOrder(True, 0.5, None, "mine", power=3)
    assert (made.stochastic_round, made.learning_rate, made.name, made.power) == (True, 0.5, "mine", 3)
    with pytest.raises(
        TypeError, match="argument 5 is one too many: InNeonsOrder takes at most 4 positional"
    ):
        InNeonsOrder(True, 0.5, None, "mine", 3)
    with pytest.raises(TypeError, match=r"pass learning_rate by name: InNeonsOrder\(learning_rate=0.01\)"):
        InNeonsOrder(0.01)

    class More(InNeonsOrder):
        extra: PositiveInt = 1

    assert names(More)[4:] == ["*no_decay", "*power", "*extra"]


def test_a_class_may_leave_out_the_arguments_of_its_bases() -> None:
    class Around(Momentum, inherit_fields=False):
        inner: Momentum
        _: KW_ONLY
        name: Name = None

    assert names(Around) == ["inner", "*name"]
    made = Around(Momentum())
    assert made.clip is None  # the default of the base, for its methods
    with pytest.raises(AttributeError, match="Around has no attribute 'clip'"):
        made.clip = 1.0

    class AroundToo(Around):
        k: PositiveInt = 5

    assert names(AroundToo) == ["inner", "k", "*name"]


def test_what_makes_no_constructor_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="the default of 'steps' is a list, which all objects would share"):

        class Mutable(NervanaObject):
            steps: list[int] = []

    with pytest.raises(TypeError, match="the required field 'b' follows 'a', which has a default"):

        class Disorder(NervanaObject):
            a: PositiveInt = 1
            b: PositiveInt

    with pytest.raises(TypeError, match="positional names 'c', which is no field"):

        class Misspelt(NervanaObject):
            positional: ClassVar[tuple[str, ...]] = ("c",)
            a: PositiveInt = 1


def test_annotations_that_are_no_text_say_the_same() -> None:
    made = type(NervanaObject)(
        "Made",
        (NervanaObject,),
        {
            "__module__": __name__,
            "__annotations__": {"const": ClassVar[int], "a": Positive, "_": KW_ONLY, "b": Fraction},
            "const": 1,
            "b": 0.5,
        },
    )
    assert names(made) == ["a", "*b"]
    with pytest.raises(ArgumentError, match="a must be a number > 0"):
        made(0)


def test_annotations_are_read_where_the_class_stands() -> None:
    Local = Annotated[float, Number(gt=5)]

    class Here(NervanaObject):
        rate: Local = 6.0
        odd: Unknown = None
        again: Here | None = None  # known only when the class is there; not to its module

    assert Here(odd=object(), again=object()).rate == 6.0
    with pytest.raises(ArgumentError, match="rate must be a number > 5"):
        Here(1.0)


class Node(NervanaObject):
    following: Node | None = None


def test_a_class_may_be_an_argument_of_itself() -> None:
    assert Node(Node()).following.following is None
    with pytest.raises(TypeError, match="following must be a Node or None"):
        Node(3)


# --- construction ---


def test_construction_checks_names_and_calls_post_init_and_check_fields() -> None:
    class Counted(Momentum):
        pass

    first, second = Counted(), Counted(name="own")
    assert (first.name, second.name, Counted().name) == ("Counted_0", "own", "Counted_1")
    assert first.t == 0
    assert Halving().name.startswith("Halving_")
    with pytest.raises(ArgumentError, match="nesterov needs coef > 0"):
        Momentum(nesterov=True)
    with pytest.raises(ArgumentError) as caught:
        Momentum(learning_rate=0, coef=2)
    assert len(caught.value.problems) == 2


def test_numpy_and_containers_become_pythons_own() -> None:
    class Holder(NervanaObject):
        size: PositiveInt = 1
        rates: Sequence[Positive] = (1.0,)
        pair: tuple[Positive, Positive] = (1.0, 2.0)
        table: dict[str, Positive] | None = None
        epochs: Annotated[Any, Items(Number(), arrays=True)] = ()
        free: Any = None

    given, table = [np.float32(0.5), 2], {"a": np.float64(1.0)}
    made = Holder(np.int64(3), given, [3, 4], table, np.arange(3), given)
    assert type(made.size) is int
    assert made.rates == [0.5, 2]
    assert type(made.rates[0]) is float
    assert made.pair == (3, 4)
    assert type(made.table["a"]) is float
    assert made.table is not table
    assert made.epochs == [0, 1, 2]
    assert type(made.epochs[0]) is int
    assert made.free is not None
    assert Holder().rates == [1.0]
    assert Holder().rates is not Holder().rates


def test_a_class_without_fields_takes_a_name() -> None:
    class Empty(NervanaObject):
        pass

    class Plain(NervanaObject):
        _named_by_class: ClassVar[bool] = True

    assert Empty("mine").name == Empty(name="mine").name == "mine"
    assert Plain().name == "Plain"
    with pytest.raises(TypeError, match="name is no argument of Plain"):
        Plain(name="mine")


def test_descriptions_rebuild() -> None:
    made = Momentum(np.float32(0.5), no_decay=["bias"], clip=1, name="m")
    description = made.get_description()
    assert description["config"] == {
        "learning_rate": 0.5,
        "clip": 1,
        "name": "m",
        "no_decay": ["bias"],
    }
    assert from_description(description).get_description() == description
    assert Momentum.gen_class({"learning_rate": {"type": "Halving"}}).learning_rate.classnm == "Halving"


# --- setting ---


def test_setting_is_checked_like_constructing() -> None:
    made = Momentum()
    for value in (-5, float("nan"), "x", True):
        with pytest.raises(ArgumentError) as constructing:
            Momentum(value)
        with pytest.raises(ArgumentError) as setting:
            made.learning_rate = value
        assert str(setting.value) == str(constructing.value)
        assert type(setting.value) is type(constructing.value)
    assert made.learning_rate == 0.001
    made.no_decay = ("a", "b")
    assert made.no_decay == ["a", "b"]
    made.learning_rate = np.float32(0.5)
    assert type(made.learning_rate) is float
    made.name = None
    assert made.name.startswith("Momentum_")


def test_settings_that_do_not_go_together_are_taken_back() -> None:
    made = Momentum(coef=0.5)
    made.nesterov = True
    with pytest.raises(ArgumentError, match="nesterov needs coef > 0"):
        made.coef = 0.0
    assert made.coef == 0.5
    assert made._changes == 1


def test_changes_are_counted() -> None:
    made = Momentum()
    assert made._changes == 0
    made.learning_rate = 0.5
    made.learning_rate = 0.5
    assert made._changes == 2
    made.t = 7
    made.twice = 8
    with pytest.raises(ArgumentError):
        made.learning_rate = -1
    assert made._changes == 2


def test_a_closed_class_takes_no_other_attributes() -> None:
    made = Momentum()
    with pytest.raises(
        AttributeError, match=r"Momentum has no attribute 'lr'; did you mean 'learning_rate'\?"
    ):
        made.lr = 1.0
    with pytest.raises(AttributeError, match=r"has no attribute 'neterov'; did you mean 'nesterov'\?"):
        made.neterov = True
    with pytest.raises(AttributeError, match=r"has no attribute 'zzz'$"):
        made.zzz = True
    made.t, made.twice, made.shared, made._private = 1, 4, 2, 3
    Halving().anything = 1  # not closed


def test_words_of_other_libraries_are_understood() -> None:
    class Adaptive(NervanaObject):
        learning_rate: Positive = 0.1
        beta_1: Fraction = 0.9
        beta_2: Fraction = 0.9
        wdecay: Fraction = 0.0

    for word, ours in [
        ("lr", "'learning_rate'"),
        ("betas", "'beta_1' and 'beta_2'"),
        ("weight_decay", "'wdecay'"),
        ("momentum", "'beta_1'"),
    ]:
        with pytest.raises(TypeError, match=rf"{word} is no argument of Adaptive.*; did you mean {ours}\?"):
            Adaptive(**{word: 0.1})
    with pytest.raises(TypeError, match="; it takes learning_rate, beta_1"):
        Adaptive(eps=1e-8)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))],  # noqa: S301 (made here)
)
def test_copies_are_complete_and_their_own(again: Any) -> None:
    made = Momentum(0.5, no_decay=["bias"])
    made.coef = 0.25
    other = again(made)
    assert vars(other) == vars(made)
    other.coef = 0.75
    assert (made.coef, made._changes, other._changes) == (0.25, 1, 2)
    with pytest.raises(ArgumentError):
        other.coef = 2


# --- beside an __init__ that is written out ---


class Written(Momentum):
    learning_rate: Any
    note: str

    def __init__(self, *, beta: Fraction = 0.5, schedule: AnySchedule | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.beta = beta
        self.schedule = schedule


def test_a_written_out_init_may_pass_options_to_fields() -> None:
    assert names(Written) == [
        "*beta",
        "*schedule",
        *("*learning_rate", "*stochastic_round", "*clip", "*name", "*no_decay", "*coef", "*nesterov"),
    ]
    made = Written(learning_rate=0.5, beta=0.25)
    assert (made.learning_rate, made.beta, made.coef, made.t) == (0.5, 0.25, 0.0, 0)
    assert Written(beta=0.25, name="w").get_description()["config"] == {"beta": 0.25, "name": "w"}
    with pytest.raises(ArgumentError, match="coef must be"):
        Written(coef=2)
    with pytest.raises(ArgumentError, match="nesterov needs"):
        Written(nesterov=True)


def test_settings_of_a_written_out_init_are_counted_and_free() -> None:
    made = Written()
    made.beta = 7
    made.extra = 1  # closed, but what its __init__ may set is not known
    assert made._changes == 1
    with pytest.raises(ArgumentError):
        made.coef = 2
    made.coef = 0.5
    assert made._changes == 2


def test_a_written_out_init_calls_the_common_one_by_position_too() -> None:
    class Renamed(NervanaObject):
        def __init__(self, name: Name = "renamed") -> None:
            super().__init__(name)

    class Forward(InNeonsOrder):
        def __init__(self, rate: Positive) -> None:
            super().__init__(False, rate, name="forward")

    class Wrong(InNeonsOrder):
        def __init__(self) -> None:
            super().__init__(no_such=1)

    assert Renamed().name == "renamed"
    assert (Forward(0.5).learning_rate, Forward(0.5).name) == (0.5, "forward")
    with pytest.raises(ArgumentTypeError, match="no_such is no argument"):
        Wrong()


def test_fields_below_a_written_out_init_are_refused() -> None:
    with pytest.raises(
        TypeError, match="Below states the fields 'gamma', but inherits the __init__ that Written"
    ):

        class Below(Written):
            gamma: Positive = 1.0

    class Plain(Written):
        gamma: ClassVar[float] = 1.0
        slots = ("m",)

    assert Plain(beta=0.25).beta == 0.25
