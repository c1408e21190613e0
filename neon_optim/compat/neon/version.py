"""neon.version: the version whose behaviour this is."""

from __future__ import annotations

VERSION = "2.6.0"
