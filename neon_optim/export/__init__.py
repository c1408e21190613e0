"""Trained models as files of other programs: :func:`export_run`."""

from __future__ import annotations

from neon_optim.export.files import export_run
from neon_optim.export.onnx_layers import onnx_form

__all__ = ["export_run", "onnx_form"]
