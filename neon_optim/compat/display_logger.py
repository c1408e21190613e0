"""The logger ``neon.logger``: an ordinary one, with neon's level DISPLAY above ERROR and its method for it."""

from __future__ import annotations

import logging
from typing import Any, cast

__all__ = ["DISPLAY", "NeonLogger", "logger"]

DISPLAY = 41
"""What a program shows whatever the level is, short of CRITICAL."""

logging.addLevelName(DISPLAY, "DISPLAY")


class NeonLogger(logging.Logger):
    """A logger with ``display``."""

    def display(self, message: object, *args: Any, **options: Any) -> None:
        """Log at the level DISPLAY."""
        if self.isEnabledFor(DISPLAY):
            self._log(DISPLAY, message, args, **options)


def _made() -> NeonLogger:
    before = logging.getLoggerClass()
    logging.setLoggerClass(NeonLogger)
    try:
        made = logging.getLogger("neon")
    finally:
        logging.setLoggerClass(before)
    if not isinstance(made, NeonLogger):  # Intel's neon is there, too, and has made it
        made.__class__ = NeonLogger
    return cast("NeonLogger", made)


logger = _made()
