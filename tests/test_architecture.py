"""The plan of the house in docs/architecture.md holds: arrows go down, in no circle, and a name means one thing."""

from __future__ import annotations

import ast
import collections
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "neon_optim"
PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")

FLOORS = [
    {"errors", "version"},
    {"described"},
    {"backends"},
    {"autograd"},
    {"schedules"},
    {"stepping"},
    {"optimizers"},
    {"serialization"},
    {"model"},
    {"distributed"},
    {"data"},
    {"runs"},
    {"export"},
    {"interop"},
    {"compat"},
    {"cli"},
    {"", "__main__", "base", "registry", "arguments"},
]
"""From the ground up; '' is the package itself. A file imports from its own room and from those below."""

SAME_NAME = {"Constant", "Linear", "Sequential"}
"""Schedules that are called as layers and initializers are, all of them public."""


def modules():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imports(name, tree):
    """The modules of the package that a module imports, at any place: within functions and for types alone, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "neon_optim":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"


ARROWS = {name: set(imports(name, tree)) - {name} for name, tree in MODULES.items()}


def room(module):
    return [*module.split("."), ""][1]


def floor(module):
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_go_down(name):
    for other in ARROWS[name]:
        assert room(other) == room(name) or floor(other) < floor(name), f"{name} imports {other}"


def circles(arrows):
    """What is left when modules that import nothing of the rest are taken away, again and again."""
    left = {name: set(others) for name, others in arrows.items()}
    while True:
        free = {name for name, others in left.items() if not others & left.keys()}
        if not free:
            return left
        left = {name: others for name, others in left.items() if name not in free}


def test_no_file_imports_itself_by_way_of_others():
    assert circles(ARROWS) == {}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}).keys() == {"a", "b", "c"}, "control"


def test_cpu_and_gpu_do_not_know_each_other():
    for name, others in ARROWS.items():
        for one, other in (("cpu", "gpu"), ("gpu", "cpu")):
            if name.startswith(f"neon_optim.backends.{one}"):
                assert not [o for o in others if o.startswith(f"neon_optim.backends.{other}")], name


@pytest.mark.parametrize("name", ["optree", "optree_shapes", "program"])
def test_expressions_know_neither_numpy_nor_a_device(name):
    tree = MODULES[f"neon_optim.backends.{name}"]
    known = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not known & {"numpy", "numba", "pycuda"}
    below = {"neon_optim.backends.optree", "neon_optim.backends.optree_shapes", "neon_optim.errors"}
    assert ARROWS[f"neon_optim.backends.{name}"] <= below


def test_a_class_name_means_one_class():
    names = collections.Counter(
        node.name
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not is_by_neons_path(module)
    )
    assert {name for name, count in names.items() if count > 1 and name[0] != "_"} == SAME_NAME


def is_by_neons_path(module):
    """The modules of neon's paths have neon's names, and no page of ours says what they are for."""
    return f"{module}.".startswith("neon_optim.compat.neon.")


def job(tree):
    """The first paragraph of a module's docstring: its one job."""
    text = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    return text.rstrip(".").replace("``", "`").replace(":mod:", "")


def test_the_page_has_the_job_of_every_module():
    table = dict(re.findall(r"^\| `([\w/<>.]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    expected = {}
    for name, tree in MODULES.items():
        path = name.partition(".")[2].replace(".", "/") + ".py"
        if not (PACKAGE / path).is_file() or path.endswith("__main__.py") or is_by_neons_path(name):
            continue
        if room(name) == "schedules" or (room(name) == "optimizers" and path not in table):
            continue  # one row for all of them
        expected[path] = job(tree)
    named = {path: text for path, text in table.items() if "<" not in path}
    assert named == expected


def test_the_page_has_the_floors():
    order = re.search(r"```\n(errors.*?)```", PAGE, re.DOTALL)
    rooms = [set(re.findall(r"\w+", line[:18])) for line in order[1].strip().splitlines()]
    assert rooms == FLOORS[:-1]
