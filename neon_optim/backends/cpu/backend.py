"""The CPU backend: tensors in host memory, Programs run by the NumPy or the Numba engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend, Captured, Outcome, Parameter, Plan, Rounding, Tensor
from neon_optim.backends.cpu.compiled.numba_engine import NumbaEngine, numba_is_usable
from neon_optim.backends.cpu.host_executor import HostExecutor
from neon_optim.backends.cpu.host_plan import HostPlan, host_array
from neon_optim.backends.cpu.numpy_engine import NumpyEngine
from neon_optim.backends.cpu.tensor import CPUTensor
from neon_optim.backends.cpu.whole_arrays import WholeArrays, blas_product
from neon_optim.backends.flows import Flows
from neon_optim.backends.graph import Flat
from neon_optim.backends.optree_shapes import check_fits
from neon_optim.backends.program import Program
from neon_optim.backends.shapes import at_least_2d
from neon_optim.described.object import NervanaObject
from neon_optim.errors import BackendError

__all__ = ["CPUBackend"]

ENGINES = ("numpy", "numba", "auto")


class CPUBackend(Backend):
    """Host memory; arguments as for :func:`neon_optim.gen_backend`.

    Arguments:
        as_numpy: in op-trees take exp, log and their like, and sums along axes, as NumPy computes them: then results
            are those of programs written in NumPy. They are no part of compiled loops then. ``deterministic`` goes
            before.

    Attributes:
        tensor_cls: the class of its tensors.
        engine: what runs Programs; ``engine.name`` is 'numpy' or 'numba'.
        deterministic: whether results have the bits of every other deterministic backend.
    """

    name = "cpu"
    takes_parts = True
    tensor_cls: type[CPUTensor] = CPUTensor

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        batch_size: int = 0,
        stochastic_round: bool | int = False,
        engine: str = "auto",
        deterministic: bool = False,
        as_numpy: bool = False,
    ):
        super().__init__(rng_seed, default_dtype, batch_size, stochastic_round)
        self.deterministic = deterministic
        self.as_numpy = as_numpy and not deterministic
        self._numpy_engine = NumpyEngine(deterministic)
        self.engine = self._make_engine(engine)
        product = self.engine.fixed_product() if deterministic else blas_product
        self._flows = Flows(HostExecutor(WholeArrays(product, self.as_numpy), self.engine))

    def __reduce__(self) -> Any:
        """A pickle stands for the backend that is current when it is read; one like this where there is none."""
        return _current_or_like, (
            type(self),
            self._arguments(),
            self.bsz,
            self.noise_seed,
            self.rng_get_state(),
        )

    def _arguments(self) -> dict[str, Any]:
        """What makes a backend like this."""
        return {
            "rng_seed": self.rng_seed,
            "default_dtype": self.default_dtype,
            "stochastic_round": self.stochastic_round,
            "engine": "numpy" if self.engine.name == "numpy" else "auto",
            "deterministic": self.deterministic,
            "as_numpy": self.as_numpy,
        }

    def _make_engine(self, engine: str) -> Any:
        if engine not in ENGINES:
            raise BackendError(f"engine must be one of {', '.join(map(repr, ENGINES))}, received {engine!r}")
        if engine == "numpy" or (engine == "auto" and not numba_is_usable()):
            return self._numpy_engine
        if not numba_is_usable():
            raise BackendError(
                "engine 'numba' needs Numba (pip install 'neon_optim[fast]') and NUMBA_DISABLE_JIT unset; "
                "engine 'numpy' needs neither"
            )
        return NumbaEngine()

    def empty(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> CPUTensor:
        """A tensor of undefined contents."""
        return self.tensor_cls(self, np.empty(at_least_2d(shape), dtype or self.default_dtype), name)

    def as_tensor(self, value: Any) -> CPUTensor:
        """A tensor on the memory of an array; a tensor as it is."""
        if isinstance(value, CPUTensor):
            return value
        array = host_array(value)
        # An array object of the tensor's own; an axis of length 1 more never takes a copy.
        return self.tensor_cls(self, array.reshape(at_least_2d(array.shape)), getattr(value, "name", None))

    def assign(self, target: np.ndarray | CPUTensor, tree: Any) -> None:
        """Run an op-tree into an array; what ``tensor[:] = tree`` calls."""
        if isinstance(tree, np.ndarray) and tree.dtype.kind in "iub":
            written = target if isinstance(target, np.ndarray) else target.leaf.array
            check_fits(tree.shape, written.shape)
            np.copyto(written, tree, casting="unsafe")  # exactly, where the type of the target can hold them
            return
        self._flows.assign(target, tree)

    def run(self, flat: Flat, key: Any = None) -> None:
        """Do assignments that were flattened; see :meth:`Flows.run`."""
        self._flows.run(flat, key)

    def capture(
        self,
        assignments: Sequence[tuple[Tensor, Any]],
        inputs: Sequence[Tensor] = (),
        values: Sequence[tuple[Any, Tensor]] = (),
    ) -> Captured:
        """See :meth:`Backend.capture`."""
        return self._flows.capture(assignments, inputs, {id(node): value for node, value in values})

    def assign_all(
        self, assignments: Sequence[tuple[Tensor, Any]], values: Sequence[tuple[Any, Tensor]] = ()
    ) -> None:
        """See :meth:`Backend.assign_all`."""
        self._flows.assign_all(assignments, {id(node): value for node, value in values})

    def plan(
        self,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
        describe: Callable[[int], str] | None = None,
        starts: Sequence[int] | None = None,
    ) -> Plan:
        """Check a list of parameters; see :meth:`Backend.plan`."""
        return HostPlan(parameters, slots, sets, scopes, describe, starts, self.engine.words_differ())

    def execute(
        self,
        program: Program,
        plan: Plan,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """Run a Program over every row of a plan; see :meth:`Backend.execute`."""
        if not isinstance(plan, HostPlan):
            raise BackendError(f"a plan of another backend: {type(plan).__name__}")
        plan.table.gather()
        outcome: Outcome = self.engine.execute(program, plan.table, scalars, rounding)
        if outcome.stored:
            plan.table.scatter({slot for slot, _ in program.outputs})
        return outcome

    def close(self) -> None:
        """Free scratch memory. Tensors stay usable through NumPy."""
        self._numpy_engine.close()
        self._flows.close()


def _current_or_like(
    kind: type[CPUBackend], arguments: dict[str, Any], bsz: int, noise_seed: int, rng_state: Any
) -> Any:
    """The current backend; where there is none, it becomes one with these settings."""
    if NervanaObject.be is None:
        made = kind(**arguments)
        made.bsz = bsz
        made.noise_seed = noise_seed
        made.rng_set_state(rng_state)
        NervanaObject.be = made
    return NervanaObject.be
