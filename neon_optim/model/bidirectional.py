"""Recurrent layers that go through sequences in both directions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any, ClassVar

from neon_optim.described.arguments import Flag, PositiveInt
from neon_optim.described.checks import Number
from neon_optim.model.batch_norm import BatchNorm
from neon_optim.model.container import Container
from neon_optim.model.layer import AnyInitializer, Layer, OptionalInitializer, require
from neon_optim.model.layers import OptionalActivation
from neon_optim.model.recurrence import Weights
from neon_optim.model.recurrent import LSTM, Recurrent
from neon_optim.model.shapes import Shape, wanted, with_features

__all__ = ["BiBNRNN", "BiLSTM", "BiRNN", "BiSum", "DeepBiLSTM", "DeepBiRNN"]

Depth = Annotated[int, Number(ge=1, le=100, integer=True)]


class _Bidirectional(Recurrent, abstract=True):
    """A recurrent layer of two directions, each with weights of its own.

    The parts of W stand in the order of one direction, each part for the way forwards, then for the way backwards.
    """

    directions = ("_f", "_b")

    _: KW_ONLY
    split_inputs: Flag = False

    def configure(self, nin: int) -> None:
        """Learn the shape of the sequences; halves of their features must be as large."""
        super().configure(nin)
        if self.split_inputs and nin % 2:
            raise wanted(
                self, "an even number of features to split", "it stands behind a layer of two directions"
            )

    @property
    def features_in(self) -> int:
        """Features that come into one direction."""
        return self.nin // 2 if self.split_inputs else self.nin

    def parts(self, x: Any) -> list[Any]:
        """All of the inputs, or the half that belongs to the direction."""
        half = self.nin // 2
        return [x[:half], x[half:]] if self.split_inputs else [x, x]


class BiRNN(_Bidirectional):
    """Two :class:`Recurrent` layers, of which one goes backwards: (F, T) becomes (2 · output_size, T).

    Arguments:
        output_size: features that go out of each direction.
        init: initializer of the weights of the inputs.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function; must be given.
        reset_cells: every minibatch starts from zeros; else, in training, each direction where it has ended before.
        split_inputs: the upper half of the features goes forwards, the lower half backwards; else all go both ways.

    W is (2 · (nin + output_size + 1), output_size), as in neon: rows for the inputs, forwards and backwards, for the
    outputs of the step before, and for the biases. What a checkpoint keeps is as in :class:`Recurrent`.

    References:
        Schuster and Paliwal, Bidirectional recurrent neural networks, IEEE Transactions on Signal Processing 45(11),
        1997. neon/layers/recurrent.py.
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("output_size", "init", "init_inner", "activation", "reset_cells", "split_inputs", "name"),
    )


