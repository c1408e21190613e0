"""neon_optim: neon-compatible optimizers, schedules and training state."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neon_optim.described import registry as _names
from neon_optim.described.object import NervanaObject
from neon_optim.version import __version__

if TYPE_CHECKING:
    from neon_optim.backends import cleanup_backend, gen_backend
    from neon_optim.runs import load_run

# The packages whose classes have names; imported when a name is first looked up.
_names.add_source(lambda: importlib.import_module("neon_optim.model"))
_names.add_source(lambda: importlib.import_module("neon_optim.data"))
_names.add_source(lambda: importlib.import_module("neon_optim.optimizers"))
_names.add_source(lambda: importlib.import_module("neon_optim.schedules"))

__all__ = ["NervanaObject", "__version__", "cleanup_backend", "gen_backend", "load_run"]


def __getattr__(name: str) -> Any:
    if name in ("gen_backend", "cleanup_backend"):
        from neon_optim import backends

        return getattr(backends, name)
    if name == "load_run":
        from neon_optim import runs

        return runs.load_run
    raise AttributeError(f"module 'neon_optim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
