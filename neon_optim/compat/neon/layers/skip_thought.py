"""neon's container that learns vectors of sentences from those around them."""

from __future__ import annotations

from typing import Any

from neon_optim.compat.descriptions import class_of
from neon_optim.compat.neon.layers.compound import Affine
from neon_optim.compat.neon.layers.lookup_table import LookupTable
from neon_optim.compat.neon.layers.sequential import Sequential
from neon_optim.compat.neon.transforms import Softmax

__all__ = ["SkipThought"]


class SkipThought(Sequential):
    """An encoder of sentences, and two decoders that make the sentences before and behind of what it has left.

    The three tables of words get equal gradients, and so do the layers behind the two decoders: those of each group are
    as one, and begin with the same values where they are initialized the same way.

    Arguments:
        vocab_size: number of words; the word 0 is padding.
        embed_dim: features of a word.
        init_embed: initializer of the table of words.
        nhidden: features of a sentence.
        rec_layer: the class of the recurrent layers, GRU or LSTM, or its name.
        init_rec: initializer of their recurrent weights.
        activ_rec, activ_rec_gate: their activation functions.
        init_ff: initializer of all other weights.
        init_const: that of biases.
        layers: the twelve layers themselves; None: new ones.

    Attributes:
        layer_dict: layers by what they are for: 'lookupTable', 'encoder', 'decoder_previous', 'decoder_next', 'affine'.

    References:
        Kiros et al., Skip-thought vectors, NIPS 2015.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        init_embed: Any,
        nhidden: int,
        rec_layer: Any,
        init_rec: Any,
        activ_rec: Any,
        activ_rec_gate: Any,
        init_ff: Any,
        init_const: Any,
        layers: Any = None,
        name: str | None = None,
    ):
        self.vocab_size = vocab_size
        self.embed_dim = embed_dim
        self.init_embed = init_embed
        self.nhidden = nhidden
        self.rec_layer = class_of(rec_layer) if isinstance(rec_layer, str) else rec_layer
        self.init_rec = init_rec
        self.activ_rec = activ_rec
        self.activ_rec_gate = activ_rec_gate
        self.init_ff = init_ff
        self.init_const = init_const
        super().__init__(layers=self._made() if layers is None else layers, name=name)
        if len(self.layers) != 12:
            raise ValueError(f"{self.classnm} has 12 layers, received {len(self.layers)}")
        self.owns_delta = True
        self.embed_s, self.embed_p, self.embed_n = self.layers[:3]
        self.encoder, self.decoder_p, self.decoder_n = self.layers[3:6]
        self.affine_p, self.affine_n = self.layers[6:9], self.layers[9:]
        self.layer_dict = {
            "lookupTable": self.embed_s,
            "encoder": self.encoder,
            "decoder_previous": self.decoder_p,
            "decoder_next": self.decoder_n,
            "affine": self.affine_p,
        }

    def _made(self) -> list[Any]:
        tables = [LookupTable(self.vocab_size, self.embed_dim, self.init_embed, pad_idx=0) for _ in range(3)]
        gates = {"activation": self.activ_rec, "gate_activation": self.activ_rec_gate}
        recurrent = [
            self.rec_layer(
                self.nhidden, init=self.init_ff, init_inner=self.init_rec, reset_cells=True, **gates
            )
            for _ in range(3)
        ]
        dense = [
            Affine(self.vocab_size, init=self.init_ff, bias=self.init_const, activation=Softmax())
            for _ in range(2)
        ]
        return [*tables, *recurrent, *dense]

    def _paths(self) -> list[list[Any]]:
        """The encoder, and the decoders of the sentences before and behind: each the table, then what follows."""
        return [
            [self.embed_s, self.encoder],
            [self.embed_p, self.decoder_p, *self.affine_p],
            [self.embed_n, self.decoder_n, *self.affine_n],
        ]

    def configure(self, in_obj: Any) -> Any:
        """Learn the shapes of the three sentences.

        Arguments:
            in_obj: a list of them, or what has such a list as its ``shape``.
        """
        self.in_shape = in_obj if isinstance(in_obj, list) else in_obj.shape
        self.prev_layer = None
        for shape, path in zip(self.in_shape, self._paths(), strict=True):
            before = shape
            for layer in path:
                layer.configure(before)
                if before is not shape:
                    before.set_next(layer)
                before = layer
        self.out_shape = [self.affine_p[-1].out_shape, self.affine_n[-1].out_shape]
        return self

    def allocate(self, shared_outputs: Any = None, accumulate_updates: bool = False) -> None:
        """Make the buffers and parameters; both layers behind the decoders begin with the same weights."""
        super().allocate(shared_outputs, accumulate_updates)
        self.error_ctx = self.be.iobuf((self.nhidden, self.encoder.nsteps))
        self.affine_p[0].W[:] = self.affine_n[0].W

    def fprop(self, inputs: Any, inference: bool = False, beta: float = 0.0) -> Any:
        """The words of the sentences before and behind.

        Arguments:
            inputs: three: the sentence, the one before, and the one behind; the latter as the decoders are given them.
        """
        sentence, *others = inputs
        context = self.encoder.fprop(self.embed_s.fprop(sentence, inference), inference)
        state = context[:, -self.be.bsz :]
        outputs = []
        for words, (table, decoder, *behind) in zip(others, self._paths()[1:], strict=True):
            x = decoder.fprop(table.fprop(words, inference), inference=inference, init_state=state)
            for layer in behind:
                x = layer.fprop(x, inference)
            outputs.append(x)
        return outputs

    def bprop(self, error: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
        """Back through both decoders and the encoder.

        Arguments:
            error: two: the derivatives by both outputs.
        """
        self.error_ctx.fill(0.0)
        last = self.error_ctx[:, -self.be.bsz :]
        for own, (table, decoder, *behind) in zip(error, self._paths()[1:], strict=True):
            for layer in reversed(behind):
                own = layer.bprop(own)
            table.bprop(decoder.bprop(own))
            last[:] = last + decoder.get_final_hidden_error()
        deltas = self.embed_s.bprop(self.encoder.bprop(self.error_ctx))
        _share([self.embed_s, self.embed_p, self.embed_n])
        for pair in zip(self.affine_p[:2], self.affine_n[:2], strict=True):
            _share(pair)
        return deltas

    def get_terminal(self) -> Any:
        """The layers whose outputs go out."""
        return [self.affine_p[-1].get_terminal(), self.affine_n[-1].get_terminal()]


def _share(layers: Any) -> None:
    """Give layers the mean of their gradients."""
    total = layers[0].dW
    for layer in layers[1:]:
        total = total + layer.dW
    mean = layers[0].be.empty_like(layers[0].dW)
    mean[:] = total / len(layers)
    for layer in layers:
        layer.dW[:] = mean
