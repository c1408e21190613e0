"""Shows what a model is trained with and what machine it is trained on, in neon's log."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from neon_optim.compat.display_logger import logger

__all__ = [
    "add_param_to_output",
    "display_cpu_information",
    "display_model_params",
    "display_platform_information",
]


def add_param_to_output(output_string: str, param_name: str, param: Any) -> str:
    """A text and a line for one more value."""
    return f"{output_string}{param_name:>25}: {param}\n"


def display_model_params(neon_args: Any, neon_root_yaml: Mapping[str, Any]) -> None:
    """Show the numbers that a training run starts from.

    Arguments:
        neon_args: parsed arguments.
        neon_root_yaml: what the file of the model says.
    """
    optimizer = neon_root_yaml.get("optimizer") or {}
    config = optimizer.get("config") or {}
    values = {
        "backend": getattr(neon_args, "backend", None),
        "batch size": getattr(neon_args, "batch_size", None),
        "epochs": getattr(neon_args, "epochs", None),
        "optimizer type": optimizer.get("type"),
        "learning rate": config.get("learning_rate"),
        "momentum coef": config.get("momentum_coef"),
    }
    _display(
        "HYPER PARAMETERS", {name: "UNKNOWN" if value is None else value for name, value in values.items()}
    )


def display_cpu_information() -> None:
    """Show what the operating system says of the processor."""
    values = {
        "model": platform.processor() or "UNKNOWN",
        "architecture": platform.machine(),
        "bits": platform.architecture()[0],
        "cores": os.cpu_count(),
    }
    _display("CPU", values)


def display_platform_information() -> None:
    """Show the operating system and the Python that the program runs on."""
    values = {
        "OS": platform.platform(),
        "OS release version": platform.version(),
        "machine": platform.machine(),
        "node": platform.node(),
        "python version": platform.python_version(),
        "python build": platform.python_build(),
        "python compiler": platform.python_compiler(),
    }
    _display("PLATFORM & OS", values)


def _display(title: str, values: Mapping[str, Any]) -> None:
    text = f"\n{f'-- INFORMATION: {title} ':-<40}\n"
    for name, value in values.items():
        text = add_param_to_output(text, name, value)
    logger.display(text + "-" * 40)
