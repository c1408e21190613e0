"""What every layer of neon's is: shapes, buffers, the two passes; and how a layer of ours does the work of one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.derivatives import gradients
from neon_optim.compat.descriptions import NeonObject
from neon_optim.model.shapes import features
from neon_optim.model.transient import Transient

__all__ = ["Layer", "SameShape", "core_shape", "interpret_in_shape", "passes_are_ours", "takes_accumulation"]


def interpret_in_shape(xshape: Any) -> tuple[int, int]:
    """(features, steps) of the samples that come in: the size, a sequence (F, T), or an image.

    >>> interpret_in_shape(10), interpret_in_shape((16, 50)), interpret_in_shape((3, 8, 8))
    ((10, 1), (16, 50), (192, 1))
    """
    if isinstance(xshape, (int, np.integer)):
        return int(xshape), 1
    if len(xshape) == 2:
        return xshape[0], xshape[1]
    return math.prod(map(int, xshape)), 1


def core_shape(shape: Any) -> tuple[int, ...]:
    """The shape of a sample as a layer of ours has it."""
    whole = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    return tuple(map(int, whole))


def takes_accumulation(layer: Any) -> bool:
    """Whether the layer's ``allocate`` takes neon's ``accumulate_updates``."""
    return "accumulate_updates" in inspect.signature(layer.allocate).parameters


def passes_are_ours(layer: Any) -> bool:
    """Whether both passes of a layer are those of this package, not of a class derived from it."""
    methods = [inspect.getattr_static(layer, method) for method in ("fprop", "bprop")]
    return all(str(getattr(method, "__module__", "")).startswith(__package__) for method in methods)


class Layer(NeonObject, kind="layer"):
    """neon's layer: it is configured for what comes in, gets its buffers, and does the two passes.

    A subclass sets ``out_shape`` in :meth:`configure`, which returns the layer, and writes ``fprop`` and ``bprop``; or
    it sets ``core``, a layer of ours, and calls :meth:`forward_of_core` and :meth:`backward_of_core` in them.

    Arguments:
        name: None: the class and a number.
        parallelism: neon's, for many devices; kept, without effect.

    Attributes:
        in_shape, out_shape: shapes of a sample: a number of features, (F, T), (C, H, W) or (C, D, H, W).
        outputs, deltas: tensors that the passes fill, those of the layer or of one beside it.
        owns_output, owns_delta: whether the layer has such a tensor to itself.
        prev_layer, next_layer: neighbours, where known.
        has_params: whether the layer has something to learn.
        core: the layer of ours that states the algebra; None where the passes are written out.
        nest_deltas: whether layers within have buffers for deltas below those of the layers around.
    """

    core = cast("Any", None)
    nest_deltas = False
    out_shape = cast("Any", None)

    def __init__(self, name: str | None = None, parallelism: str = "Unknown"):
        super().__init__(name=name)
        self.outputs: Any = None
        self.has_params = False
        self.inputs: Any = None
        self.owns_output = True
        self.owns_delta = False
        self.deltas: Any = None
        self.parallelism = parallelism
        self.revert_list: list[Any] = []
        self.next_layer: Any = None
        self.actual_bsz: int | None = None
        self.actual_seq_len: int | None = None
        self.acc_on = False
        self.is_mklop = False
        self._passed = Transient()

    def __str__(self) -> str:
        return f"{self.classnm} {self.name}"

    def nested_str(self, level: int = 0) -> str:
        """The layer in words, indented by its level."""
        return "  " * level + str(self)

    # --- before the first minibatch ---

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in.

        Arguments:
            in_obj: a layer, whose outputs come in; a shape; a tensor; or a dataset, which has a shape.
        """
        self.prev_layer: Any = None
        self.in_shape: Any
        if isinstance(in_obj, Layer):
            self.prev_layer = in_obj
            self.in_shape = in_obj.out_shape
            if self.parallelism == "Unknown":
                self.parallelism = in_obj.parallelism
        elif isinstance(in_obj, (tuple, list, int, np.integer)):
            self.in_shape = in_obj
        elif isinstance(in_obj, Tensor):
            self.in_shape = (in_obj.shape[0], in_obj.shape[1] // self.be.bsz)
        else:
            self.in_shape = in_obj.shape
        return self

    def configure_core(self) -> None:
        """Tell the layer of ours what comes in."""
        shape = core_shape(self.in_shape)
        self.core.name = self.name
        self.core.in_shape = shape
        self.core.configure(features(shape))

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the tensor of outputs, where the layer owns it and has none; ``shared_outputs`` is its memory."""
        if self.outputs is None and self.owns_output:
            self.outputs = self.be.iobuf(self.out_shape, shared=shared_outputs, parallelism=self.parallelism)

    def allocate_deltas(self, global_deltas: Any) -> None:
        """Let a :class:`DeltasTree` know how large the deltas are."""
        global_deltas.proc_layer(self)

    def set_deltas(self, delta_buffers: Any) -> None:
        """Take the deltas from a :class:`DeltasTree`, whose two buffers change places; or those of a BranchNode."""
        if self.next_layer is not None and self.next_layer.parallelism != self.parallelism:
            self.owns_delta = True
        if not (self.owns_delta and self.prev_layer):
            self.deltas = None
        elif getattr(self.prev_layer, "is_branch", False):
            self.deltas = self.prev_layer.deltas
        else:
            self.deltas = self.be.iobuf(
                self.in_shape, shared=delta_buffers.buffers[0], parallelism=self.parallelism
            )
            delta_buffers.buffers.reverse()

    def set_next(self, layer: Any) -> None:
        """Learn which layer comes next."""
        self.next_layer = layer

    def get_terminal(self) -> Any:
        """The layer whose outputs go out: of a container the last."""
        return self

    # --- the passes ---

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs for a minibatch."""
        raise NotImplementedError(f"{self.classnm} has no fprop")

    def bprop(self, error: Any) -> Any:
        """The derivative of the cost by the inputs, given that by the outputs."""
        raise NotImplementedError(f"{self.classnm} has no bprop")

    def forward_of_core(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """Fill the outputs with the algebra of the layer of ours, beside ``beta`` times what they hold.

        Inputs with more than two axes, such as one image by its own, are taken as columns.
        """
        if len(inputs.shape) > 2:
            inputs = inputs.reshape((-1, self.be.bsz))
        self.inputs = inputs
        if not inference:
            self.core.prepare(inputs.shape[1])
        value, becoming = self.core.passed(inputs, inference)
        self._passed["last"] = inputs, value
        if beta:
            for array, tree in becoming:
                array[:] = tree
            self.outputs[:] = value + self.outputs * beta
        else:
            self.be.assign_all([(self.outputs, value), *becoming])
        return self.outputs

    def backward_of_core(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """Fill gradients and deltas by the algebra of the layer of ours; ``alpha`` and ``beta`` are of the deltas."""
        inputs, value = self._passed["last"]
        pairs = self.core.pairs()
        wanted = [param for param, _ in pairs] + ([] if self.deltas is None else [inputs])
        trees = gradients(value, wanted, error)
        assignments = [(grad, tree) for (_, grad), tree in zip(pairs, trees, strict=False)]
        if self.deltas is not None and not beta:
            assignments.append((self.deltas, trees[-1] if alpha == 1.0 else alpha * trees[-1]))
        self.be.assign_all(assignments)
        if self.deltas is not None and beta:
            self.deltas[:] = trees[-1] * alpha + self.deltas * beta
        return self.deltas

    @property
    def algebra(self) -> Any:
        """The layer of ours that does all that this one does, for passes that are captured; None where none does."""
        whole = self.actual_bsz is None and self.actual_seq_len is None
        return self.core if whole and not self.acc_on and passes_are_ours(self) else None

    # --- parameters, and what is saved ---

    def serialize(self) -> Any:
        """What :meth:`get_params` gives, of a layer that learns."""
        return self.get_params() if self.has_params else None  # type: ignore[attr-defined]

    def load_weights(self, pdict: Any, load_states: bool = True) -> None:
        """Take over the parameters, and with ``load_states`` the states, of a description with weights."""
        self.set_params(pdict)
        if load_states:
            self.set_states(pdict)

    def get_param_attrs(self) -> dict[str, bool]:
        """neon's arguments for parameters on many devices."""
        return {
            "parallel": self.parallelism in ("Data", "Model"),
            "distributed": self.parallelism == "Model",
        }

    def set_params(self, pdict: Any) -> None:
        """Take over parameters; a layer without any has nothing to do."""

    def set_states(self, pdict: Any) -> None:
        """Take over the states of the optimizer; a layer without parameters has nothing to do."""

    def set_batch_size(self, N: int | None) -> None:
        """Say how many samples the minibatches hold that come now; None: as many as ``be.bsz``."""
        self.actual_bsz = N

    def set_seq_len(self, S: int | None) -> None:
        """Say how many steps the sequences have that come now; None: as many as configured."""
        self.actual_seq_len = S

    # --- gradients that add up ---

    def set_acc_on(self, acc_on: bool) -> None:
        """Say whether gradients are added to those of the minibatch before.

        Raises:
            BufferError: the layer was not allocated with ``accumulate_updates=True``.
        """
        if not hasattr(self, "accumulate_updates"):
            raise BufferError(
                f"{self.classnm} cannot add up gradients: allocate it with accumulate_updates=True"
            )
        if self.accumulate_updates:
            self.acc_on = acc_on

    @staticmethod
    def accumulates(f: Callable[..., Any]) -> Callable[..., Any]:
        """A decorator of ``bprop``: while ``acc_on``, the gradients in ``acc_params`` add up.

        ``acc_params`` holds (scratch, gradient) pairs.
        """

        @wraps(f)
        def accumulating(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(self, Layer):
                raise TypeError(f"only layers can add up gradients, not a {type(self).__name__}")
            pairs = self.acc_params if self.acc_on else []  # type: ignore[attr-defined]
            for kept, grad in pairs:
                kept[:] = grad
            out = f(self, *args, **kwargs)
            for kept, grad in pairs:
                grad[:] = grad + kept
            return out

        return accumulating

    # --- neon's bookkeeping for MKL ---

    def get_is_mklop(self) -> bool:
        """Whether neon would run the layer by MKL."""
        return self.is_mklop

    def set_is_mklop(self) -> None:
        """Set what :meth:`get_is_mklop` gives."""
        self.is_mklop = True

    def set_not_mklop(self) -> None:
        """Unset what :meth:`get_is_mklop` gives."""
        self.is_mklop = False


class SameShape(Layer):
    """A layer of which the same shape goes out as comes in; ``core`` is its algebra."""

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in."""
        super().configure(in_obj)
        self.configure_core()
        self.out_shape = self.in_shape
        self.nout, _ = interpret_in_shape(self.in_shape)
        return self
