"""Run a script of neon's: ``python -m neon_optim.compat [--plugin] SCRIPT [ARGUMENTS]``.

It runs on this package; with ``--plugin`` on Intel's neon, which has our backends then.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

from neon_optim.compat.module_paths import install_as_neon
from neon_optim.errors import NeonOptimError


def main(arguments: list[str]) -> int:
    """Run the script as ``python SCRIPT`` would; 2 where there is none, or not the neon that it needs."""
    inside = arguments[:1] == ["--plugin"]
    arguments = arguments[1:] if inside else arguments
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m neon_optim.compat [--plugin] SCRIPT [ARGUMENTS]", file=sys.stderr)
        return 2
    script = Path(arguments[0])
    if not script.is_file():
        print(f"Error: there is no script {script}", file=sys.stderr)
        return 2
    try:
        if inside:
            importlib.import_module("neon_optim.compat.plugin")
        else:
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
