"""Runs that were trained, in use: :func:`load_run`."""

from __future__ import annotations

from neon_optim.runs.run import Run, load_run

__all__ = ["Run", "load_run"]
