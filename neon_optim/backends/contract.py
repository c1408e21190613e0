"""The contract of a backend: where tensors live, how trees and Programs are run on them.

A new backend subclasses :class:`Backend` and :class:`Tensor` and defines what is abstract there; the algebra and
the rest come from here.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neon_optim.backends.algebra import Algebra
from neon_optim.backends.optree import Expression, Node
from neon_optim.backends.optree_shapes import normalized_key
from neon_optim.backends.philox import DROPOUT, random_words
from neon_optim.backends.program import Program
from neon_optim.errors import BackendError, shown

__all__ = ["Backend", "Captured", "Outcome", "Plan", "Rounding", "Tensor"]

#: One parameter: ((param, grad), state), the tuples that neon's layers return from get_params().
Parameter = tuple[tuple[Any, Any], list[Any]]


class Tensor(Expression, ABC):
    """An array that belongs to a backend. Arithmetic builds op-trees; ``t[:] = tree`` runs them.

    Attributes:
        backend: the backend that made it.
        name: for people and for the names in checkpoints; None if not given.
        rounding: neon's attribute, for programs that read it. It has no effect: ``t[:] = tree`` rounds to nearest, and
            what a step stores is rounded as the optimizer's or the backend's ``stochastic_round`` says.
    """

    __slots__ = ("__weakref__", "_view_of", "backend", "name", "rounding")

    def __init__(self, backend: Backend, name: str | None = None, rounding: int = 0):
        self.backend = backend
        self.name = name
        self.rounding = rounding
        self._view_of: tuple[Tensor, str, dict[str, Any]] | None = None

    @property
    def origin(self) -> Node | None:
        """For a view the operation that made it, through which derivatives go; None for a tensor of its own."""
        if self._view_of is None:
            return None
        base, op, attrs = self._view_of
        return Node(
            op, base, **({"key": normalized_key(base.shape, attrs["key"])} if "key" in attrs else attrs)
        )

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis; two axes or more."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype:
        """Type of the elements."""

    @abstractmethod
    def get(self) -> np.ndarray:
        """A copy of the contents as a NumPy array."""

    @abstractmethod
    def set(self, ary: Any) -> Tensor:
        """Copy a NumPy array (of the same shape, or the same size where one is a vector) into the tensor."""

    @abstractmethod
    def reshape(self, *shape: Any) -> Tensor:
        """A view of another shape on the same memory."""

    @abstractmethod
    def __getitem__(self, key: Any) -> Tensor:
        """A view on a part, of two axes or more."""

    @abstractmethod
    def __setitem__(self, key: Any, value: Any) -> None:
        """Run an op-tree into the tensor or a part of it; or copy an array or number there."""

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for extent in self.shape:
            n *= extent
        return n

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def asnumpyarray(self) -> np.ndarray:
        """The contents as a NumPy array; shares memory where the backend can."""
        return self.get()

    def fill(self, value: float) -> Tensor:
        """Set every element to a number."""
        self[:] = value
        return self

    def copy_from(self, source: Any) -> Tensor:
        """Copy from a tensor or array of the same shape."""
        self[:] = source
        return self

    def copy(self) -> Tensor:
        """A new tensor with the same contents."""
        return self.backend.empty_like(self).copy_from(self)

    def __reduce__(self) -> Any:
        """Copies and pickles hold the contents; what is read from a pickle belongs to the backend of that time."""
        return _tensor_again, (self.backend, self.get(), self.name, self.rounding)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        """The parts along the first axis, as views that keep all axes."""
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"{type(self).__name__}{label}({'x'.join(map(str, self.shape))}, {self.dtype})"


def _tensor_again(backend: Backend, contents: np.ndarray, name: str | None, rounding: int) -> Tensor:
    tensor = backend.array(contents, contents.dtype, name)
    tensor.rounding = rounding
    return tensor


@dataclass(frozen=True)
class Rounding:
    """Stochastic rounding of one step's stores.

    Attributes:
        bits: mantissa bits that are kept; 0 for what the storage type has.
        seed: key of the random numbers.
        step: counter of the random numbers; a new one for each step.
        first_row: rows of this step that were run before, so that each tensor of a step has its own random numbers.
    """

    bits: int
    seed: int
    step: int
    first_row: int = 0


@dataclass
class Outcome:
    """What one :meth:`Backend.execute` did.

    Attributes:
        stored: False where the Program's guard was not finite, so that every slot is as it was.
        results: the values that the Program returns, an array of one number for each scalar set.
        guard: the guard's value for each scalar set; None for a Program without one.
    """

    stored: bool = True
    results: list[np.ndarray] = field(default_factory=list)
    guard: np.ndarray | None = None

    def when_refused(self, counting: Any, report: Callable[[Sequence[int] | None], object]) -> None:
        """Call ``report`` if nothing was stored: at once, where that is known.

        A device may still be at work. Then ``report`` is called when the host learns of it (at the next step or when
        a tensor is read). No Program that was asked for after the refused one has been stored either, so the counters
        of all that were given here since, whether their Programs have guards or not, are first put back.

        Arguments:
            counting: has ``get_counters`` and ``set_counters``; this step is not counted yet.
            report: receives the rows that were not finite, as the device saw them; None: they are as they were.
        """
        if not self.stored:
            report(None)


class Captured(ABC):
    """Assignments that a backend has made ready to be done again and again; see :meth:`Backend.capture`."""

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> None:
        """Do the assignments.

        Arguments:
            inputs: what takes the place of the inputs that were named, in their order and of their shapes and types.

        Raises:
            BackendError: there are more or fewer, or of another shape or type; nothing was changed.
        """


class Plan(ABC):
    """A checked list of parameters, ready to be run over again and again.

    Making a plan checks every array (kind, shape, dtype, writable, no overlap) before anything is changed.
    """

    @abstractmethod
    def fits(self, parameters: Sequence[Parameter]) -> bool:
        """Whether this plan still describes these parameters: the same arrays, unmoved, of the same shapes."""

    def renew(self, parameters: Sequence[Parameter]) -> bool:
        """Take over parameters of which only the gradients are other arrays than before; False: make a new plan."""
        return False


class Backend(Algebra, ABC):
    """Where tensors live and how work is done on them.

    Arguments are those of :func:`neon_optim.gen_backend`.

    Attributes:
        bsz: batch size; optimizers divide gradients (sums over the batch) by it. 0 means not set, and counts as 1.
        rng: NumPy's RandomState, for initial values and shuffling, as in neon.
        noise_seed: key of the counter-based random numbers (stochastic rounding, dropout).
        default_dtype: type of new tensors.
    """

    takes_parts = False
    """Whether the rows of a plan may be parts of tensors."""

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        batch_size: int = 0,
        stochastic_round: bool | int = False,
    ):
        self.rng_seed = rng_seed
        self.default_dtype = np.dtype(default_dtype)
        self.bsz = batch_size
        self.stochastic_round = stochastic_round
        self.rng = self.gen_rng(rng_seed)
        self.noise_seed = rng_seed if rng_seed is not None else int.from_bytes(os.urandom(4), "little")

    def __deepcopy__(self, memo: Any) -> Backend:
        """Itself: copies of tensors stay on their backend."""
        return self

    def __reduce__(self) -> Any:
        raise BackendError(
            f"a {type(self).__name__} belongs to its process: it, and what holds tensors of it, cannot be pickled; "
            "save a checkpoint, or pickle arrays: tensor.get()"
        )

    # --- memory ---

    @abstractmethod
    def empty(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> Tensor:
        """A tensor of undefined contents. The last three arguments are neon's and have no effect."""

    def array(
        self,
        ary: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> Tensor:
        """A tensor with a copy of the array's contents, in ``dtype`` (default: the backend's)."""
        source = np.asarray(ary)
        return self.empty(source.shape, dtype, name).set(source)

    def zeros(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> Tensor:
        """A tensor of zeros."""
        return self.empty(shape, dtype, name).fill(0.0)

    def ones(
        self,
        shape: Any,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        parallel: bool = False,
        distributed: bool = False,
    ) -> Tensor:
        """A tensor of ones."""
        return self.empty(shape, dtype, name).fill(1.0)

    def empty_like(self, ary: Any, dtype: Any = None, name: str | None = None) -> Tensor:
        """A tensor of the shape and dtype of another tensor or array."""
        like = self._with_dtype(ary)
        return self.empty(like.shape, dtype or like.dtype, name)

    def zeros_like(self, ary: Any, dtype: Any = None, name: str | None = None) -> Tensor:
        """A tensor of zeros with the shape and dtype of another tensor or array."""
        like = self._with_dtype(ary)
        return self.zeros(like.shape, dtype or like.dtype, name)

    def _with_dtype(self, ary: Any) -> Any:
        """The array itself, or a tensor on its memory where its dtype is not NumPy's (a PyTorch tensor, say)."""
        return ary if isinstance(getattr(ary, "dtype", None), np.dtype) else self.as_tensor(ary)

    @abstractmethod
    def as_tensor(self, value: Any) -> Tensor:
        """A tensor on the memory of an array or of an object that shares its memory; a tensor as it is.

        Raises:
            StateError: the memory cannot be shared.
        """

    # --- work ---

    def assign_all(
        self, assignments: Sequence[tuple[Tensor, Any]], values: Sequence[tuple[Any, Tensor]] = ()
    ) -> None:
        """Run op-trees into as many tensors that none of them reads; what they have in common is computed once.

        Arguments:
            assignments: (tensor, op-tree) pairs.
            values: nodes whose value is known, with it. A backend may compute it again.
        """
        for target, tree in assignments:
            target[:] = tree

    @abstractmethod
    def capture(
        self,
        assignments: Sequence[tuple[Tensor, Any]],
        inputs: Sequence[Tensor] = (),
        values: Sequence[tuple[Any, Tensor]] = (),
    ) -> Captured:
        """Make assignments ready to be done again and again, in one go.

        What trees have in common is computed once.

        Arguments:
            assignments: (tensor, op-tree) pairs. No tree may read a tensor that is written.
            inputs: tensors among them in whose place others are given each time.
            values: nodes whose value is in a tensor each time, with it. A backend may compute it again.

        >>> from neon_optim import gen_backend
        >>> be = gen_backend("cpu")
        >>> x, total, largest = be.zeros((2, 2)), be.empty((2, 1)), be.empty((2, 1))
        >>> reduce = be.capture([(total, be.sum(x, axis=1)), (largest, be.max(x, axis=1))], inputs=[x])
        >>> reduce(be.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> total.get().tolist(), largest.get().tolist()
        ([[3.0], [7.0]], [[2.0], [4.0]])
        """

    @abstractmethod
    def plan(
        self,
        parameters: Sequence[Parameter],
        slots: Sequence[str],
        sets: Sequence[int] | None = None,
        scopes: Sequence[int] | None = None,
        describe: Callable[[int], str] | None = None,
        starts: Sequence[int] | None = None,
    ) -> Plan:
        """Check a list of parameters and keep what is needed to run Programs over it.

        Arguments:
            parameters: ((param, grad), state) tuples; the arrays of one row are param, grad, then the states.
            slots: names of those arrays, for messages.
            sets: for each parameter the index of its scalar set; None: all use set 0.
            scopes: for each scalar set the index of its scope, over which 'total' reduces; None: all one scope.
            describe: turns the index of a parameter into words, for messages.
            starts: for each parameter where it begins in the tensor that it is a part of, in elements: a multiple of
                the chunk of sums. Sums of parts are then those of their chunks in the tensor, and stores are rounded
                as they are in the tensor. Only for backends with ``takes_parts``. None: all are whole.

        Raises:
            StateError: shapes, sizes or dtypes in a row do not fit, memory overlaps, or an array cannot be written.
        """

    @abstractmethod
    def execute(
        self,
        program: Program,
        plan: Plan,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """Run a Program over every row of a plan in one go.

        Arguments:
            scalars: for each scalar set the values of the Program's scalars.
            rounding: stochastic rounding of the stores; None: to nearest.
        """

    def settle(self) -> None:
        """Wait until it is known of every execution so far whether it was stored, and tell of one that was not.

        A backend that knows at once has nothing to do.
        """

    def close(self) -> None:
        """Give back what the backend holds. Called by :func:`neon_optim.cleanup_backend`."""

    # --- random numbers ---

    def gen_rng(self, seed: int | None = None) -> np.random.RandomState:
        """A new NumPy RandomState (Mersenne Twister, as neon's).

        Raises:
            BackendError: ``seed`` is neither None nor an integer of 32 bits. Every seed of a backend passes here.
        """
        integer = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
        if seed is not None and not (integer and 0 <= seed < 2**32):
            raise BackendError(
                f"rng_seed must be an integer from 0 to {2**32 - 1} (32 bits), or None for a random one; "
                f"received {shown(seed)}"
            )
        return np.random.RandomState(seed)

    def rng_reset(self) -> None:
        """Set ``rng`` back to the state it had when the backend was made with a seed."""
        if self.rng_seed is not None:
            self.rng.seed(self.rng_seed)

    def rng_get_state(self) -> Any:
        """The state of ``rng``, as ``RandomState.get_state()`` gives it."""
        return self.rng.get_state()

    def rng_set_state(self, state: Any) -> None:
        """Set the state of ``rng``."""
        self.rng.set_state(state)

    def bernoulli(self, out: Tensor, keep: float, *, stream: int, step: int) -> Tensor:
        """Set each element to 1 with probability ``keep``, else to 0, by counter-based random numbers.

        Element k is 1 where word k of (``noise_seed``, stream, step) is below keep · 2³²; see
        :mod:`neon_optim.backends.philox`. The same numbers give the same elements on every backend.
        """
        words = random_words(out.size, self.noise_seed, DROPOUT, stream, step)
        return out.set((words < round(keep * 2.0**32)).reshape(out.shape))
