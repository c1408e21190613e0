"""neon's names on this package, for programs that ``import neon``.

``python -m neon_optim.compat script.py …`` runs a script of neon's as it is; :func:`install_as_neon` does the same
for a program that calls it before its first ``import neon``.
"""

from __future__ import annotations

from neon_optim.compat.module_paths import install_as_neon

__all__ = ["install_as_neon"]
