"""What every layer has: shapes, buffers, the two passes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar

from neon_optim.backends.derivatives import gradients
from neon_optim.described.arguments import Name
from neon_optim.described.checks import OfKind
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, BackendError
from neon_optim.model.transient import Transient

__all__ = ["Layer", "ParameterLayer"]

AnyInitializer = Annotated[Any, OfKind("initializer")]


class Sized:
    """What has a number of features that come in, and one of those that go out."""

    nin: int
    nout: int


class Layer(Sized, NervanaObject, kind="layer", abstract=True):
    """Turns a tensor of (nin, n) into one of (nout, n): features × samples of a minibatch, as in neon.

    A subclass sets ``nout`` in :meth:`configure` and states :meth:`forward`, the outputs as an op-tree of the inputs;
    the backward pass follows from it. Where another backward pass is better it may be stated with
    :func:`neon_optim.backends.stated`. A layer that is no algebra writes :meth:`fprop` and :meth:`bprop` instead.
    What :meth:`fprop` returns stays valid until it runs again with the same number of samples.

    Arguments:
        name: what checkpoints, and the patterns of optimizers, call it; None: its class and a number within the model.

    Attributes:
        nin, nout: features that come in and go out; known after :meth:`configure`.
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
        self._buffers: dict[tuple[str, int], Any] = {}
        self._passed = Transient()

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
        """The layers that do work, in order."""
        return [self]

    def configure(self, nin: int) -> None:
        """Learn the number of features that come in, and set ``nout``."""
        self.nin = self.nout = nin
        self._buffers.clear()

    def init_params(self) -> None:
        """Make the parameters and give them their first values; a layer without any has nothing to do."""

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The outputs as an op-tree of the inputs, (nout, samples); ``inference`` is True outside of training.

        It is asked for once and then done for many minibatches, until a setting or a parameter is another. So it may
        depend on settings, on the tensors of the layer and on the shape of ``x``, and on nothing else.
        """
        raise NotImplementedError(f"{self.classnm} states neither forward() nor fprop() and bprop()")

    def draw(self, samples: int) -> None:
        """Set what is random in :meth:`forward`, for each minibatch in training; most layers have nothing to do."""

    @property
    def is_algebra(self) -> bool:
        """Whether both passes follow from :meth:`forward`."""
        cls = type(self)
        return cls.fprop is Layer.fprop and cls.bprop is Layer.bprop

    def fprop(self, inputs: Any, inference: bool = False) -> Any:
        """The outputs for a minibatch; ``inference`` is True outside of training."""
        samples = inputs.shape[1]
        if not inference:
            self.draw(samples)
        value = self.forward(inputs, inference)
        if not inference:
            self._passed["last"] = inputs, value
        outputs = self.buffer("outputs", self.nout, samples)
        outputs[:] = value
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
        if not self.propagates or trees[-1] is error:
            return error if self.propagates else None
        deltas = self.buffer("deltas", self.nin, error.shape[1])
        deltas[:] = trees[-1]
        return deltas

    def get_params(self) -> list[Any]:
        """The ``((param, grad), state)`` tuples; none for a layer that does not learn."""
        return []

    def pairs(self) -> list[tuple[Any, Any]]:
        """The (parameter, gradient) pairs."""
        params = self.get_params()
        return [pair for pair, _ in (params if isinstance(params, list) else [params])]

    def get_counters(self) -> dict[str, int]:
        """Counters of random numbers: what a checkpoint keeps of a layer beside its arrays."""
        return {}

    def set_counters(self, counters: dict[str, int]) -> None:
        """Restore what :meth:`get_counters` gave."""

    def buffer(self, what: str, rows: int, samples: int) -> Any:
        """A tensor of (rows, samples) that is kept for the next minibatch of that many samples."""
        kept = self._buffers.get((what, samples))
        if kept is None or kept.backend is not self.be:
            kept = self._buffers[what, samples] = self.backend.empty((rows, samples))
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
        self.init.fill(self.W)
        self.states = []

    def get_params(self) -> Any:
        """``((W, dW), states)``."""
        if self.W is None:
            raise ArgumentError(
                f"layer '{self.name}' has no parameters yet: call model.initialize(dataset), or fit() first"
            )
        return (self.W, self.dW), self.states
