"""What every layer has: shapes, buffers, the two passes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.dtypes import compute_type
from neon_optim.described.arguments import Name, raise_problems
from neon_optim.described.checks import Either, Nothing, OfKind
from neon_optim.described.object import NervanaObject
from neon_optim.errors import MISSING, ArgumentError, BackendError, ModelError, Problem
from neon_optim.model.shapes import Shape, features, with_features
from neon_optim.model.transient import Transient

__all__ = ["Layer", "ParameterLayer", "not_made", "require"]

AnyInitializer = Annotated[Any, OfKind("initializer")]
OptionalInitializer = Annotated[Any, Either(OfKind("initializer"), Nothing())]


class Sized:
    """What has a number of features that come in, and one of those that go out."""

    nin: int
    nout: int


Becoming = list[tuple[Any, Any]]
"""Arrays of layers, each with what it becomes, as an op-tree."""


class Layer(Sized, NervanaObject, kind="layer", abstract=True):
    """Turns a tensor of (nin, n) into one of (nout, n): features × samples of a minibatch, as in neon.

    A subclass sets ``nout`` in :meth:`configure` and states :meth:`forward`, the outputs as an op-tree of the inputs;
    the backward pass follows from it. Where another backward pass is better it may be stated with
    :func:`neon_optim.backends.stated`. A layer that is no algebra writes :meth:`fprop` and :meth:`bprop` instead.
    What :meth:`fprop` returns stays valid until it runs again with the same number of samples.

    The elements of an image (C, H, W) are its features. A minibatch of n sequences (F, T) is a tensor of (F, T·n): the
    n samples of the first step, then those of the second, and so on, as in neon.

    Arguments:
        name: what checkpoints, and the patterns of optimizers, call it; None: its class and a number within the model.

    Attributes:
        nin, nout: features that come in and go out; known after :meth:`configure`.
        in_shape, out_shape: shapes of a sample that comes in and goes out: (features,), (C, H, W) or (F, T).
        number: position in the model; what tells the random numbers of equal layers apart.
        propagates: whether :meth:`bprop` must return the error of the inputs; False where no layer before it learns.
        automatic_name: whether nobody gave the layer a name, so that a container numbers it.
    """

    positional: ClassVar[tuple[str, ...]] = ("name",)
    learns: ClassVar[bool] = False
    """Whether the layer has parameters."""
    automatic_name = False

    _: KW_ONLY
    name: Name = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.number = 0
        self.propagates = True
        self._in_shape: Shape = ()
        self._buffers: dict[tuple[str, int, int], Any] = {}
        self._passed = Transient()
        self._becoming: Becoming = []

    def new_name(self) -> str:
        """A name until a container numbers the layer."""
        self.automatic_name = True
        return super().new_name()

    def rename(self, name: str) -> None:
        """Set the name; a layer made of others names those too."""
        self.name = name

    def units(self) -> list[Layer]:
        """The layers that have a name of their own: the layer itself, or what a list of layers holds."""
        return [self]

    def leaves(self) -> list[Layer]:
        """The layers that do work, in order; those within a layer too."""
        return [self]

    def stages(self) -> list[Layer]:
        """The layers that run one after the other: the layer itself, or what a row of layers holds."""
        return [self]

    def configure(self, nin: int) -> None:
        """Learn the number of features that come in, and set ``nout``; ``in_shape`` is known where there is one."""
        self.nin = self.nout = nin
        self._buffers.clear()

    @property
    def in_shape(self) -> Shape:
        """Shape of a sample that comes in."""
        return self._in_shape if self._in_shape and features(self._in_shape) == self.nin else (self.nin,)

    @in_shape.setter
    def in_shape(self, shape: Shape) -> None:
        self._in_shape = tuple(shape)

    @property
    def out_shape(self) -> Shape:
        """Shape of a sample that goes out: that of one that comes in, where the number of features stays."""
        return self.in_shape if self.nout == self.nin else with_features(self.in_shape, self.nout)

    def init_params(self) -> None:
        """Make the parameters and give them their first values; a layer without any has nothing to do."""

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The outputs as an op-tree of the inputs, (nout, samples); ``inference`` is True outside of training.

        It is asked for once and then done for many minibatches, until a setting or a parameter is another. So it may
        depend on settings, on the tensors of the layer and on the shape of ``x``, and on nothing else.
        """
        raise NotImplementedError(f"{self.classnm} states neither forward() nor fprop() and bprop()")

    def let(self, array: Any, become: Any) -> None:
        """Say, within :meth:`forward`, what an array of the layer becomes with each minibatch of training.

        No op-tree of the layer may read such an array in training: it reads a copy that :meth:`prepare` has made.
        """
        self._becoming.append((array, become))

    def passed(self, x: Any, inference: bool = False) -> tuple[Any, Becoming]:
        """What :meth:`forward` gives, and what arrays of the layer become in training."""
        self._becoming = []
        value = self.forward(x, inference)
        becoming, self._becoming = self._becoming, []
        return value, [] if inference else becoming

    def prepare(self, columns: int) -> None:
        """Set what is another for each minibatch in :meth:`forward`, before it is done in training.

        Random numbers, for one. Most layers have nothing to do.
        """

    @property
    def is_algebra(self) -> bool:
        """Whether both passes follow from :meth:`forward`."""
        cls = type(self)
        return cls.fprop is Layer.fprop and cls.bprop is Layer.bprop

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs for a minibatch; ``inference`` is True outside of training."""
        if not inference:
            self.prepare(inputs.shape[1])
        value, becoming = self.passed(inputs, inference)
        if not inference:
            self._passed["last"] = inputs, value
        outputs = self.buffer("outputs", *value.shape)
        outputs[:] = value
        for array, tree in becoming:
            array[:] = tree
        return outputs

    def bprop(self, error: Any) -> Any:
        """The derivative of the cost by the last inputs, given that by the last outputs; None where not needed.

        Gradients of parameters are sums over the minibatch, stored in their ``grad`` tensors.
        """
        inputs, value = self._passed["last"]
        pairs = self.pairs()
        wanted = [param for param, _ in pairs] + ([inputs] if self.propagates else [])
        trees = gradients(value, wanted, error)
        for (_, grad), tree in zip(pairs, trees, strict=False):
            grad[:] = tree
        if not self.propagates:
            return None
        if trees[-1] is error:
            return error
        deltas = self.buffer("deltas", *inputs.shape)
        deltas[:] = trees[-1]
        return deltas

    def get_params(self) -> list[Any]:
        """The ``((param, grad), state)`` tuples; none for a layer that does not learn."""
        return []

    def rows(self) -> list[Any]:
        """The ``((param, grad), state)`` tuples as a list, also where there is one."""
        params = self.get_params()
        return params if isinstance(params, list) else [params]

    def pairs(self) -> list[tuple[Any, Any]]:
        """The (parameter, gradient) pairs."""
        return [pair for pair, _ in self.rows()]

    def get_counters(self) -> dict[str, int]:
        """Counters of random numbers: what a checkpoint keeps of a layer beside its arrays."""
        return {}

    def set_counters(self, counters: dict[str, int]) -> None:
        """Restore what :meth:`get_counters` gave."""

    def skip(self, minibatches: int) -> None:
        """Count minibatches, or parts of one, that another process goes through.

        Raises:
            ModelError: the layer has counters, and does not say how they go on.
        """
        if self.get_counters():
            raise ModelError(
                f"layer '{self.name}' ({self.classnm}) has counters, but no method skip(minibatches) for them"
            )

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """The tensors that the layer keeps from minibatch to minibatch beside its parameters, by name.

        A checkpoint keeps them too.

        Arguments:
            inference: those alone that the outputs outside of training depend on.
        """
        return {}

    def buffer(self, what: str, rows: int, columns: int) -> Any:
        """A tensor of (rows, columns) that is kept for the next minibatch of that many columns.

        It has the type that the backend computes in: what goes from layer to layer is not rounded to 16 bits.
        """
        kept = self._buffers.get((what, rows, columns))
        if kept is None or kept.backend is not self.be:
            kept = self._buffers[what, rows, columns] = self.backend.empty(
                (rows, columns), compute_type([self.be.default_dtype])
            )
        return kept

    @property
    def backend(self) -> Any:
        """The current backend.

        Raises:
            BackendError: there is none.
        """
        if self.be is None:
            raise BackendError("no backend: call neon_optim.gen_backend() before a layer is used")
        return self.be


class ParameterLayer(Layer, abstract=True):
    """A layer with one parameter tensor ``W``, its gradient ``dW`` and the optimizer's ``states``.

    Arguments:
        init: initializer that fills W.
    """

    positional: ClassVar[tuple[str, ...]] = ("init", "name")
    learns = True

    init: AnyInitializer

    def __post_init__(self) -> None:
        super().__post_init__()
        self.W: Any = None
        self.dW: Any = None
        self.states: list[Any] = []

    @property
    @abstractmethod
    def weight_shape(self) -> tuple[int, int]:
        """Shape of W."""

    def init_params(self) -> None:
        """Make W, filled by ``init``, and dW, zeros; states start empty."""
        self.W = self.backend.empty(self.weight_shape, name="W")
        self.dW = self.be.zeros(self.weight_shape)
        self.fill()
        self.states = []

    def fill(self) -> None:
        """Give W its first values."""
        self.init.fill(self.W)

    def get_params(self) -> Any:
        """``((W, dW), states)``."""
        if self.W is None:
            raise not_made(self)
        return (self.W, self.dW), self.states


def not_made(layer: Layer) -> ArgumentError:
    """The error of a layer whose parameters are asked for before they are there."""
    return ArgumentError(
        f"layer '{layer.name}' has no parameters yet: call model.initialize(dataset), or fit() first"
    )


def require(layer: Layer, **wanted: str) -> None:
    """Refuse None for arguments that neon's order puts behind those that have defaults.

    Arguments:
        wanted: what each must be, in words.
    """
    missing = [name for name in wanted if getattr(layer, name) is None]
    problems = [
        Problem(name, MISSING, f"is missing; it must be {wanted[name]}", (), True) for name in missing
    ]
    raise_problems(layer.classnm, problems)
