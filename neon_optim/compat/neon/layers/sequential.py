"""Layers of neon's in a row, and the buffers that their deltas share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from neon_optim.compat.descriptions import built, class_of, described
from neon_optim.compat.neon.layers.base import Layer, core_shape, takes_accumulation
from neon_optim.compat.neon.layers.convolution import Convolution_bias
from neon_optim.compat.neon.layers.shaping import BranchNode, DataTransform, Dropout
from neon_optim.described.object import NervanaObject

__all__ = ["DeltasTree", "LayerContainer", "Sequential", "flatten"]


def flatten(item: Any) -> Iterator[Any]:
    """What lists within lists hold, one after the other.

    >>> list(flatten([1, [2, [3]], 4]))
    [1, 2, 3, 4]
    """
    if isinstance(item, Iterable) and not isinstance(item, str):
        for inner in item:
            yield from flatten(inner)
    else:
        yield item


class DeltasTree(NervanaObject):
    """Two buffers that the deltas of layers in a row are in by turns, and below them those of pathways within.

    Arguments:
        parent: the tree above.
    """

    def __init__(self, parent: DeltasTree | None = None):
        super().__init__()
        self.parent = parent
        self.child: DeltasTree | None = None
        self.buffers: list[Any] = [None, None]
        self.max_shape = 0

    def decend(self) -> DeltasTree:
        """The tree below, which is made where there is none."""
        if self.child is None:
            self.child = DeltasTree()
        return self.child

    def ascend(self) -> DeltasTree | None:
        """The tree above."""
        return self.parent

    def proc_layer(self, layer: Any) -> None:
        """See that the buffers will be large enough for a layer."""
        self.max_shape = max(self.max_shape, math.prod(core_shape(layer.in_shape)))

    def allocate_buffers(self) -> None:
        """Make the buffers, where there are none."""
        if self.child is not None:
            self.child.allocate_buffers()
        for k, there in enumerate(self.buffers):
            if there is None and self.max_shape > 0:
                self.buffers[k] = self.be.iobuf(self.max_shape, persist_values=False, parallelism="Data")


class LayerContainer(Layer):
    """A layer made of those in ``layers``, which a subclass sets."""

    layers = list[Any]()

    def __init__(self, name: str | None = None):
        super().__init__(name)
        self.is_mklop = True

    @property
    def layers_to_optimize(self) -> list[Any]:
        """The layers that learn; one whose initializer is called Identity keeps its weights."""
        found: list[Any] = []
        for layer in self.layers:
            if isinstance(layer, LayerContainer):
                found += layer.layers_to_optimize
            elif layer.has_params and getattr(getattr(layer, "init", None), "name", None) != "Identity":
                found.append(layer)
        return found

    def nested_str(self, level: int = 0) -> str:
        """The layers in words, indented by their levels."""
        lines = [self.classnm, *(layer.nested_str(level + 1) for layer in self.layers)]
        return "  " * level + f"\n{'  ' * level}".join(lines)

    def layers_fprop(self) -> Iterator[Any]:
        """All layers, those within containers after these, in the order of the forward pass."""
        for layer in self.layers:
            yield layer
            if hasattr(layer, "layers_fprop"):
                yield from layer.layers_fprop()

    def layers_bprop(self) -> Iterator[Any]:
        """All layers, those within containers before these, in the order of the backward pass."""
        for layer in reversed(self.layers):
            if hasattr(layer, "layers_bprop"):
                yield from layer.layers_bprop()
            yield layer

    def set_deltas(self, delta_buffers: Any) -> None:
        """Let the layers take their deltas."""
        for layer in self.layers:
            layer.set_deltas(delta_buffers)

    def set_batch_size(self, N: int | None) -> None:
        """See :meth:`Layer.set_batch_size`."""
        for layer in self.layers:
            layer.set_batch_size(N)

    def set_seq_len(self, S: int | None) -> None:
        """See :meth:`Layer.set_seq_len`."""
        for layer in self.layers:
            layer.set_seq_len(S)

    def set_acc_on(self, acc_on: bool) -> None:
        """See :meth:`Layer.set_acc_on`; layers that cannot add up gradients are passed by."""
        if not hasattr(self, "accumulate_updates"):
            raise BufferError(
                f"{self.classnm} cannot add up gradients: allocate it with accumulate_updates=True"
            )
        for layer in self.layers:
            if hasattr(layer, "accumulate_updates"):
                layer.set_acc_on(acc_on)

    def propagate_parallelism(self, p: str) -> None:
        """Hand neon's parallelism from layer to layer, where none is set."""
        for layer in self.layers:
            if isinstance(layer, LayerContainer):
                layer.parallelism = p
                layer.propagate_parallelism(p)
                terminal = layer.get_terminal()
                p = (terminal[0] if isinstance(terminal, list) else terminal).parallelism
            else:
                layer.parallelism = p if layer.parallelism == "Unknown" else layer.parallelism
                p = layer.parallelism

    def revert_tensors(self) -> None:
        """neon's: give back what was spread over devices."""
        for tensor in itertools.chain.from_iterable(layer.revert_list for layer in self.layers):
            self.be.revert_tensor(tensor)

    # --- descriptions ---

    def get_description(
        self,
        skip: Iterable[str] = (),
        get_weights: bool = False,
        keep_states: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The description, with those of the layers; with ``get_weights`` also their weights (and states)."""
        found = described(self, [*skip, "layers"])
        found["container"] = True
        found["config"]["layers"] = [
            layer.get_description(get_weights=get_weights, keep_states=keep_states) for layer in self.layers
        ]
        return found

    @classmethod
    def gen_class(cls, pdict: Mapping[str, Any]) -> Any:
        """The container of the ``config`` of a description, which stays as it is."""
        layers = [class_of(layer["type"]).gen_class(layer["config"]) for layer in pdict["layers"]]
        others = {key: built(value) for key, value in pdict.items() if key != "layers"}
        make: Any = cls
        return make(layers=layers, **others)

    def load_weights(self, pdict: Any, load_states: bool = True) -> None:
        """Take over the weights, and with ``load_states`` the states, of a description.

        Raises:
            ValueError: it is that of a container of more or fewer layers.
        """
        saved = self._paired(pdict["config"]["layers"])
        if len(saved) != len(self.layers):
            raise ValueError(
                f"{self.classnm} '{self.name}' has {len(self.layers)} layers, the weights are of {len(saved)}"
            )
        for layer, own in zip(self.layers, saved, strict=True):
            layer.load_weights(own, load_states=load_states)

    def _paired(self, saved: list[Any]) -> list[Any]:
        """What is saved for each layer: two in a list, where an old file has the bias of a convolution apart."""
        found: list[Any] = []
        left = iter(saved)
        for layer in self.layers:
            own = next(left, None)
            if own is not None and isinstance(layer, Convolution_bias) and own["type"] == _WITHOUT_BIAS:
                own = [own, next(left)]
            found += [] if own is None else [own]
        return found + list(left)


_WITHOUT_BIAS = "neon.layers.layer.Convolution"


class Sequential(LayerContainer):
    """Layers in a row.

    Arguments:
        layers: layers, and lists of such.

    Raises:
        ValueError: there is none; or the first one works in the memory of what comes in, which would change the data.
    """

    def __init__(self, layers: Any, name: str | None = None):
        super().__init__(name)
        self.layers = list(flatten(layers))
        self._layers = [layer for layer in self.layers if type(layer) is not BranchNode]
        if not self._layers:
            raise ValueError(f"{self.classnm} needs layers")
        root = self._layers[0]
        if not (root.owns_output or type(root) in (Dropout, DataTransform)):
            raise ValueError(
                f"{root.classnm} cannot be the first layer of {self.classnm}: it would change the data in place"
            )

    def configure(self, in_obj: Any) -> Any:
        """Hand the shape of a sample from layer to layer; without an object the BranchNode that comes first has it."""
        layers = self.layers
        if in_obj is None:
            in_obj = self.layers[0]
            layers = list(itertools.dropwhile(lambda layer: type(layer) is BranchNode, self.layers))
        super().configure(in_obj)
        before = None
        for layer in layers:
            in_obj = layer.configure(in_obj)
            if before is not None:
                before.set_next(layer)
            before = layer
        self.parallelism = in_obj.parallelism
        self.out_shape = in_obj.out_shape
        return self

    def allocate(self, shared_outputs: Any = None, accumulate_updates: bool = False) -> None:
        """Make the buffers and parameters of all layers: of the last that owns its outputs first, as in neon.

        So that layer is the first to draw initial weights.
        """
        self.accumulate_updates = accumulate_updates
        for last in [layer for layer in self.layers if layer.owns_output][-1:]:
            last.allocate(shared_outputs, **self._accumulation(last))
        for layer in self.layers:
            layer.allocate(**self._accumulation(layer))

    def _accumulation(self, layer: Any) -> dict[str, bool]:
        return {"accumulate_updates": self.accumulate_updates} if takes_accumulation(layer) else {}

    def allocate_deltas(self, global_deltas: Any = None) -> None:
        """Make the buffers of deltas, or let the tree of a container around make them."""
        if global_deltas is None:
            global_deltas = DeltasTree()
            first = 0 if self.layers[0].nest_deltas else 1
            for layer in self.layers[first:]:
                layer.allocate_deltas(global_deltas)
            global_deltas.allocate_buffers()
        self.global_deltas = global_deltas
        self.set_deltas(global_deltas)

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The outputs of the last layer, beside ``beta`` times what they hold."""
        x = inputs
        for layer in self.layers:
            scale = {"beta": beta} if beta != 0 and layer is self.layers[-1] else {}
            x = layer.fprop(x, inference=inference, **scale)
        return x

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """The deltas of the first layer; ``alpha`` and ``beta`` are of those at the beginning of a pathway."""
        for layer in reversed(self._layers):
            begins = type(layer.prev_layer) is BranchNode or layer is self._layers[0]
            error = layer.bprop(error, alpha, beta) if begins else layer.bprop(error)
        return self._layers[0].deltas

    def get_terminal(self) -> Any:
        """That of the last layer."""
        return self.layers[-1].get_terminal()
