"""Containers of neon's in which several pathways run side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from neon_optim import model
from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.layers.base import Layer, core_shape, passes_are_ours
from neon_optim.compat.neon.layers.sequential import LayerContainer, Sequential
from neon_optim.compat.neon.layers.shaping import BranchNode

__all__ = ["Broadcast", "MergeBroadcast", "MergeMultistream", "MergeSum", "SingleOutputTree", "Tree"]


def pathways(owner: str, layers: Sequence[Any]) -> list[Any]:
    """Each pathway as a Sequential: of one, of a list of layers, or of a layer.

    Raises:
        TypeError: something else is among them.
    """
    for layer in layers:
        if not isinstance(layer, (Layer, list, tuple)):
            raise TypeError(
                f"{owner}: a pathway is a Sequential, a list of layers or a layer, received {layer!r}"
            )
    return [layer if isinstance(layer, Sequential) else Sequential([layer]) for layer in layers]


class Tree(LayerContainer):
    """Pathways with an output each: the first is the trunk, and the others begin at a BranchNode in it.

    Arguments:
        layers: the pathways.
        alphas: for each the factor of its part of the error; None: 1.
    """

    def __init__(self, layers: Sequence[Any], name: Any = None, alphas: Any = None):
        if name is not None and not isinstance(name, str):
            logger.warning("%s: the second argument is a name; alphas=%r gives factors", self.classnm, name)
            name = None
        super().__init__(name)
        self.layers = pathways(self.classnm, layers)
        self.alphas = [1.0] * len(self.layers) if alphas is None else alphas
        # Going back, the last pathway of a node sets the node's deltas, and the others add to them.
        roots = [layer.layers[0] for layer in self.layers]
        self.betas = [
            0.0 if type(root) is BranchNode and root is not following else 1.0
            for root, following in zip(roots, [*roots[1:], None], strict=True)
        ]

    def nested_str(self, level: int = 0) -> str:
        """The pathways in words, indented by their levels."""
        return "\n".join([self.classnm, *(layer.nested_str(level + 1) for layer in self.layers)])

    def configure(self, in_obj: Any) -> Any:
        """Hand the shape of a sample to the trunk; the nodes in it have theirs then."""
        super().configure(in_obj)
        for k, layer in enumerate(self.layers):
            layer.configure(None if k else in_obj)
        self.out_shape = [layer.out_shape for layer in self.layers]
        return self

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the buffers and parameters of all pathways."""
        for layer in self.layers:
            layer.allocate()
        self.outputs = [layer.outputs for layer in self.layers]

    def allocate_deltas(self, global_deltas: Any = None) -> None:
        """Make the buffers of deltas, from the last pathway to the trunk."""
        for layer in reversed(self.layers):
            layer.allocate_deltas(global_deltas)

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs of all pathways, in a list."""
        return [
            layer.fprop(None if k else inputs, inference=inference) for k, layer in enumerate(self.layers)
        ]

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Back through all pathways, from the last to the trunk, with an error for each."""
        for layer, own, a, b in reversed(
            list(zip(self.layers, error, self.alphas, self.betas, strict=False))
        ):
            layer.bprop(own, alpha=a, beta=b)

    def get_terminal(self) -> Any:
        """Those of all pathways."""
        return [layer.get_terminal() for layer in self.layers]


