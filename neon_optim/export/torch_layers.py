"""The modules of PyTorch that do what layers do, as text, with their arrays by PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim import model
from neon_optim.errors import RunError

__all__ = ["TorchModules"]

Form = Callable[["TorchModules", Any], None]
_FORMS: dict[type, Form] = {}


class TorchModules:
    """The modules of a ``torch.nn.Sequential`` that gives what a model gives outside of training.

    Arguments:
        layers: the layers of the model.

    Attributes:
        text: the ``torch.nn.Sequential``, in Python.
        arrays: its ``state_dict()``.

    Outside of training PyTorch's Dropout does nothing, while here it multiplies: such factors are multiplied into the
    next weights, so that training too goes on alike.

    Raises:
        RunError: a layer has no place in a ``torch.nn.Sequential``.
    """

    def __init__(self, layers: Any) -> None:
        self._modules: list[str] = []
        self.arrays: dict[str, np.ndarray] = {}
        self._factor, self._biased = 1.0, False
        stages = layers.stages()
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            self._following = following
            form = _FORMS.get(type(stage.transform if type(stage) is model.Activation else stage))
            if form is None:
                raise self.refusal(stage)
            form(self, stage)
        if self._factor != 1.0:
            raise self.refusal(stages[-1], "no weights follow that could take over its factor")

    @property
    def text(self) -> str:
        return "torch.nn.Sequential(\n" + "".join(f"    torch.nn.{text},\n" for text in self._modules) + ")"

    def refusal(self, layer: Any, why: str = "") -> RunError:
        """The error of a layer that has no module."""
        what = (
            f"Activation of {layer.transform.classnm}" if type(layer) is model.Activation else layer.classnm
        )
        return RunError(
            f"{layer.name} ({what}) has no place in a torch.nn.Sequential{f': {why}' if why else ''}; .npz holds the "
            "weights of every model"
        )

    def add(self, text: str, **arrays: Any) -> None:
        """A module, with its arrays."""
        for name, array in arrays.items():
            self.arrays[f"{len(self._modules)}.{name}"] = np.array(array, order="C")
        self._modules.append(text)

    def add_weights(self, text: str, weight: np.ndarray) -> None:
        """A module of weights; the bias of the layer that follows is its own."""
        weight, self._factor = weight * np.asarray(self._factor, weight.dtype), 1.0
        arrays = {"weight": weight}
        if type(self._following) is model.Bias:
            arrays["bias"] = self._following.W.get().ravel()
        self.add(f"{text}, bias={'bias' in arrays})", **arrays)
        self._biased = "bias" in arrays

    def scale(self, factor: float) -> None:
        """Multiply what comes next."""
        self._factor *= factor

    def refuse_factor(self, layer: Any) -> None:
        """Refuse a layer that does not hand factors on."""
        if self._factor != 1.0:
            raise self.refusal(
                layer, "it stands between a Dropout and the weights that would take over its factor"
            )

    def take_bias(self) -> bool:
        """Whether the module before has a bias that is still to come; it has come now."""
        known, self._biased = self._biased, False
        return known


def _form(*classes: type) -> Callable[[Form], Form]:
    def remember(form: Form) -> Form:
        _FORMS.update(dict.fromkeys(classes, form))
        return form

    return remember


@_form(model.Linear)
def _linear(to: TorchModules, layer: Any) -> None:
    W = layer.W.get()
    if len(layer.in_shape) == 2:
        to.add_weights(f"Conv1d({layer.nin}, {layer.nout}, 1", W[:, :, None])
        return
    if len(layer.in_shape) == 3:
        to.add("Flatten()")
    to.add_weights(f"Linear({layer.nin}, {layer.nout}", W)


@_form(model.Bias)
def _bias(to: TorchModules, layer: Any) -> None:
    if not to.take_bias():
        raise to.refusal(layer, "a bias follows a layer of weights there")


def _window(layer: Any, *names: str) -> str:
    return "".join(f", {name}={layer.windows[key]}" for name, key in (pair.split(":") for pair in names))


_OF_FILTERS = ("kernel_size:window", "stride:strides", "padding:padding", "dilation:dilation")


@_form(model.Convolution)
def _convolution(to: TorchModules, layer: Any) -> None:
    rows, columns, count = layer.fshape
    W = layer.W.get().T.reshape(count, -1, rows, columns)
    to.add_weights(f"Conv2d({layer.in_shape[0]}, {count}{_window(layer, *_OF_FILTERS)}", W)


@_form(model.Deconvolution)
def _deconvolution(to: TorchModules, layer: Any) -> None:
    rows, columns, count = layer.fshape
    W = layer.W.get().T.reshape(-1, count, rows, columns)
    to.add_weights(f"ConvTranspose2d({layer.in_shape[0]}, {count}{_window(layer, *_OF_FILTERS)}", W)


@_form(model.Pooling)
def _pooling(to: TorchModules, layer: Any) -> None:
    of = layer.windows
    if any(2 * padding > side for padding, side in zip(of["padding"], of["window"], strict=True)):
        raise to.refusal(layer, "padding is at most half of the window there")
    window = _window(layer, "stride:strides", "padding:padding")
    kind, more = ("Max", "") if layer.op == "max" else ("Avg", ", count_include_pad=False")
    to.add(f"{kind}Pool2d({of['window']}{window}{more})")


@_form(model.BatchNorm)
def _batch_norm(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    count = layer.in_shape[0]
    to.add(
        f"BatchNorm{2 if len(layer.in_shape) == 3 else 1}d({count}, eps={layer.eps}, momentum={1 - layer.rho:.6g})",
        weight=layer.gamma.get().ravel(),
        bias=layer.beta.get().ravel(),
        running_mean=layer.gmean.get().ravel(),
        running_var=layer.gvar.get().ravel(),
        num_batches_tracked=np.array(0),
    )


@_form(model.Dropout)
def _dropout(to: TorchModules, layer: Any) -> None:
    to.scale(layer.keep)
    to.add(f"Dropout({1 - layer.keep:.6g})")


@_form(model.Reshape)
def _reshape(to: TorchModules, layer: Any) -> None:
    to.add("Flatten()")
    if len(layer.out_shape) > 1:
        to.add(f"Unflatten(1, {layer.out_shape})")


@_form(model.LRN)
def _lrn(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    to.add(f"LocalResponseNorm({layer.depth}, alpha={layer.ascale}, beta={layer.bpower}, k=1.0)")


@_form(model.Identity)
def _identity(to: TorchModules, layer: Any) -> None:
    pass


@_form(model.Normalizer)
def _normalizer(to: TorchModules, layer: Any) -> None:
    to.scale(1.0 / layer.transform.divisor)


@_form(model.Rectlin)
def _rectlin(to: TorchModules, layer: Any) -> None:
    slope = layer.transform.slope
    to.add(f"LeakyReLU({slope})" if slope else "ReLU()")


@_form(model.Rectlinclip)
def _rectlinclip(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    if layer.transform.slope:
        raise to.refusal(layer, "no module there has both a slope and a largest value")
    to.add(f"Hardtanh(0.0, {layer.transform.xcut})")


@_form(model.Explin)
def _explin(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    to.add(f"ELU({layer.transform.alpha})")


@_form(model.Logistic)
def _logistic(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    to.add("Sigmoid()")


@_form(model.Tanh)
def _tanh(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    to.add("Tanh()")


@_form(model.Softmax)
def _softmax(to: TorchModules, layer: Any) -> None:
    to.refuse_factor(layer)
    if len(layer.in_shape) == 3:
        raise to.refusal(layer, "it goes over all elements of an image")
    to.add("Softmax(dim=1)")
