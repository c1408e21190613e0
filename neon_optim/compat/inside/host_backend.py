"""The backend ``neon_optim`` of Intel's neon: its NervanaCPU, whose assignments and products our CPU backend runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from neon.backends.nervanacpu import CPUTensor, NervanaCPU

from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.compat.inside.assignments import Assignments
from neon_optim.compat.inside.images import ImageOperations
from neon_optim.compat.neon.backends import nervanacpu
from neon_optim.described.object import NervanaObject

__all__ = ["NeonOptimCPU", "SharedTensor"]


class SharedTensor(CPUTensor):
    """neon's tensor; NumPy sees its memory too."""

    _leaf = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != self._tensor.dtype:
            return self._tensor.astype(dtype)
        return self._tensor.copy() if copy else self._tensor.view()


class NeonOptimCPU(ImageOperations, NervanaCPU):
    """neon's CPU backend with our engine.

    Layers, tensors and op-trees are neon's. An assignment runs as one pass over memory where neon makes an array of
    each operation; what images need is made of all their windows at once. Assignments of integers, and what else neon
    does beside op-trees, stay neon's own.

    Arguments are neon's, and

    Arguments:
        engine: as for :func:`neon_optim.gen_backend`.

    Attributes:
        assignments: what runs them.
        ours: our backend; it is ``neon_optim.NervanaObject.be`` as long as this is neon's.
    """

    backend_name = "neon_optim"

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        stochastic_round: bool | int | None = False,
        engine: str = "auto",
        **options: Any,
    ):
        super().__init__(rng_seed=rng_seed, default_dtype=default_dtype, **options)
        self.tensor_cls = SharedTensor
        self.ours = CPUBackend(rng_seed, np.dtype(default_dtype), 0, stochastic_round or False, engine)
        self.images = nervanacpu.NervanaCPU(
            rng_seed, default_dtype, compat_mode=options.get("compat_mode"), engine=engine
        )
        self.assignments = Assignments(self.ours)
        NervanaObject.be = self.ours

    @property
    def bsz(self) -> Any:
        """Samples of a minibatch; those of our backends, too."""
        return self._bsz

    @bsz.setter
    def bsz(self, value: Any) -> None:
        self._bsz = value
        if "ours" in vars(self):
            self.ours.bsz = self.images.bsz = value or 0

    def cleanup_backend(self) -> None:
        """Give our backend back with this one."""
        ours = vars(self).get("ours")
        if ours is None:
            return
        ours.close()
        self.images.close()
        if NervanaObject.be is ours:
            NervanaObject.be = None

    def execute(self, optree: Any, *options: Any) -> Any:
        """Run an assignment; neon runs what our engine does not."""
        what, target, tree = optree
        if what["op"] == "assign" and not options and self.assignments.run(target, tree):
            return target
        return super().execute(optree, *options)

    def compound_dot(
        self,
        A: Any,
        B: Any,
        C: Any,
        alpha: float = 1.0,
        beta: float = 0.0,
        relu: bool = False,
        bsum: Any = None,
    ) -> Any:
        """neon's product, C = alpha · A · B + beta · C. What is added is added in one pass."""
        if beta == 0 or relu or C.dtype.itemsize < 4:
            return super().compound_dot(A, B, C, alpha=alpha, beta=beta, relu=relu, bsum=bsum)
        assert A.dtype == B.dtype == C.dtype
        product = self.dot(A, B)
        C[:] = (C if beta == 1.0 else C * beta) + (product if alpha == 1.0 else product * alpha)
        if bsum is not None:
            bsum[:] = self.sum(C, 1)
        return C
