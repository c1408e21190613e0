"""neon.backends.backend: what backends have in common, whatever their tensors are."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from neon_optim.backends import contract
from neon_optim.backends.optree import Node, topological_order
from neon_optim.compat.neon.backends.abstract_backend import AbstractBackend
from neon_optim.compat.neon.backends.image_operations import ImageOperations
from neon_optim.compat.neon.backends.layer_operations import LayerOperations
from neon_optim.compat.neon.backends.op_trees import OpCollection, OpTreeNode
from neon_optim.compat.neon.backends.recurrent_operations import RecurrentOperations
from neon_optim.compat.neon.backends.regions import Regions
from neon_optim.compat.neon.backends.tensor import Tensor
from neon_optim.errors import BackendError

__all__ = ["Backend", "Block", "OpCollection", "OpTreeNode", "Tensor"]

logger = logging.getLogger(__name__)

_HISTOGRAMS = 4096
"""How many histograms are kept until the backend is asked for them."""


class Backend(
    ImageOperations, LayerOperations, RecurrentOperations, Regions, AbstractBackend, contract.Backend
):
    """A backend with neon's names; tensors and work come from the backend that it is mixed with.

    A subclass with a ``backend_name`` can be asked for by that name from then on: ``gen_backend("its name")``.

    Arguments:
        rng_seed: seed of the random numbers.
        default_dtype: type of new tensors.
        compat_mode: 'caffe': poolings have as many windows as in Caffe; or None.
        hist_bins, hist_offset: the bins of histograms; see :meth:`Tensor.hist`.
        options: arguments of the backend that it is mixed with.

    References:
        neon/backends/backend.py.
    """

    _min_dims = 2
    _draws = False  #: whether op-trees are asked for numbers that are drawn when they are run

    def __init__(
        self,
        rng_seed: int | None = None,
        default_dtype: Any = np.float32,
        compat_mode: str | None = None,
        hist_bins: int = 64,
        hist_offset: int = -48,
        **options: Any,
    ):
        if compat_mode not in (None, "caffe"):
            raise ValueError(f"compat_mode must be 'caffe' or None, received {compat_mode!r}")
        self.compat_mode = compat_mode
        super().__init__(rng_seed=rng_seed, default_dtype=default_dtype, **options)
        self.hist_bins: int | None = None
        self.hist_offset: int | None = None
        self.set_hist_buffers(hist_bins, hist_offset)

    @staticmethod
    def backend_choices() -> list[str]:
        """The names of the backends that there are."""
        return sorted(Backend.backends)

    @staticmethod
    def allocate_backend(name: str, **kargs: Any) -> Any:
        """A backend by its name; ``kargs`` are its arguments.

        Raises:
            ValueError: there is none of that name.
        """
        if name not in Backend.backends:
            choices = ", ".join(map(repr, Backend.backend_choices()))
            raise ValueError(f"backend must be one of ({choices}), received {name!r}")
        return Backend.backends[name](**kargs)

    def cleanup_backend(self) -> None:
        """Give back what the backend holds."""
        self.close()

    # --- memory ---

    def empty_like(
        self, ary: Any, dtype: Any = None, name: str | None = None, persist_values: bool = True
    ) -> Any:
        """A tensor of the shape of another, in ``dtype`` or else the backend's."""
        return self.empty(ary.shape, dtype, name)

    def zeros_like(
        self, ary: Any, dtype: Any = None, name: str | None = None, persist_values: bool = True
    ) -> Any:
        """A tensor of zeros in the shape of another, in ``dtype`` or else the backend's."""
        return self.zeros(ary.shape, dtype, name)

    def iobuf(
        self,
        dim0: Any,
        x: Any = None,
        dtype: Any = None,
        name: str | None = None,
        persist_values: bool = True,
        shared: Any = None,
        parallelism: str | None = None,
    ) -> Any:
        """A tensor of zeros for what a layer makes of a minibatch.

        Arguments:
            dim0: features of a sample, or their shape; (F, T) for T steps of F features, whose tensor is (F, T·bsz).
            x: what is returned where it is not None.
            dtype, name: of the tensor.
            shared: a tensor whose memory is used; it has at least as many elements.
            parallelism: neon's; without effect.
        """
        if x is not None:
            return x
        if isinstance(dim0, tuple):
            shape = (dim0[0], dim0[1] * self.bsz) if len(dim0) == 2 else (math.prod(dim0), self.bsz)
        else:
            shape = (dim0, self.bsz)
        if shared is None:
            return self.zeros(shape, dtype, name)
        return (shared if shared.shape == shape else shared.share(shape)).fill(0.0)

    def shared_iobuf_size(self, shape: Any, parallelism: str | None) -> int:
        """Elements that an :meth:`iobuf` of a shape needs where its memory is shared."""
        return int(np.prod(shape))

    def set_hist_buffers(self, hist_bins: int, hist_offset: int) -> None:
        """The bins of histograms from now on; those that are kept are dropped if the bins change."""
        if (hist_bins, hist_offset) != (self.hist_bins, self.hist_offset):
            self.hist_bins, self.hist_offset = hist_bins, hist_offset
            self.dump_hist_data()

    def dump_hist_data(self) -> tuple[Any, dict[str, int]]:
        """The histograms that were taken, a row each, and the row of each tag; forgets them."""
        dumped = getattr(self, "hist_buf", None), getattr(self, "hist_map", {})
        self.hist_max, self.hist_idx = _HISTOGRAMS, 0
        self.hist_map: dict[str, int] = {}
        self.hist_buf = self.zeros((self.hist_max, self.hist_bins), np.int32)
        return dumped

    def _hist_tensor(self, tag: str) -> Any:
        if self.hist_idx >= self.hist_max:
            raise BackendError(f"{self.hist_max} histograms are kept already; take them: be.dump_hist_data()")
        self.hist_map[tag] = self.hist_idx
        self.hist_idx += 1
        return self.hist_buf[self.hist_map[tag]]

    # --- one process has nothing to distribute, and one layout ---

    def distribute_data(self, tensor: Any, layer_parallelism: str | None) -> None:
        """Nothing: all of it is here."""

    def revert_tensor(self, tensor: Any) -> None:
        """Nothing: :meth:`distribute_data` changed nothing."""

    def convert_data(self, tensor: Any, layer_mkl: Any) -> None:
        """Nothing: tensors have one layout."""

    def clean_data(self, tensor: Any, layer_mkl: Any) -> None:
        """Nothing: tensors have one layout."""

    def allocate_new_deltas(self, delta: Any, in_shape: Any, parallelism: str | None) -> Any:
        """The deltas as they are."""
        return delta

    def allocate_new_outputs(self, layer: Any, share_output: Any) -> None:
        """Have a layer allocate its outputs."""
        layer.allocate(shared_outputs=share_output)

    def is_mkl(self) -> bool:
        """False."""
        return False

    # --- work ---

    def execute(self, node: Any, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        """Run an assignment of op-trees; or a Program, see :meth:`neon_optim.backends.contract.Backend.execute`.

        Arguments:
            node: an op-tree with 'assign' at its top: the value of its right operand goes into the left one.
        """
        if not isinstance(node, OpTreeNode):
            ours: Any = super()
            return ours.execute(node, *arguments, **options)
        target, value = node.args
        target[:] = value
        return target

    def begin(self, block: int, identifier: int) -> None:
        """The start of a block of work, by a name of :class:`Block`; without effect."""

    def end(self, block: int, identifier: int) -> None:
        """The end of a block of work; without effect."""

    def init_mark(self) -> dict[str, float]:
        """A mark for a point in time."""
        return {"time": 0.0}

    def record_mark(self, marker: dict[str, float]) -> None:
        """Set a mark to now."""
        self.settle()
        marker["time"] = time.perf_counter()

    def synchronize_mark(self, marker: dict[str, float]) -> None:
        """Wait for a mark: it is set already."""

    def get_time(self, start: dict[str, float], end: dict[str, float]) -> float:
        """Milliseconds from one mark to another."""
        return (end["time"] - start["time"]) * 1000.0

    # --- random numbers ---

    def gen_rng(self, seed: int | None = None) -> np.random.RandomState:
        """Set ``rng`` to new random numbers from a seed, and return it."""
        self.rng = super().gen_rng(seed)
        self.init_rng_state = self.rng_get_state()
        return self.rng

    def rng_reset(self) -> None:
        """Set ``rng`` back to the state that it began with."""
        self.rng_set_state(self.init_rng_state)

    def make_binary_mask(self, out: Any, keepthresh: float = 0.5) -> None:
        """Set each element to 1 with a probability of ``keepthresh``, else to 0, by ``rng``."""
        out.set(self.rng.uniform(size=out.shape) < keepthresh)

    def fill_normal(self, ary: Any, mean: float = 0, stdv: float = 1) -> None:
        """Fill with normally distributed numbers, by NumPy's global random numbers."""
        ary.set(np.random.standard_normal(ary.shape) * stdv + mean)

    def rand(self, out: Any = None) -> Any:
        """Numbers from 0 to 1, as an op-tree: drawn from ``rng`` when it is assigned to a tensor, in its shape."""
        self._draws = True
        return self._build("rand", out=out)

    def dropout(self, keep: float = 0.5, out: Any = None) -> Any:
        """1 with a probability of ``keep``, else 0, as an op-tree; see :meth:`rand`."""
        return self.less_equal(self.rand(), keep, out=out)

    def drawn(self, tree: Any, shape: Sequence[int]) -> Any:
        """An op-tree with numbers in the place of each :meth:`rand`, for a tensor of a shape."""
        if not self._draws or not isinstance(tree, Node):
            return tree
        again: dict[int, Any] = {}
        for node in topological_order([tree]):
            operands = [again.get(id(a), a) for a in node.args]
            if node.op == "rand":
                again[id(node)] = self.array(self.rng.uniform(size=shape))
            elif any(a is not b for a, b in zip(operands, node.args, strict=True)):
                again[id(node)] = OpTreeNode(node.op, *operands, **node.attrs)
        return again.get(id(tree), tree)

    def binarize(self, ary: Any, out: Any, stochastic: bool = True) -> Any:
        """Set each element to 1 or -1, by its sign or, where ``stochastic``, by chance, the likelier the nearer.

        References:
            Courbariaux et al., BinaryNet, 2016.
        """
        if stochastic:
            chance = self.clip((ary + 1) / 2.0, 0, 1)
            drawn = self.array(np.random.uniform(0, 1, size=ary.shape))
            out[:] = 2 * self.less_equal(drawn, chance) - 1
        else:
            out[:] = 2 * self.greater_equal(ary, 0) - 1
        return out

    # --- shapes ---

    def output_dim(
        self, X: int, S: int, padding: int, strides: int, pooling: bool = False, dilation: int = 1
    ) -> int:
        """How many windows there are along one axis.

        Arguments:
            X: extent of the axis.
            S: extent of the windows.
            padding: zeros on each side.
            strides: steps between windows.
            pooling: windows of a pooling, which may not lie beyond the border as a whole.
            dilation: distance of the elements that a window sees.

        Raises:
            ValueError: windows of a pooling fit into the padding.
        """
        reach = dilation * (S - 1) + 1
        if pooling and padding >= reach:
            raise ValueError(f"a padding of {padding} must be smaller than the windows of a pooling, {reach}")
        room = X - reach + 2 * padding
        if not (pooling and self.check_caffe_compat()):
            return room // strides + 1
        size = -(-room // strides) + 1
        return size - 1 if padding > 0 and (size - 1) * strides >= X + padding else size

    def set_caffe_compat(self) -> None:
        """Count the windows of poolings as Caffe does."""
        self.compat_mode = "caffe"

    def check_caffe_compat(self) -> bool:
        """Whether the windows of poolings are counted as Caffe does."""
        return self.compat_mode == "caffe"

    def copy_transpose(self, a: Any, out: Any, axes: Sequence[int] | None = None, repeat: int = 1) -> None:
        """Copy a with its axes in another order; without one, reversed."""
        order = tuple(axes) if axes else tuple(reversed(range(len(a.shape))))
        out[:] = OpTreeNode("transpose", a, axes=order)

    def set_item(self, tensor: Any, index: Any, value: Any) -> None:
        """``tensor[index] = value``."""
        tensor[index] = value


class Block:
    """Names of blocks of work."""

    epoch, minibatch, fprop, bprop, update = range(5)
