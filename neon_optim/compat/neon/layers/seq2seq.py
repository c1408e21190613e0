"""neon's containers that make one sequence of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neon_optim.compat.descriptions import built, class_of
from neon_optim.compat.neon.layers.base import Layer
from neon_optim.compat.neon.layers.lookup_table import LookupTable
from neon_optim.compat.neon.layers.recurrent import Recurrent
from neon_optim.compat.neon.layers.sequential import LayerContainer, Sequential

__all__ = ["Decoder", "Encoder", "Seq2Seq"]


class Encoder(Sequential):
    """Layers that read a sequence; what their recurrent layers have left at its end is what a decoder begins with.

    Arguments:
        layers: layers, and lists of such.

    Attributes:
        connections: for each recurrent layer the numbers of the decoder's that begin with what it has left.
    """

    def __init__(self, layers: Any, name: str | None = None):
        super().__init__(layers, name)
        self._recurrent = [layer for layer in self.layers if isinstance(layer, Recurrent)]
        self.connections: list[list[int]] = []
        self.error_buf: Any = None

    def allocate_deltas(self, global_deltas: Any = None) -> None:
        """Make the buffers of deltas."""
        super().allocate_deltas(global_deltas)
        self.error_buf = self.be.iobuf(self.out_shape)

    def set_connections(self, decoder_cons: Sequence[int | None]) -> None:
        """Learn for each recurrent layer of the decoder with which of this one's it is connected."""
        self.connections = [
            [number for number, own in enumerate(decoder_cons) if own == k]
            for k in range(len(self._recurrent))
        ]

    def get_final_states(self, decoder_cons: Sequence[int | None]) -> list[Any]:
        """For each recurrent layer of the decoder what it begins with; None for one that is not connected."""
        return [None if k is None else self._recurrent[k].final_state() for k in decoder_cons]

    def bprop(  # type: ignore[override]
        self, hidden_error_list: Sequence[Any], inference: bool = False, alpha: float = 1.0, beta: float = 0.0
    ) -> Any:
        """Back through all layers, with derivatives by what the recurrent ones have left.

        Arguments:
            hidden_error_list: for each recurrent layer of the decoder the derivative by what it began with.
        """
        error = self.error_buf
        error.fill(0.0)
        for layer in reversed(self._layers):
            if isinstance(layer, Recurrent):
                last = error[:, -self.be.bsz :]
                for number in self.connections[self._recurrent.index(layer)]:
                    last[:] = last + hidden_error_list[number]
            error = layer.bprop(error, alpha, beta) if layer is self._layers[0] else layer.bprop(error)
        return self._layers[0].deltas


class Decoder(Sequential):
    """Layers that make a sequence; their recurrent layers begin with what an encoder's have left.

    Arguments:
        layers: layers, and lists of such.
        start_index: the token that a search for sequences begins with; None: zeros.

    Attributes:
        full_steps: steps of the sequences that it is trained with.
    """

    def __init__(self, layers: Any, name: str | None = None, start_index: int | None = None):
        super().__init__(layers, name)
        self._recurrent = [layer for layer in self.layers if isinstance(layer, Recurrent)]
        self.connections: Any = None
        self.full_steps: int | None = None
        self.start_index = start_index

    def set_connections(self, decoder_cons: Sequence[int | None]) -> None:
        """Learn with which recurrent layer of the encoder each of this one's is connected."""
        self.connections = decoder_cons

    def fprop(  # type: ignore[override]
        self, inputs: Any, inference: bool = False, init_state_list: Sequence[Any] | None = None
    ) -> Any:
        """The outputs of the last layer.

        Arguments:
            init_state_list: for each recurrent layer what it begins with, or None.

        Raises:
            ValueError: there are fewer.
        """
        states = [None] * len(self._recurrent) if init_state_list is None else init_state_list
        if len(states) < len(self._recurrent):
            raise ValueError(
                f"found {len(self._recurrent)} Recurrent layers, but init_state_list is only length {len(states)}"
            )
        begin = iter(states)
        x = inputs
        for layer in self.layers:
            state = {"init_state": next(begin)} if isinstance(layer, Recurrent) else {}
            x = layer.fprop(x, inference=inference, **state)
        return x

    def bprop(  # type: ignore[override]
        self, error: Any, inference: bool = False, alpha: float = 1.0, beta: float = 0.0
    ) -> list[Any]:
        """Back through all layers; for each recurrent layer the derivative by what it began with."""
        hidden_error_list = []
        for layer in reversed(self.layers):
            error = layer.bprop(error)
            if isinstance(layer, Recurrent):
                hidden_error_list.append(layer.get_final_hidden_error())
        return hidden_error_list[::-1]

    def switch_mode(self, inference: bool) -> None:
        """Make the layers ready for sequences as in training, or for single steps in inference."""
        words = isinstance(self.layers[0], LookupTable)
        now, wanted = self.in_shape[0 if words else 1], 1 if inference else self.full_steps
        if now == wanted:
            return
        self.configure((wanted, 1) if words else (self.in_shape[0], wanted))
        if words:
            self.layers[0].inputs = None
        for layer in self.layers:
            if layer.owns_output:
                layer.outputs = None
        self.allocate()