class SingleOutputTree(Tree):
    """A Tree of which the trunk alone runs outside of training."""

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs of all pathways; at inference those of the trunk, not in a list."""
        if inference:
            return self.layers[0].fprop(inputs, inference)
        return super().fprop(inputs)


class Broadcast(LayerContainer):
    """Pathways that are given the same, and whose outputs become one; a subclass says how.

    Arguments:
        layers: the pathways.
    """

    nest_deltas = True

    def __init__(self, layers: Sequence[Any], name: str | None = None):
        super().__init__(name)
        self.layers = pathways(self.classnm, layers)

    def __str__(self) -> str:
        return f"\t{self.classnm}\n\t" + "\n\t".join(map(str, self.layers))

    def configure(self, in_obj: Any) -> Any:
        """Hand the shape of a sample to each pathway."""
        super().configure(in_obj)
        for layer in self.layers:
            layer.configure(in_obj)
        self.configure_merge()
        self._made_of: Any = None
        return self

    @property
    def algebra(self) -> Any:
        """A layer of ours, made of those of the layers within; None where one of them has none, or changes the input.

        It is the same one as long as those are the same.
        """
        paths = [[layer.algebra for layer in path.layers] for path in self.layers]
        in_place = [path for path in self.layers if not path.layers[0].owns_output]
        if in_place or any(None in path for path in paths) or not passes_are_ours(self):
            return None
        if paths != self._made_of:
            self._made_of = paths
            self.core = self.core_of([model.Sequential(path) for path in paths])
            self.configure_core()
        return self.core

    def core_of(self, paths: list[Any]) -> Any:
        """The layer of ours, made of pathways of ours."""
        raise NotImplementedError

    def configure_merge(self) -> None:
        """Find the shape of what goes out."""
        raise NotImplementedError

    def allocate_deltas(self, global_deltas: Any) -> None:
        """Let the tree know of the first layer of each pathway, and the tree below of the others."""
        nested = global_deltas.decend()
        for pathway in self.layers:
            first, *others = pathway.layers
            first.allocate_deltas(global_deltas)
            for layer in others:
                layer.allocate_deltas(nested)

    def set_deltas(self, delta_buffers: Any) -> None:
        """Take one buffer for the first layers of all pathways, which add their parts up in it."""
        order, nested = list(delta_buffers.buffers), delta_buffers.decend()
        for pathway in self.layers:
            first, *others = pathway.layers
            first.set_deltas(delta_buffers)
            delta_buffers.buffers[:] = order
            for layer in others:
                layer.set_deltas(nested)
        at_node = type(self.prev_layer) is BranchNode
        shared = self.prev_layer.deltas if at_node else order[0]
        self.deltas = self.be.iobuf(self.in_shape, shared=shared, parallelism=self.parallelism)
        if not at_node:
            delta_buffers.buffers.reverse()

    def get_terminal(self) -> Any:
        """Those of all pathways."""
        return [layer.get_terminal() for layer in self.layers]


class MergeSum(Broadcast):
    """The sum of what the pathways give, as in a residual network.

    Arguments:
        layers: the pathways, whose outputs are of one shape.
    """

    def core_of(self, paths: list[Any]) -> Any:
        """A MergeSum."""
        return model.MergeSum(paths)

    def configure_merge(self) -> None:
        """The shape of what the first pathway gives."""
        self.out_shape = self.layers[0].out_shape

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the outputs, which the pathways add to."""
        super().allocate(shared_outputs)
        for layer in self.layers:
            layer.allocate(shared_outputs=self.outputs)

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The sum of the outputs."""
        for k, layer in enumerate(self.layers):
            layer.fprop(inputs, inference, beta=1.0 if k else 0.0)
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The sum of the derivatives."""
        for k, layer in enumerate(reversed(self.layers)):
            layer.bprop(error, alpha=alpha, beta=1.0 if k else beta)
        return self.deltas


