"""Translates PTX, as nvcc writes it, to C that ``driver/runtime.h`` completes."""

from .module import translate as translate
