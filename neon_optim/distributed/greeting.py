"""What processes tell each other before they begin: those that run other code, or another run, are found out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.distributed.communicator import Communicator
from neon_optim.errors import DistributedError, shown
from neon_optim.version import __version__

__all__ = ["check_alike"]


def check_alike(comm: Communicator, **facts: Any) -> None:
    """See that all processes run the same code and have the same facts; called by all together.

    Arguments:
        facts: what must be the same: JSON values, by what they are called in the message; of mappings the parts.

    Raises:
        DistributedError: they differ; says which process, and in what. Every process raises it.
    """
    if comm.size == 1:
        return
    mine = {
        "code": {"version": __version__, "digest": _digest_of_code(), "NumPy": np.__version__},
        **facts,
    }
    first, *others = comm.gather(mine)
    found = [
        f"{comm.name_of(process)} has another {what}: {one}; {comm.name_of(0)}: {other}"
        for process, theirs in enumerate(others, 1)
        for what, one, other in _differences(theirs, first)
    ]
    if found:
        rest = f"; and {len(found) - 5} more differences" if len(found) > 5 else ""
        raise DistributedError("the processes do not fit together: " + "; ".join(found[:5]) + rest)


def _differences(theirs: Any, first: Any, what: str = "") -> list[tuple[str, str, str]]:
    if isinstance(theirs, Mapping) and isinstance(first, Mapping):
        return [
            difference
            for key in dict.fromkeys([*theirs, *first])
            for difference in _differences(theirs.get(key), first.get(key), f"{what}.{key}" if what else key)
        ]
    return [] if theirs == first else [(what, shown(theirs), shown(first))]


@cache
def _digest_of_code() -> str:
    """SHA-256 of the files of this package."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
