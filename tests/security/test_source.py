"""The package itself: nothing in it can unpickle, evaluate text, or import what a file names."""

from __future__ import annotations

import ast
import pathlib

import pytest

import neon_optim

PACKAGE = pathlib.Path(neon_optim.__file__).parent

FORBIDDEN_MODULES = {
    *(
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
        "copyreg",
        "pickletools",
    ),
    *("importlib", "imp", "runpy", "pkgutil", "code", "codeop", "pydoc", "subprocess", "pty"),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "execfile", "breakpoint"}
FORBIDDEN_ATTRIBUTES = {
    **{("os", name): "shell" for name in ("system", "popen", "execv", "execl", "spawnl", "spawnv")},
    **{
        ("yaml", name): "yaml"
        for name in ("load", "load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader")
    },
    ("yaml", "FullLoader"): "yaml",
    **{("importlib", name): "import" for name in ("machinery", "reload", "__import__", "_bootstrap")},
    ("torch", "load"): "pickle",
    ("pandas", "read_pickle"): "pickle",
}
# What may stand where, and why. Each entry must be in use.
OWN_KERNELS = "runs the text of kernels that this package generates from Programs, never of a file"
OF_NEON = "finds modules of neon_optim.compat.neon, by neon's names for them, and no others"
EXCEPTIONS = {
    ("serialization/neon/pickle_data.py", "import pickletools"): "the instruction table; it runs nothing",
    ("described/registry.py", "entry_points"): "plug-ins of installed distributions",
    ("backends/cpu/compiled/compiler.py", "import importlib.abc"): OWN_KERNELS,
    ("backends/cpu/compiled/compiler.py", "import importlib.machinery.ModuleSpec"): OWN_KERNELS,
    ("backends/cpu/compiled/compiler.py", "importlib.util.module_from_spec"): OWN_KERNELS,
    ("backends/cpu/compiled/compiler.py", "exec_module"): OWN_KERNELS,
    ("backends/cpu/compiled/compiler.py", "source_to_code"): OWN_KERNELS,
    ("compat/__main__.py", "import runpy"): "runs the script that its user names on the command line",
    ("compat/descriptions.py", "import pkgutil"): OF_NEON,
    ("compat/descriptions.py", "import_module of a name that is not written here"): OF_NEON,
    ("compat/module_paths.py", "import importlib.abc"): OF_NEON,
    ("compat/module_paths.py", "import importlib.machinery"): OF_NEON,
    ("compat/module_paths.py", "importlib.machinery"): OF_NEON,
    ("compat/module_paths.py", "import_module of a name that is not written here"): OF_NEON,
    ("compat/public_names.py", "import_module of a name that is not written here"): OF_NEON,
    ("cli/app.py", "import_module of a name that is not written here"): "a command out of the table there",
    (
        "cli/options.py",
        "import_module of a name that is not written here",
    ): "modules that --import names, never a file",
    ("cli/doctor.py", "import subprocess"): "asks nvcc for its version",
    (
        "distributed/watch.py",
        "import subprocess",
    ): "starts the process that watches the others",
}
HARMLESS = {"importlib", "importlib.util", "importlib.metadata"}


def findings(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {
                f"import {each.name}"
                for each in node.names
                if each.name.split(".")[0] in FORBIDDEN_MODULES and each.name not in HARMLESS
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.split(".")[0] in FORBIDDEN_MODULES:
                names = {f"{node.module}.{each.name}" for each in node.names}
                found |= {
                    f"import {name}" for name in names - HARMLESS if node.module != "importlib.metadata"
                }
            found |= {
                f"{node.module}.{each.name}"
                for each in node.names
                if (node.module, each.name) in FORBIDDEN_ATTRIBUTES
            }
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in (
            "exec_module",
            "source_to_code",
            "entry_points",
        ):
            found.add(node.attr)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "importlib.util":
            found |= set() if node.attr == "find_spec" else {f"importlib.util.{node.attr}"}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in FORBIDDEN_ATTRIBUTES:
                found.add(f"{node.value.id}.{node.attr}")
            if node.value.id in ("builtins", "__builtins__") and node.attr in FORBIDDEN_CALLS:
                found.add(f"builtins.{node.attr}")
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and getattr(node.value, "value", True)
        ):
            found.add("allow_pickle")
        elif isinstance(node, ast.keyword) and node.arg == "shell" and getattr(node.value, "value", True):
            found.add("shell=True")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "import_module"
        ):
            if not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant)):
                found.add("import_module of a name that is not written here")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in ("np", "numpy"):
                safe = any(
                    k.arg == "allow_pickle" and getattr(k.value, "value", True) is False
                    for k in node.keywords
                )
                found |= set() if safe else {"np.load without allow_pickle=False"}
    return found


def modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", modules())
def test_module(module):
    found = findings((PACKAGE / module).read_text())
    allowed = {what for where, what in EXCEPTIONS if where == module}
    assert found == allowed & found, f"{module} must not use {sorted(found - allowed)}"


def test_every_exception_is_in_use():
    for module, what in EXCEPTIONS:
        assert what in findings((PACKAGE / module).read_text()), (module, what)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import _pickle",
        "from importlib import import_module",
        "from importlib.util import spec_from_file_location",
        "importlib.util.spec_from_file_location(name, path)",
        "metadata.entry_points()",
        "import importlib\nimportlib.import_module(name)",
        "import importlib as i\ni.import_module(f'{a}')",
        "import importlib\nimportlib.reload(x)",
        "eval('1')",
        "run = exec",
        "__import__('os')",
        "import builtins\nbuiltins.eval('1')",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "from yaml import unsafe_load",
        "import os\nos.system('x')",
        "loader.exec_module(module)",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import subprocess",
        "def f():\n    import marshal",
        "torch.load(path)",
    ],
)
def test_the_search_finds(source):
    """Negative control."""
    assert findings(source)


@pytest.mark.parametrize(
    "source", ["import numpy as np\nnp.load('x', allow_pickle=False)", "evaluate(1)", "import yaml"]
)
def test_the_search_lets_pass(source):
    assert not findings(source)
