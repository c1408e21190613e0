"""Descriptions rebuild objects; names, rebuilding and the import of the package."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neon_optim
from neon_optim.described.arguments import Name, Positive, Real
from neon_optim.described.build import from_description
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, NeonOptimError, RegistryError
from neon_optim.serialization.config.yaml_dump import dump_config
from neon_optim.serialization.config.yaml_tree import parse_yaml


class Leaf(NervanaObject, kind="leaf"):
    def __init__(self, size: Real = 1.0, name: Name = "leaf") -> None:
        super().__init__(name)
        self.size = size


class Tree(NervanaObject):
    def __init__(
        self,
        leaf: Leaf,
        leaves: list[Leaf] | None = None,
        table: dict[str, Leaf] | None = None,
        label: str = "",
        name: Name = None,
    ) -> None:
        super().__init__(name)
        self.leaf, self.leaves, self.table, self.label = leaf, leaves, table, label


leaf = st.builds(Leaf, size=st.floats(allow_nan=False, allow_infinity=False) | st.integers())
trees = st.builds(
    Tree,
    leaf=leaf,
    leaves=st.none() | st.lists(leaf, max_size=3),
    table=st.none() | st.dictionaries(st.text(), leaf, max_size=3),
    label=st.text(),
    name=st.none() | st.text(min_size=1),
)


@given(trees)
def test_a_description_rebuilds_its_object_through_yaml_and_json(tree: Tree) -> None:
    description = tree.get_description()
    assert from_description(parse_yaml(dump_config(description))).get_description() == description
    assert from_description(json.loads(json.dumps(description))).get_description() == description
    assert Tree.gen_class(description["config"]).get_description() == description


@given(trees)
def test_rebuilding_changes_nothing_it_is_given(tree: Tree) -> None:
    config = tree.get_description()["config"]
    before = copy.deepcopy(config)
    first, second = Tree.gen_class(config), Tree.gen_class(config)
    assert config == before
    assert first.leaf is not second.leaf


def test_only_what_differs_from_its_default_is_described() -> None:
    assert Leaf().get_description() == {"type": f"{__name__}.Leaf", "config": {}}
    assert Leaf(2).get_description()["config"] == {"size": 2}
    assert Leaf(2, "x").get_description(skip=["name"])["config"] == {"size": 2}
    assert "leaf" in Tree(Leaf()).get_description()["config"]  # required, so always there


def test_later_changes_are_seen() -> None:
    tree = Tree(Leaf())
    tree.leaf.size = 3.0
    assert tree.get_description()["config"]["leaf"]["config"] == {"size": 3.0}


def test_numpy_values_are_described_as_plain_ones() -> None:
    value = Leaf(np.float32(0.5)).get_description()["config"]["size"]
    assert (type(value), value) == (float, 0.5)
    assert type(Leaf(np.int64(3)).get_description()["config"]["size"]) is int


def test_numpy_arguments_become_python_numbers_so_that_a_rebuilt_object_computes_the_same() -> None:
    original = Leaf(np.float32(0.1))
    rebuilt = from_description(original.get_description())
    assert type(original.size) is float
    assert original.size * 3 == rebuilt.size * 3


def test_automatic_names_count_by_class_and_are_written() -> None:
    class Counted(NervanaObject):
        pass

    class CountedToo(Counted):
        pass

    objects = [Counted(), Counted(), CountedToo(), Counted(name="own")]
    assert [item.name for item in objects] == ["Counted_0", "Counted_1", "CountedToo_0", "own"]
    assert objects[1].get_description()["config"] == {"name": "Counted_1"}
    del objects
    assert Counted().name == "Counted_2"


def test_class_and_module_names() -> None:
    assert Leaf().classnm == "Leaf"
    assert Leaf().modulenm == f"{__name__}.Leaf"
    assert repr(Leaf(2)) == "Leaf(size=2)"


def test_recursive_gen_replaces_one_entry() -> None:
    pdict = {"leaf": {"type": "Leaf"}, "other": {"type": "Leaf", "config": {"size": 2}}, "n": 1}
    for key in ("leaf", "n"):
        NervanaObject.recursive_gen(pdict, key)
    assert isinstance(pdict["leaf"], Leaf)
    assert pdict["other"] == {"type": "Leaf", "config": {"size": 2}}
    assert pdict["n"] == 1


def test_a_bare_class_name_stands_for_an_object() -> None:
    tree = Tree.gen_class({"leaf": "Leaf", "leaves": ["Leaf", {"type": "Leaf"}], "label": "Leaf"})
    assert isinstance(tree.leaf, Leaf)
    assert isinstance(tree.leaves[0], Leaf)
    assert tree.label == "Leaf"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"leaf": {"type": "NoSuchClass"}}, RegistryError),
        ({"leaf": "NoSuchClass"}, RegistryError),
        ({"leaf": 3}, ArgumentError),
        ({"leaf": {"type": "Leaf", "config": {"size": "big"}}}, ArgumentError),
        ({"leaf": {"type": "Leaf", "config": [1]}}, ArgumentError),
        ({"leaf": {"type": "Leaf", "extra": 1}}, ArgumentError),
        ([], ArgumentError),
    ],
)
def test_what_does_not_fit_is_refused(config: Any, error: type[NeonOptimError]) -> None:
    with pytest.raises(error):
        Tree.gen_class(config)


def test_an_argument_without_its_attribute_is_told() -> None:
    class Forgetful(NervanaObject):
        def __init__(self, rate: Positive = 1.0) -> None:
            super().__init__()

    with pytest.raises(NeonOptimError, match=r"keeps no attribute .* 'rate'"):
        Forgetful().get_description()
    assert repr(Forgetful()) == "<Forgetful>"


def test_the_public_names() -> None:
    assert {"NervanaObject", "gen_backend", "cleanup_backend", "__version__"} <= set(neon_optim.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        neon_optim.nothing  # noqa: B018


def test_importing_the_package_starts_no_engine() -> None:
    code = (
        "import sys, neon_optim;"
        "names = [f'neon_optim.{m}' for m in ('backends', 'model', 'optimizers', 'schedules', 'stepping')];"
        "print([m for m in ('numba', 'pycuda', 'yaml', *names) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_that_the_package_exports_is_listed() -> None:
    import neon_optim

    assert set(neon_optim.__all__) <= set(dir(neon_optim))
