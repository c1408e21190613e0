"""What the processes of test_mpi run: the cases of test_any_number_of_processes, on the first 1, 2, 3 … of them."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
from cases import ROWS, options_of, train

from neon_optim import gen_backend
from neon_optim.distributed import Distributed
from neon_optim.distributed.communicator import Alone
from neon_optim.distributed.mpi import MPICommunicator, world
from neon_optim.optimizers import Adam


def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def same_bits(names):
    """Each optimizer on the first 1, 2, 3 … processes."""
    from mpi4py import MPI  # which starts MPI: no collection of tests should

    rank, size = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
    for count in range(2, size + 1):
        comm = MPI.COMM_WORLD.Split(int(rank < count), rank)
        if rank >= count:
            continue
        processes = MPICommunicator(comm)
        for row in ROWS:
            if row.name in names:
                options = options_of(row)
                arrays, _, _ = train(lambda row=row, options=options: row.make(**options), processes)
                alone, _, _ = train(lambda row=row, options=options: row.make(**options), Alone())
                print(f"{row.name} {count} {rank} {digest(arrays) == digest(alone)}", flush=True)


def torch_parameters():
    """Parameters of PyTorch's on the CPU, whose gradients are other objects at each step."""
    import torch

    w = torch.ones(3000, requires_grad=True)
    bound = Distributed(Adam(learning_rate=0.1)).bind([w])
    for step in range(3):
        w.grad = None
        (w * (1.0 + step + world().rank)).sum().backward()
        bound.step()
    print(f"torch {world().rank} {digest([w.detach().numpy()])}", flush=True)


if __name__ == "__main__":
    gen_backend("cpu", rng_seed=1, engine="numpy")
    if sys.argv[1] == "torch":
        torch_parameters()
    else:
        same_bits(sys.argv[1:])