class Seq2Seq(LayerContainer):
    """An encoder that reads sequences, and a decoder that makes others of what it has left.

    In training the inputs are pairs: what the encoder reads, and what the decoder is given, usually the targets of one
    step before. In inference the decoder is given its own outputs, step by step, with zeros at first; behind a
    LookupTable the number of the largest one.

    Arguments:
        layers: two: those of the encoder, and those of the decoder.
        decoder_connections: for each recurrent layer of the decoder the number of that of the encoder with whose last
            outputs it begins, or None; without it they are connected one by one.

    Raises:
        ValueError: there are not two; or not as many recurrent layers on both sides, without connections.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        decoder_connections: Sequence[int | None] | None = None,
        name: str | None = None,
    ):
        if len(layers) != 2:
            raise ValueError(
                f"{type(self).__name__}: layers must be two, those of the encoder and those of the decoder, "
                f"received {len(layers)}"
            )
        super().__init__(name)
        self.encoder = _container(layers[0], Encoder)
        self.decoder = _container(layers[1], Decoder)
        self.layers = self.encoder.layers + self.decoder.layers
        self.hasLUT = isinstance(self.encoder.layers[0], LookupTable)
        if not decoder_connections:
            sides = len(self.encoder._recurrent), len(self.decoder._recurrent)
            if sides[0] != sides[1]:
                raise ValueError(
                    f"{self.classnm}: the encoder has {sides[0]} recurrent layers, the decoder {sides[1]}; "
                    "decoder_connections says which belong together"
                )
            decoder_connections = list(range(sides[0]))
        self.decoder_connections = decoder_connections
        self.encoder.set_connections(decoder_connections)
        self.decoder.set_connections(decoder_connections)
        self.prev_layer = None

    # --- descriptions ---

    @classmethod
    def gen_class(cls, pdict: Mapping[str, Any]) -> Any:
        """The container of the ``config`` of a description, which stays as it is."""
        layers = [class_of(layer["type"]).gen_class(layer["config"]) for layer in pdict["layers"]]
        count = pdict["num_encoder_layers"]
        others = {
            key: built(value) for key, value in pdict.items() if key not in ("layers", "num_encoder_layers")
        }
        make: Any = cls
        return make(layers=[layers[:count], layers[count:]], **others)

    def get_description(
        self, skip: Iterable[str] = (), get_weights: bool = False, keep_states: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """The description, with those of all layers, and how many of them are the encoder's."""
        found = super().get_description(skip, get_weights, keep_states)
        found["config"]["num_encoder_layers"] = len(self.encoder.layers)
        found["config"]["decoder_connections"] = self.decoder_connections
        return found

    # --- buffers ---

    def configure(self, in_obj: Any) -> Any:
        """Learn the shapes of both sequences.

        Arguments:
            in_obj: what has a ``shape`` and a ``decoder_shape``; or both in one tuple of four numbers.
        """
        both = isinstance(in_obj, tuple)
        if both and len(in_obj) != 4:
            raise ValueError(
                f"{self.classnm} needs the shapes of both sequences, (F, T, F, T), received {in_obj}"
            )
        self.encoder.configure(in_obj[:2] if both else in_obj.shape)
        self.decoder.configure(in_obj[2:] if both else in_obj.decoder_shape)
        self.parallelism = self.decoder.parallelism
        self.out_shape = self.decoder.out_shape
        self.in_shape = self.decoder.layers[-1].in_shape if self.hasLUT else self.decoder.in_shape
        self.decoder.full_steps = self.in_shape[1]
        return self

    def allocate(self, shared_outputs: Any = None) -> None:
        """Make the buffers and parameters of all layers, those of the decoder first."""
        self.decoder.allocate(shared_outputs)
        self.encoder.allocate()
        self.xbuf = self.be.iobuf(self.out_shape)

    def allocate_deltas(self, global_deltas: Any = None) -> None:
        """Make the buffers of deltas."""
        self.encoder.allocate_deltas(global_deltas)
        self.decoder.allocate_deltas(global_deltas)

    # --- the passes ---

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The outputs of the decoder: in training for what it is given, in inference for its own outputs."""
        self.decoder.switch_mode(inference)
        if inference:
            self.encoder.fprop(inputs, inference=True)
            return self._generated(self.encoder.get_final_states(self.decoder_connections))
        x, given = inputs
        self.encoder.fprop(x)
        states = self.encoder.get_final_states(self.decoder_connections)
        return self.decoder.fprop(given, init_state_list=states)

    def _generated(self, states: Sequence[Any]) -> Any:
        samples = self.be.bsz
        given = self.be.iobuf(1 if self.hasLUT else (self.out_shape[0], 1))
        for t in range(self.in_shape[1]):
            y = self.decoder.fprop(given, inference=True, init_state_list=states)
            states = [layer.final_state() for layer in self.decoder._recurrent]
            self.xbuf[:, t * samples : (t + 1) * samples] = y
            given[:] = self.be.argmax(y, axis=0) if self.hasLUT else y
        return self.xbuf

    def bprop(self, error: Any, inference: bool = False, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """Back through the decoder, and from what it began with through the encoder."""
        self.encoder.bprop(self.decoder.bprop(error))
        return self.encoder.layers[0].deltas


def _container(layers: Any, cls: Any) -> Any:
    if not isinstance(layers, (Layer, list, tuple)):
        raise TypeError(f"{cls.__name__}: layers are a list or a layer, received {layers!r}")
    return layers if isinstance(layers, cls) else cls([layers])
