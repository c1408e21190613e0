"""Whether a launcher started this process as one of many, by the environment that launchers set."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["launched_rank", "launched_size"]

_SIZES = {
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "PMIX_RANK": "",
    "SLURM_PROCID": "SLURM_STEP_NUM_TASKS",
}
"""The rank of a process, and how many there are, as Open MPI, MPICH and its kin, PMIx and Slurm's srun name them."""

UNKNOWN = -1


def launched_size(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes were started together with this one: 1 for a process by itself, -1 where MPI alone knows.

    Nothing but the environment is looked at. A batch script of Slurm has a rank too, but is no step of several tasks.

    >>> launched_size({}), launched_size({"PMI_RANK": "2", "PMI_SIZE": "4"})
    (1, 4)
    >>> launched_size({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"})
    1
    """
    for rank, size in _SIZES.items():
        if rank not in environment:
            continue
        if not size:
            return UNKNOWN
        told = environment.get(size, "")
        if told.isdigit():
            return int(told)
        if rank != "SLURM_PROCID":
            return UNKNOWN
    return 1


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those that were started together; 0 for one by itself.

    >>> launched_rank({"OMPI_COMM_WORLD_RANK": "3"})
    3
    """
    found = next((environment[rank] for rank in _SIZES if rank in environment), "0")
    return int(found) if found.isdigit() else 0
