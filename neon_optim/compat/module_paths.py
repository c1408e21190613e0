"""neon's module paths, each of them another name of a module of :mod:`neon_optim.compat.neon`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

from neon_optim.described import registry
from neon_optim.errors import NeonInstalledError

__all__ = ["install_as_neon"]

_HERE = f"{__package__}.neon"

registry.alias_package(_HERE, "neon")


def install_as_neon() -> None:
    """Make ``import neon``, and of every public module below it, give this package's.

    Raises:
        NeonInstalledError: Intel's neon is installed, or another package of that name; two cannot answer to it.

    >>> from neon_optim.compat import install_as_neon
    >>> install_as_neon()
    >>> from neon.optimizers import Adam, Schedule
    >>> Adam(learning_rate=0.01, schedule=Schedule([2, 5], 0.1)).learning_rate
    0.01
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    loaded = sys.modules.get("neon")
    found = loaded.__spec__ if loaded is not None else importlib.util.find_spec("neon")
    if found is not None:
        where = found.origin or ", ".join(found.submodule_search_locations or ())
        raise NeonInstalledError(
            f"another package is installed as 'neon' ({where}); uninstall it, or use a virtual environment without it. "
            "To use our backend and optimizers inside Intel's neon: import neon_optim.compat.plugin"
        )
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``neon.x.y`` as the module ``neon_optim.compat.neon.x.y`` itself, not a copy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "neon":
            return None
        ours = importlib.util.find_spec(_HERE + fullname.removeprefix("neon"))
        if ours is None:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, self, is_package=ours.submodule_search_locations is not None
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(_HERE + spec.name.removeprefix("neon"))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        module.__spec__ = spec.loader_state  # the module is loaded, under its own name
