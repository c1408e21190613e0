"""YAML configs in and out, checkpoints, neon's old files. Loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neon_optim.errors import CheckpointError, CheckpointWarning, ConfigError, ConfigWarning
    from neon_optim.serialization.checkpoint import inspect_checkpoint, load_checkpoint, save_checkpoint
    from neon_optim.serialization.config import Config, load_config
    from neon_optim.serialization.manager import CheckpointManager
    from neon_optim.serialization.neon_pickle import read_neon_pickle
    from neon_optim.serialization.yaml_dump import dump_config

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
    if name not in __all__:
        raise AttributeError(f"module 'neon_optim.serialization' has no attribute '{name}'")
    if name in ("inspect_checkpoint", "load_checkpoint", "save_checkpoint"):
        from neon_optim.serialization import checkpoint

        return getattr(checkpoint, name)
    if name == "CheckpointManager":
        from neon_optim.serialization import manager

        return getattr(manager, name)
    if name == "read_neon_pickle":
        from neon_optim.serialization import neon_pickle

        return getattr(neon_pickle, name)
    if name in ("CheckpointError", "CheckpointWarning", "ConfigError", "ConfigWarning"):
        from neon_optim import errors

        return getattr(errors, name)
    from neon_optim.serialization import config

    return getattr(config, name)
