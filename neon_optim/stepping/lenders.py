"""Tensors of another library's backend, neon's above all: whose they are, and whether our CPU backend can update them.

A neon-style tensor knows its backend, which has a batch size. Where it keeps its elements in a NumPy array, ours update
it in place, in the same passes as they update anything; so neon needs no adapter, and no backend has to be set.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from neon_optim.backends import gen_backend
from neon_optim.backends.contract import Backend
from neon_optim.errors import BackendError

__all__ = ["backend_for", "batch_size_of", "lender_of"]

_log = logging.getLogger(__name__)


def lender_of(rows: Any) -> Any:
    """The backend that the first parameter's tensor belongs to, where it is none of ours; None: there is no such."""
    if not rows:
        return None
    backend = getattr(rows[0][0][0], "backend", None)
    return backend if hasattr(backend, "bsz") and not isinstance(backend, Backend) else None


def batch_size_of(be: Any, lender: Any) -> float:
    """The samples that gradients are sums over where nobody says more: those of a minibatch of the layers' backend."""
    return float(getattr(be if lender is None else lender, "bsz", 0) or 1)


def backend_for(rows: Any) -> Any:
    """The backend for steps where none is set: ours, which is then set, for tensors that lend their memory.

    Raises:
        BackendError: these are no such tensors; what to do is said.
    """
    lender = lender_of(rows)
    if lender is None:
        raise BackendError("no backend: call neon_optim.gen_backend() before the first step")
    name = type(lender).__name__
    if not _is_in_host_memory(rows[0][0][0], lender):
        raise BackendError(
            f"the parameters are tensors of {name}, whose memory NumPy cannot share, so they cannot be updated in one "
            "pass. Train on neon's CPU backend, or let the steps run on theirs, tensor by tensor: "
            "neon_optim.NervanaObject.be = model.be"
        )
    _log.info("the parameters are tensors of %s in host memory; they are updated by our CPU backend", name)
    return gen_backend("cpu")


def _is_in_host_memory(tensor: Any, lender: Any) -> bool:
    """Whether a tensor's elements are in a NumPy array; neon's MKL backend keeps them in another order at times."""
    is_mkl = getattr(lender, "is_mkl", None)
    return isinstance(getattr(tensor, "_tensor", None), np.ndarray) and not (callable(is_mkl) and is_mkl())
