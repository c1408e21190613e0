"""Layers in which pathways run side by side, and become one again."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import KW_ONLY
from functools import reduce
from typing import Annotated, Any, ClassVar, Literal

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import raise_problems
from neon_optim.described.checks import Either, Items, Nothing, Number, OfKind
from neon_optim.errors import ArgumentError, Problem
from neon_optim.model.container import LayerGroup, Sequential
from neon_optim.model.layer import Layer
from neon_optim.model.shapes import Shape, features, reshaped, steps

__all__ = ["Branching", "MergeBroadcast", "MergeSum", "SkipNode"]

Pathways = Annotated[Any, Items(Either(OfKind("layer"), Items(OfKind("layer"))))]


class SkipNode(Layer):
    """x itself: the short way around the other pathways of a :class:`MergeSum`.

    References:
        neon/layers/layer.py.
    """

    def forward(self, x: Any, inference: bool = False) -> Any:
        """x."""
        return x


class Branching(LayerGroup, abstract=True):
    """Pathways that are given the same; a subclass says in :meth:`merged` what becomes of their outputs.

    It is a layer of algebra, whose forward pass is made of those of the layers within.

    Arguments:
        layers: the pathways, each a layer, a list of layers, or a Sequential.
    """

    positional: ClassVar[tuple[str, ...]] = ("layers", "name")

    layers: Pathways

    def check_fields(self) -> None:
        """At least one pathway; each becomes a Sequential."""
        if not self.layers or any(isinstance(path, (list, tuple)) and not path for path in self.layers):
            raise_problems(
                self.classnm,
                [Problem("layers", self.layers, "must hold pathways, each of at least one layer")],
            )
        vars(self)["layers"] = [
            path if isinstance(path, Sequential) else Sequential(path if isinstance(path, list) else [path])
            for path in self.layers
        ]

    def units(self) -> list[Layer]:
        """The layer, and the units of all pathways."""
        return [self, *(unit for path in self.layers for unit in path.units())]

    @property
    def learns(self) -> bool:  # type: ignore[override]
        """Whether any layer within has parameters."""
        return any(leaf.learns for leaf in self.leaves())

    def configure(self, nin: int) -> None:
        """Hand the shape of a sample to each pathway.

        Raises:
            ArgumentError: a layer within is not stated as forward algebra; or what the pathways give does not go
                together.
        """
        self.nin = nin
        self._buffers.clear()
        for path in self.layers:
            path.in_shape = self.in_shape
            path.configure(nin)
        others = [str(stage.name) for path in self.layers for stage in path.stages() if not stage.is_algebra]
        if others:
            raise self._misfit(
                f"takes layers that are stated as forward algebra alone, not {', '.join(others)}"
            )
        self.nout = features(self.out_shape)

    def _misfit(self, what: str) -> ArgumentError:
        message = f"{self.classnm} '{self.name}' {what}"
        return ArgumentError(message, [Problem.about("layers", message, self)])

    @property
    def out_shapes(self) -> list[Shape]:
        """What each pathway gives."""
        return [path.out_shape for path in self.layers]

    def prepare(self, columns: int) -> None:
        """Let all layers within prepare."""
        samples = columns // steps(self.in_shape)
        for path in self.layers:
            for stage in path.stages():
                stage.prepare(steps(stage.in_shape) * samples)

    def forward(self, x: Any, inference: bool = False) -> Any:
        """What becomes of the outputs of the pathways."""
        return self.merged([self.through(path, x, inference) for path in self.layers])

    def through(self, path: Any, x: Any, inference: bool) -> Any:
        """The outputs of a pathway."""
        for stage in path.stages():
            x, becoming = stage.passed(x, inference)
            for array, tree in becoming:
                self.let(array, tree)
        return x

    @abstractmethod
    def merged(self, values: list[Any]) -> Any:
        """What becomes of the outputs of the pathways, op-trees."""


class MergeSum(Branching):
    """The sum of what the pathways give, as in residual networks.

    Arguments:
        layers: the pathways, each a layer, a list of layers, or a Sequential; what they give is of one shape.

    References:
        He et al., Deep residual learning for image recognition, CVPR 2016. neon/layers/container.py.

    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant, Linear, SkipNode
    >>> be = gen_backend("cpu", batch_size=1)
    >>> layer = MergeSum([Linear(2, Constant(1.0)), SkipNode()])
    >>> layer.configure(2); layer.init_params()
    >>> layer.fprop(be.array([[1], [2]])).get().tolist()
    [[4.0], [5.0]]
    """

    @property
    def out_shape(self) -> Shape:
        """That of every pathway."""
        return self.out_shapes[0]

    def configure(self, nin: int) -> None:
        """Hand the shape of a sample to each pathway; all give the same shape."""
        super().configure(nin)
        laid_out = {(features(shape), steps(shape)) for shape in self.out_shapes}
        if len(laid_out) > 1:
            raise self._misfit(f"adds what its pathways give, but they give {self.out_shapes}")

    def merged(self, values: list[Any]) -> Any:
        """Their sum."""
        return reduce(self.be.add, values)


class MergeBroadcast(Branching):
    """What the pathways give, one behind the other, as in Inception networks.

    Arguments:
        layers: the pathways, each a layer, a list of layers, or a Sequential.
        merge: along what: 'depth' (channels of images, or features), 'recurrent' (steps of sequences), or 'stack' (all
            elements, as features).
        alphas: for each pathway a factor of the derivative that it hands on; None: 1.

    References:
        Szegedy et al., Going deeper with convolutions, CVPR 2015. neon/layers/container.py.

    >>> from neon_optim.model import Constant, Linear
    >>> layer = MergeBroadcast([Linear(2, Constant(1.0)), Linear(3, Constant(1.0))], merge="depth")
    >>> layer.configure(4)
    >>> layer.out_shape
    (5,)
    """

    positional: ClassVar[tuple[str, ...]] = ("layers", "merge", "alphas", "name")

    merge: Literal["depth", "recurrent", "stack"]
    _: KW_ONLY
    alphas: Annotated[Any, Either(Items(Number()), Nothing())] = None

    def check_fields(self) -> None:
        """As many factors as pathways."""
        super().check_fields()
        if self.alphas is not None and len(self.alphas) != len(self.layers):
            allowed = f"must be {len(self.layers)} numbers, one for each pathway"
            raise_problems(self.classnm, [Problem("alphas", self.alphas, allowed)])

    @property
    def out_shape(self) -> Shape:
        """The shapes of what the pathways give, put together."""
        shapes = self.out_shapes
        if self.merge == "stack":
            return (sum(map(math.prod, shapes)),)
        if self.merge == "depth":
            return (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return shapes[0][0], sum(map(steps, shapes))

    def configure(self, nin: int) -> None:
        """Hand the shape of a sample to each pathway; what they give differs along one axis at most."""
        super().configure(nin)
        if self.merge == "stack":
            return
        kept = [shape[1:] if self.merge == "depth" else features(shape) for shape in self.out_shapes]
        if any(other != kept[0] for other in kept):
            raise self._misfit(f"cannot put {self.out_shapes} together along '{self.merge}'")

    def through(self, path: Any, x: Any, inference: bool) -> Any:
        """The outputs of a pathway; the derivative by x is multiplied by its factor."""
        scale = 1.0 if self.alphas is None else float(self.alphas[self.layers.index(path)])
        if scale != 1.0:
            x = stated(x, [x], lambda error, y, x: [error * scale])
        return super().through(path, x, inference)

    def merged(self, values: list[Any]) -> Any:
        """One behind the other, in rows or, steps, in columns."""
        if self.merge == "recurrent":
            return self.be.concatenate(values, axis=1)
        if self.merge == "stack":
            values = [
                reshaped(value, (math.prod(shape), value.shape[1] // steps(shape)))
                for value, shape in zip(values, self.out_shapes, strict=True)
            ]
        return self.be.concatenate(values, axis=0)
