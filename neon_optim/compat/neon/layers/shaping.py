"""neon's layers that hand on what they are given: as it is, in another shape, to several layers, or in part."""

from __future__ import annotations

from typing import Any, ClassVar
from weakref import WeakValueDictionary

from neon_optim import model
from neon_optim.compat.neon.layers.base import Layer, SameShape, core_shape, interpret_in_shape
from neon_optim.model.reshape import new_shape

__all__ = ["BranchNode", "DataTransform", "Dropout", "Reshape", "SkipNode"]


class BranchNode(Layer):
    """A place where several pathways begin: each gets all that the layer before gives.

    There is one node of a name, so that pathways that are read from a file meet again: the class gives the node that is
    there.

    Arguments:
        name: None: a new node.
    """

    instances: ClassVar[WeakValueDictionary[str, BranchNode]] = WeakValueDictionary()
    is_branch: ClassVar[bool] = True

    def __new__(cls, name: str | None = None) -> BranchNode:
        """The node of that name, where there is one."""
        there = None if name is None else cls.instances.get(name)
        return super().__new__(cls) if there is None else there

    def __init__(self, name: str | None = None):
        if vars(self):
            return  # the node of that name
        super().__init__(name)
        self.instances[str(self.name)] = self
        self.owns_output = False

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in; without an object it is known from the first pathway."""
        if in_obj is None and hasattr(self, "in_shape"):
            return self
        super().configure(in_obj)
        self.out_shape = self.in_shape
        return self

    def set_deltas(self, delta_buffers: Any) -> None:
        """Take the deltas to which all pathways add."""
        if self.deltas is None:
            self.deltas = self.be.iobuf(self.in_shape, shared=delta_buffers.buffers[0])
            delta_buffers.buffers.reverse()

    def fprop(self, inputs: Any = None, inference: bool = False) -> Any:
        """What comes in; without such, what came in for the first pathway."""
        if inputs is not None:
            self.outputs = inputs
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Nothing: the layers behind the node add to its deltas."""


class SkipNode(Layer):
    """x, in memory of its own: the short way around other layers, within a MergeSum.

    References:
        He et al., Deep residual learning for image recognition, CVPR 2016.
    """

    def __init__(self, name: str | None = None):
        super().__init__(name)
        self.core = model.Activation(transform=model.Identity())
        self.owns_delta = True
        self.is_mklop = True

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in."""
        super().configure(in_obj)
        self.configure_core()
        self.out_shape = self.in_shape
        return self

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """x, beside ``beta`` times what the outputs hold."""
        return self.forward_of_core(inputs, inference, beta)

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The error."""
        return self.backward_of_core(error, alpha, beta)


class Reshape(Layer):
    """The elements of each sample in another shape, in the memory of x.

    Arguments:
        reshape: the new shape; 0 keeps an extent, and one -1 stands for what is left.

    Raises:
        ValueError: in :meth:`configure`, where the elements do not go into that shape.
    """

    def __init__(self, reshape: Any, name: str | None = None):
        super().__init__(name)
        self.reshape = (reshape,) if isinstance(reshape, int) else reshape
        self.core = model.Reshape(reshape=self.reshape)
        self.owns_output = False

    def __str__(self) -> str:
        return f"Reshape Layer '{self.name}' input shape {self.in_shape} to {self.reshape}"

    def configure(self, in_obj: Any) -> Any:
        """Learn the shape of what comes in."""
        super().configure(in_obj)
        found = new_shape(core_shape(self.in_shape), self.reshape)
        if found is None:
            raise ValueError(
                f"Reshape '{self.name}': samples of shape {self.in_shape} do not go into {self.reshape}"
            )
        self.out_shape = found
        self.in_shape_t, self.out_shape_t = self._of_tensor(self.in_shape), self._of_tensor(found)
        self.configure_core()
        return self

    def _of_tensor(self, shape: Any) -> tuple[int, int]:
        rows, steps = interpret_in_shape(shape)
        return rows, steps * self.be.bsz

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """x in the new shape; a copy of it where its memory cannot be viewed so."""
        if not getattr(inputs, "is_contiguous", True):
            if self.inputs is None or self.inputs.shape != inputs.shape:
                self.inputs = self.be.empty_like(inputs)
            self.inputs[:] = inputs
        else:
            self.inputs = inputs
        self.outputs = self.inputs.reshape(self.out_shape_t)
        return self.outputs

    def bprop(self, error: Any) -> Any:
        """The error in the shape of x."""
        self.deltas = error.reshape(self.in_shape_t)
        return self.deltas


class DataTransform(SameShape):
    """A function of the data, in their memory; nothing before it learns.

    Arguments:
        transform: the function.
    """

    def __init__(self, transform: Any, name: str | None = None):
        super().__init__(name)
        self.transform = transform
        self.core = model.Activation(transform=transform)
        self.owns_output = False

    def __str__(self) -> str:
        return f"DataTransform Layer '{self.name}': {type(self.transform).__name__}"

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """transform(x)."""
        self.outputs = self.inputs = inputs
        inputs[:] = self.transform(inputs)
        return self.outputs

    def bprop(self, *args: Any) -> None:
        """Nothing."""


class _Mask(model.Dropout):
    """neon's Dropout: masks are drawn from the backend's generator, and ``scale`` multiplies what is kept.

    Attributes:
        mask: the mask, set when the layer around it is allocated.
        scale: 1, or 1 / keep where nothing is multiplied outside of training.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mask: Any = None
        self.scale = 1.0

    def prepare(self, columns: int) -> None:
        """A new mask."""
        self.be.make_binary_mask(self.mask, self.keep)

    def forward(self, x: Any, inference: bool = False) -> Any:
        """x × mask in training, x × keep at inference; or x × mask / keep and x."""
        if inference:
            return x if self.scale != 1.0 else x * self.keep
        return self.mask * x if self.scale == 1.0 else self.mask * x * self.scale


class Dropout(SameShape):
    """Sets random elements to 0 in training; multiplies by ``keep`` otherwise. It works in the memory of x.

    Arguments:
        keep: probability that an element is kept. With the backend's ``compat_mode='caffe'`` what is kept is divided by
            it in training, and nothing is done otherwise.
    """

    def __init__(self, keep: float = 0.5, name: str | None = None):
        super().__init__(name)
        self.keep = keep
        self.keep_mask: Any = None
        self.caffe_mode = self.be.check_caffe_compat()
        self.core = _Mask(keep=keep)
        if self.caffe_mode:
            self.core.scale = 1.0 / keep
        self.owns_output = False

    def __str__(self) -> str:
        kept = f"keep {100 * self.keep:.0f}% (caffe_compat {self.caffe_mode})"
        return f"Dropout Layer '{self.name}': {self.nout} inputs and outputs, {kept}"

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the mask."""
        super().allocate(shared_outputs)
        self.keep_mask = self.core.mask = self.be.iobuf(self.out_shape, parallelism=self.parallelism)

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """x × mask in training, x × keep at inference."""
        self.outputs = self.inputs = inputs
        if not inference:
            self.core.prepare(inputs.shape[1])
        inputs[:] = self.core.forward(inputs, inference)
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """error × mask, in the memory of the error."""
        self.deltas = error
        value = self.keep_mask * error * (alpha * self.core.scale)
        error[:] = value + beta * error if beta else value
        return error
