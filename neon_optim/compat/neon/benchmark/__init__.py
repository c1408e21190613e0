"""neon.benchmark: how long the passes of a model take."""

from __future__ import annotations

from neon_optim.compat.neon.benchmark.benchmark import Benchmark

__all__ = ["Benchmark"]
