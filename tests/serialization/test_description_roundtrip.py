"""`gen_class(yaml(get_description(x)))` rebuilds x: every class that can be named, any arguments that its checks allow.

The arguments are drawn from the checks in the signatures, so a new class is covered when it is written.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from neon_optim.described import checks, registry
from neon_optim.described.arguments import REQUIRED, constructor_arguments
from neon_optim.described.build import from_description, object_kinds
from neon_optim.errors import ArgumentError
from neon_optim.model import Tanh
from neon_optim.serialization import dump_config
from neon_optim.serialization.config.reading import read_tree
from neon_optim.serialization.config.references import resolve_references
from neon_optim.serialization.config.yaml_nodes import to_plain

KINDS = ("optimizer", "schedule", "layer", "activation", "cost", "initializer", "dataset")
NAMED = dict.fromkeys(registry.resolve(name, kind) for kind in KINDS for name in registry.available(kind))
CLASSES = [cls for cls in NAMED if registry.full_name(cls).startswith("neon_optim.")]
CHECKED_LATER = {("Sequential", "layers"): checks.Items(checks.OfKind("layer"), length=1)}
FLOATS = {"allow_nan": False, "allow_infinity": False}


def numbers(check: checks.Number) -> st.SearchStrategy[Any]:
    low = check.gt if check.ge is None else check.ge
    high = check.lt if check.le is None else check.le
    integers = st.integers(
        None if low is None else int(low) + (check.ge is None),
        10**6 if high is None else int(high) - (check.le is None and high == int(high)),
    )
    if check.integer:
        return integers
    floats = st.floats(
        low, high, exclude_min=low is not None and check.ge is None, exclude_max=high is not None and check.le is None,
        **FLOATS,
    )  # fmt: skip
    in_range = floats.filter(lambda value: abs(value) < 1e38 and check.verdict(np.float32(value)) is None)
    return floats | in_range.map(np.float32) | (st.nothing() if high is not None else integers)


def values(check: checks.Check, depth: int) -> st.SearchStrategy[Any]:
    """Values that a check lets through."""
    if isinstance(check, checks.Number):
        return numbers(check)
    if isinstance(check, checks.Either):
        return st.one_of([values(item, depth) for item in check.checks])
    if isinstance(check, checks.Items):
        item = values(check.item, depth) if check.item else st.integers()
        if item.is_empty:
            return st.nothing() if check.length else st.builds(list)
        size = {"min_size": check.length, "max_size": check.length} if check.length else {"max_size": 3}
        return st.lists(item, **size)
    if isinstance(check, checks.Table):
        item = values(check.item, depth) if check.item else st.integers()
        return st.dictionaries(st.sampled_from(["default", "Bias", "a b", "/re*/"]), item, max_size=3)
    if kinds := object_kinds(check):
        fitting = [cls for cls in CLASSES if cls.kind in kinds and cls.__name__ != "Sequential"]
        return (
            st.sampled_from(fitting).flatmap(lambda cls: objects(cls, depth + 1))
            if depth < 2
            else st.nothing()
        )
    simple = {
        checks.Bits: st.booleans() | st.integers(1, 23),
        checks.Truth: st.booleans() | st.booleans().map(np.bool_),
        checks.Nothing: st.none(),
        checks.Text: st.text(min_size=1),
    }
    if isinstance(check, checks.Choice):
        return st.sampled_from(check.choices)
    return simple.get(type(check), st.nothing())


@st.composite
def objects(draw: st.DrawFn, cls: type, depth: int = 0) -> Any:
    kwargs = {}
    for argument in constructor_arguments(cls).values():
        check = CHECKED_LATER.get((cls.__name__, argument.name), argument.check)
        given_values = values(check, depth) if check else st.nothing()
        if argument.default is REQUIRED or (not given_values.is_empty and draw(st.booleans())):
            kwargs[argument.name] = draw(given_values)
    try:
        return cls(**kwargs)
    except ArgumentError:  # arguments that do not go together
        reject()


each = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


@each
def test_every_object_is_rebuilt_from_its_description_in_yaml(cls: type) -> None:
    rebuild(cls, examples=4)


@pytest.mark.slow
@each
def test_many_objects_are_rebuilt_from_their_descriptions_in_yaml(cls: type) -> None:
    rebuild(cls, examples=60)


def read_as_config(text: str) -> Any:
    """A config as plain values, its references included: in texts `$${` stands for `${`."""
    tree, _, problems = read_tree(text)
    resolve_references(tree, problems)
    assert not problems.found
    return to_plain(tree)


def test_a_name_that_looks_like_a_reference() -> None:
    description = Tanh(name="${").get_description()
    assert read_as_config(dump_config(description)) == description


def rebuild(cls: type, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(objects(cls))
    def check(original: Any) -> None:
        description = original.get_description()
        kept = copy.deepcopy(description)
        again = from_description(read_as_config(dump_config(description)))
        assert type(again) is cls
        assert repr(again.get_description()) == repr(description)
        assert repr(cls.gen_class(description["config"]).get_description()) == repr(kept)
        assert repr(description) == repr(kept)

    check()


def test_the_classes_of_the_package_are_found() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert {"Adam", "MultiOptimizer", "StepSchedule"} <= names
