"""Instruction families: each module registers a translator for its opcodes."""

from . import arithmetic, bits, comparison, control, conversion, memory
from .registry import TRANSLATORS

__all__ = ["TRANSLATORS", "arithmetic", "bits", "comparison", "control", "conversion", "memory"]
