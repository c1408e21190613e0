"""YAML configs in and out, checkpoints, neon's old files. Loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neon_optim.errors import CheckpointError, CheckpointWarning, ConfigError, ConfigWarning
    from neon_optim.serialization.checkpoint.checkpoint import load_checkpoint, save_checkpoint
    from neon_optim.serialization.checkpoint.inspection import inspect_checkpoint
    from neon_optim.serialization.checkpoint.manager import CheckpointManager
    from neon_optim.serialization.config.loading import Config, load_config
    from neon_optim.serialization.config.yaml_dump import dump_config
    from neon_optim.serialization.neon.neon_pickle import read_neon_pickle

__all__ = [
    "CheckpointError",
    "CheckpointManager",
    "CheckpointWarning",
    "Config",
    "ConfigError",
    "ConfigWarning",
    "dump_config",
    "inspect_checkpoint",
    "load_checkpoint",
    "load_config",
    "read_neon_pickle",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    home: Any
    if name in ("load_checkpoint", "save_checkpoint"):
        from neon_optim.serialization.checkpoint import checkpoint as home
    elif name == "inspect_checkpoint":
        from neon_optim.serialization.checkpoint import inspection as home
    elif name == "CheckpointManager":
        from neon_optim.serialization.checkpoint import manager as home
    elif name in ("Config", "load_config"):
        from neon_optim.serialization.config import loading as home
    elif name == "dump_config":
        from neon_optim.serialization.config import yaml_dump as home
    elif name == "read_neon_pickle":
        from neon_optim.serialization.neon import neon_pickle as home
    elif name in ("CheckpointError", "CheckpointWarning", "ConfigError", "ConfigWarning"):
        from neon_optim import errors as home
    else:
        raise AttributeError(f"module 'neon_optim.serialization' has no attribute '{name}'")
    return getattr(home, name)


def __dir__() -> list[str]:
    return __all__