class MergeBroadcast(Broadcast):
    """What the pathways give, one behind the other.

    Arguments:
        layers: the pathways.
        merge: along what: 'depth' (channels), 'recurrent' (steps of a sequence) or 'stack' (all features).
        alphas: for each pathway the factor of its part of the derivative; None: 1.

    Raises:
        ValueError: ``merge`` is something else.
    """

    def __init__(self, layers: Sequence[Any], merge: str, alphas: Any = None, name: str | None = None):
        super().__init__(layers, name)
        if merge not in ("recurrent", "depth", "stack"):
            raise ValueError(
                f"{self.classnm}: merge must be 'recurrent', 'depth' or 'stack', received {merge!r}"
            )
        self.merge = merge
        self.alphas = [1.0] * len(self.layers) if alphas is None else alphas
        self.error_views: Any = None

    def core_of(self, paths: list[Any]) -> Any:
        """A MergeBroadcast."""
        merge: Any = self.merge
        return model.MergeBroadcast(paths, merge, alphas=self.alphas)

    def configure_merge(self) -> None:
        """Find the shape of what goes out, and which part of it is whose."""
        shapes = [core_shape(layer.out_shape) for layer in self.layers]
        first = shapes[0]
        if self.merge == "recurrent":
            extents, width = [shape[1] for shape in shapes], self.be.bsz
            self.out_shape = (first[0], sum(extents))
        elif self.merge == "depth":
            extents = [shape[0] for shape in shapes]
            width = math.prod(first[1:]) if len(first) > 2 else 1
            self.out_shape = (sum(extents), *first[1:])
        else:
            extents, width = [math.prod(shape) for shape in shapes], 1
            self.out_shape = sum(extents)
        ends = accumulate((extent * width for extent in extents), initial=0)
        self.slices = [slice(start, stop) for start, stop in pairwise(ends)]

    def get_partitions(self, x: Any, slices: Sequence[slice]) -> list[Any]:
        """The parts of a tensor, as views."""
        return [x[:, part] if self.merge == "recurrent" else x[part] for part in slices]

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the outputs, each part of which is the outputs of a pathway."""
        super().allocate(shared_outputs)
        self.output_views = self.get_partitions(self.outputs, self.slices)
        for layer, part in zip(self.layers, self.output_views, strict=True):
            layer.allocate(shared_outputs=part)

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs, one behind the other."""
        for layer in self.layers:
            layer.fprop(inputs, inference)
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The sum of the derivatives."""
        self.error_views = self.get_partitions(error, self.slices)
        parts = reversed(list(zip(self.layers, self.error_views, self.alphas, strict=True)))
        for k, (layer, own, scale) in enumerate(parts):
            layer.bprop(own, alpha=scale * alpha, beta=1.0 if k else beta)
        return self.deltas


class MergeMultistream(MergeBroadcast):
    """What pathways give that have inputs of their own, one behind the other; nothing before them learns.

    Arguments:
        layers: the pathways.
        merge: 'depth', 'recurrent' or 'stack', as in MergeBroadcast.
    """

    nest_deltas = False
    algebra = None

    def __init__(self, layers: Sequence[Any], merge: str, name: str | None = None):
        super().__init__(layers, merge, name=name)

    def configure(self, in_obj: Any) -> Any:
        """Hand each pathway its shape.

        Arguments:
            in_obj: a list of shapes, or what has one as its ``shape``.

        Raises:
            ValueError: there is not a shape for each pathway.
        """
        self.prev_layer = None
        shapes = in_obj if isinstance(in_obj, list) else getattr(in_obj, "shape", None)
        if not isinstance(shapes, list) or len(shapes) != len(self.layers):
            raise ValueError(
                f"MergeMultistream '{self.name}' needs a list of {len(self.layers)} shapes, received {in_obj}"
            )
        self.in_shape = shapes
        for layer, shape in zip(self.layers, shapes, strict=True):
            layer.configure(shape)
        self.configure_merge()
        return self

    def set_deltas(self, delta_buffers: Any) -> None:
        """Let each pathway make its own."""
        for layer in self.layers:
            layer.allocate_deltas()

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs, one behind the other."""
        for layer, own in zip(self.layers, inputs, strict=True):
            layer.fprop(own, inference)
        return self.outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """Back through each pathway with its part of the error."""
        self.error_views = self.get_partitions(error, self.slices)
        for layer, own in zip(self.layers, self.error_views, strict=True):
            layer.bprop(own)
        return self.deltas
