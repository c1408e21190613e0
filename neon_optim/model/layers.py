"""Layers of a multi-layer perceptron."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from neon_optim.backends.optree import stated
from neon_optim.described.arguments import PositiveInt
from neon_optim.described.checks import Either, Nothing, Number, OfKind
from neon_optim.described.counters import check_counters
from neon_optim.model.layer import Layer, ParameterLayer
from neon_optim.model.shapes import Shape, in_channels, with_features

__all__ = ["Activation", "Bias", "Dropout", "Linear", "biased"]

AnyActivation = Annotated[Any, OfKind("activation")]
OptionalActivation = Annotated[Any, Either(OfKind("activation"), Nothing())]
Probability = Annotated[float, Number(gt=0, le=1)]


class Linear(ParameterLayer):
    """W · x, without a bias.

    Arguments:
        nout: features that go out.
        init: initializer of W, which is (nout, nin).

    References:
        neon/layers/layer.py.

    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Constant
    >>> be = gen_backend("cpu", batch_size=2)
    >>> layer = Linear(nout=1, init=Constant(0.5))
    >>> layer.configure(3); layer.init_params()
    >>> print(layer.fprop(be.array([[1, 2], [3, 4], [5, 6]])).get())
    [[4.5 6. ]]
    """

    positional: ClassVar[tuple[str, ...]] = ("nout", "init", "name")

    nout: PositiveInt

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(nout, nin)."""
        return self.nout, self.nin

    @property
    def out_shape(self) -> Shape:
        """(nout,), or (nout, T) for sequences, of which each step is multiplied."""
        return with_features(self.in_shape, self.nout)

    def configure(self, nin: int) -> None:
        """Learn the number of inputs."""
        self.nin = nin
        self._buffers.clear()

    def forward(self, x: Any, inference: bool = False) -> Any:
        """W · x."""
        return self.be.dot(self.W, x)


class Bias(ParameterLayer):
    """x + b, with one b for each feature, or for each channel of an image.

    Arguments:
        init: initializer of b, which is called W as in neon and is (nin, 1), or (C, 1).

    References:
        neon/layers/layer.py.
    """

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(nin, 1), or (C, 1) for images."""
        return self.in_shape[0], 1

    def forward(self, x: Any, inference: bool = False) -> Any:
        """x + W."""
        return biased(self.be, x, self.W)


def biased(be: Any, x: Any, b: Any) -> Any:
    """x + b, with an element of b, which is (n, 1), for as many rows of x each: those of a feature or a channel."""
    rows, channels = x.shape[0], b.shape[0]
    if rows == channels:
        return x + b
    # Row by row, not channel by channel, so that it is one loop with the activation that follows.
    value = x + be.broadcast_to(b, (channels, rows // channels)).reshape(rows, 1)
    return stated(value, [x, b], lambda error, *_: [error, be.sum(in_channels(error, channels), axis=1)])


class Activation(Layer):
    """An activation function, element by element or column by column.

    Arguments:
        transform: the function: Rectlin, Logistic, Tanh, Softmax, Identity.

    References:
        neon/layers/layer.py.
    """

    positional: ClassVar[tuple[str, ...]] = ("transform", "name")

    transform: AnyActivation

    def forward(self, x: Any, inference: bool = False) -> Any:
        """transform(x)."""
        return self.transform.forward(x)


class Dropout(Layer):
    """Sets random elements to 0 in training; multiplies by ``keep`` otherwise, so that the mean is the same.

    Arguments:
        keep: probability that an element is kept, in (0, 1].

    Which elements are dropped depends on the backend's seed, the layer's position in the model, and the number of
    minibatches that the layer has seen; that number is part of a checkpoint.

    References:
        Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 2014.
        neon/layers/layer.py, whose scaling at inference this is.
    """

    positional: ClassVar[tuple[str, ...]] = ("keep", "name")

    keep: Probability = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.draws = 0

    def prepare(self, columns: int) -> None:
        """A new mask."""
        self.be.bernoulli(self._mask(columns), self.keep, stream=self.number, step=self.draws)
        self.draws += 1

    def _mask(self, columns: int) -> Any:
        self.mask = self.buffer("mask", self.nout, columns)
        return self.mask

    def forward(self, x: Any, inference: bool = False) -> Any:
        """x × mask in training, x × keep at inference."""
        return x * (self.keep if inference else self._mask(x.shape[1]))

    def skip(self, minibatches: int) -> None:
        """Count masks that others draw."""
        self.draws += minibatches

    def get_counters(self) -> dict[str, int]:
        """The number of masks drawn so far."""
        return {"draws": self.draws}

    def set_counters(self, counters: dict[str, int]) -> None:
        """Restore what :meth:`get_counters` gave."""
        self.draws = check_counters(str(self.name), self.get_counters(), counters)["draws"]
