"""``python -m ptx2c IN.ptx OUT.c``: what the emulated driver runs for every new module."""

import sys
from pathlib import Path

from . import translate
from .parser import PtxError

if len(sys.argv) != 3:
    sys.exit("usage: python -m ptx2c IN.ptx OUT.c")
try:
    Path(sys.argv[2]).write_text(translate(Path(sys.argv[1]).read_text(encoding="latin-1")))
except PtxError as error:
    sys.exit(f"ptx2c: {error}")