class BiLSTM(_Bidirectional, LSTM):
    """Two :class:`LSTM` layers, of which one goes backwards: (F, T) becomes (2 · output_size, T).

    Arguments:
        output_size: features that go out of each direction.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of g and c; must be given. Usually Tanh.
        gate_activation: activation function of the gates i, f, o; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros; else, in training, each direction where it has ended before.
        split_inputs: the upper half of the features goes forwards, the lower half backwards; else all go both ways.

    W, and what a checkpoint keeps, is as in :class:`BiRNN`, with four gates.

    References:
        Graves and Schmidhuber, Framewise phoneme classification with bidirectional LSTM and other neural network
        architectures, Neural Networks 18(5), 2005. neon/layers/recurrent.py.
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("output_size", "init", "init_inner", "activation", "gate_activation"),
        *("reset_cells", "split_inputs", "name"),
    )


class BiBNRNN(BiRNN):
    """:class:`BiRNN` with batch normalization of W_input · x, over the steps of all samples.

    Arguments:
        output_size: features that go out of each direction.
        init: initializer of the weights of the inputs.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function; must be given.
        reset_cells: every minibatch starts from zeros; else, in training, each direction where it has ended before.
        split_inputs: the upper half of the features goes forwards, the lower half backwards; else all go both ways.

    The normalization is that of :class:`BatchNorm`, for each feature of both directions.

    References:
        Laurent et al., Batch normalized recurrent neural networks, ICASSP 2016. neon/layers/recurrent.py.
    """

    positional = BiRNN.positional

    def __post_init__(self) -> None:
        super().__post_init__()
        self.norm = BatchNorm(name=f"{self.name}_bnorm")

    def configure(self, nin: int) -> None:
        """Learn the shape of the sequences."""
        super().configure(nin)
        self.norm.in_shape = self.out_shape
        self.norm.configure(self.nout)

    def init_params(self) -> None:
        """Make W and what the normalization has."""
        super().init_params()
        self.norm.init_params()

    def get_params(self) -> list[Any]:
        """Those of W, then those of the normalization."""
        return [super().get_params(), *self.norm.get_params()]

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """The running statistics, and what goes on from minibatch to minibatch."""
        return {**super().get_arrays(inference), **self.norm.get_arrays(inference)}

    def prepare(self, columns: int) -> None:
        """Start where the minibatch before has ended."""
        super().prepare(columns)
        self.norm.prepare(columns)

    def driven(self, parts: Sequence[Any], weights: Sequence[Weights], inference: bool) -> list[Any]:
        """W_input · x, normalized."""
        whole, becoming = self.norm.passed(
            self.be.concatenate(super().driven(parts, weights, inference), axis=0), inference
        )
        for array, become in becoming:
            self.let(array, become)
        return [whole[: self.output_size], whole[self.output_size :]]


class BiSum(Layer):
    """The sum of both directions: (2 · F, T) becomes (F, T).

    References:
        neon/layers/recurrent.py.
    """

    def configure(self, nin: int) -> None:
        """Learn the number of features, which must be even."""
        super().configure(nin)
        if nin % 2:
            raise wanted(self, "an even number of features", "it stands behind a layer of two directions")
        self.nout = nin // 2

    @property
    def out_shape(self) -> Shape:
        """(F, T)."""
        return with_features(self.in_shape, self.nout)

    def forward(self, x: Any, inference: bool = False) -> Any:
        """The upper half of the features, and the lower one added to it."""
        return x[: self.nout] + x[self.nout :]


class _Deep(Container, abstract=True):
    """Layers of two directions, one behind the other."""

    _: KW_ONLY
    nout: PositiveInt
    init: AnyInitializer
    init_inner: OptionalInitializer = None
    activation: OptionalActivation = None
    reset_cells: Flag = False
    depth: Depth = 1

    bi_sum = False

    def check_fields(self) -> None:
        """An activation is given."""
        require(self, activation="an activation")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers = []
        for k in range(self.depth):
            self.layers.append(self.one_layer(split_inputs=k > 0 and not self.bi_sum))
            if self.bi_sum:
                self.layers.append(BiSum())
        self.rename(str(self.name))

    def rename(self, name: str) -> None:
        """Set the name; the layers are ``<name>_0``, ``<name>_1``, …, their sums ``<name>_0_sum``, …"""
        self.name = name
        suffixes = ("", "_sum") if self.bi_sum else ("",)
        for number, layer in enumerate(self.layers):
            k, part = divmod(number, len(suffixes))
            layer.rename(f"{name}_{k}{suffixes[part]}")

    def settings(self) -> dict[str, Any]:
        """What every layer is given."""
        names = ("init", "init_inner", "activation", "reset_cells")
        return {"output_size": self.nout, **{name: getattr(self, name) for name in names}}

    @abstractmethod
    def one_layer(self, split_inputs: bool) -> Layer:
        """One of the layers."""


class DeepBiRNN(_Deep):
    """:class:`BiRNN` layers, one behind the other.

    Arguments:
        nout: features that go out of each direction.
        init: initializer of the weights of the inputs.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function; must be given.
        reset_cells: every minibatch starts from zeros.
        depth: how many layers, at most 100.
        batch_norm: :class:`BiBNRNN` layers instead.
        bi_sum: add both directions up behind each layer; else each layer goes on with them apart.
        name: the layers are ``<name>_0``, ``<name>_1``, …

    References:
        neon/layers/recurrent.py.
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("nout", "init", "init_inner", "activation", "reset_cells", "depth", "batch_norm", "bi_sum", "name"),
    )

    _: KW_ONLY
    batch_norm: Flag = False
    bi_sum: Flag = False

    def one_layer(self, split_inputs: bool) -> Layer:
        """A BiRNN or BiBNRNN."""
        return (BiBNRNN if self.batch_norm else BiRNN)(**self.settings(), split_inputs=split_inputs)


class DeepBiLSTM(_Deep):
    """:class:`BiLSTM` layers, one behind the other; each goes on with both directions apart.

    Arguments:
        nout: features that go out of each direction.
        init: initializer of the weights of the inputs, gate by gate.
        init_inner: that of the recurrent weights; None: the same.
        activation: activation function of g and c; must be given. Usually Tanh.
        gate_activation: activation function of the gates i, f, o; must be given. Usually Logistic.
        reset_cells: every minibatch starts from zeros.
        depth: how many layers, at most 100.
        name: the layers are ``<name>_0``, ``<name>_1``, …

    References:
        neon/layers/recurrent.py.
    """

    positional: ClassVar[tuple[str, ...]] = (
        *("nout", "init", "init_inner", "activation", "gate_activation", "reset_cells", "depth", "name"),
    )

    _: KW_ONLY
    gate_activation: OptionalActivation = None

    def check_fields(self) -> None:
        """Both activations are given."""
        require(self, activation="an activation", gate_activation="an activation")

    def one_layer(self, split_inputs: bool) -> Layer:
        """A BiLSTM."""
        return BiLSTM(**self.settings(), gate_activation=self.gate_activation, split_inputs=split_inputs)
