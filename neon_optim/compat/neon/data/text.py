"""neon's iterators over text, and its datasets of text."""

from __future__ import annotations

from neon_optim.compat.neon.data.text_datasets import IMDB, PTB, SICK, HutterPrize, Shakespeare
from neon_optim.compat.neon.data.text_iterators import Text, TextNMT

__all__ = ["IMDB", "PTB", "SICK", "HutterPrize", "Shakespeare", "Text", "TextNMT"]

for _name in __all__:
    globals()[_name].__module__ = __name__  # what descriptions call it
