"""Run a script of neon's on this package: ``python -m neon_optim.compat SCRIPT [ARGUMENTS]``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from neon_optim.compat.module_paths import install_as_neon
from neon_optim.errors import NeonOptimError


def main(arguments: list[str]) -> int:
    """Run the script as ``python SCRIPT`` would; 2 where there is none or neon's name is taken."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m neon_optim.compat SCRIPT [ARGUMENTS]", file=sys.stderr)
        return 2
    script = Path(arguments[0])
    if not script.is_file():
        print(f"Error: there is no script {script}", file=sys.stderr)
        return 2
    try:
        install_as_neon()
    except NeonOptimError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    sys.argv = arguments
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
