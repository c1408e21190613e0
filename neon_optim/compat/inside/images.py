"""What neon asks a backend for with images, done by our algebra on the memory of its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neon_optim.compat.neon.backends.nervanacpu import NervanaCPU

__all__ = ["ImageOperations"]


def _by_ours(name: str) -> Callable[..., Any]:
    def operation(self: Any, *args: Any, **named: Any) -> Any:
        ours = self.images

        def tensor(x: Any) -> Any:
            return ours.as_tensor(x._tensor) if hasattr(x, "_tensor") else x

        return getattr(ours, name)(*map(tensor, args), **{key: tensor(x) for key, x in named.items()})

    operation.__name__ = name
    operation.__doc__ = f"neon's ``{name}``, by our algebra."
    return operation


class ImageOperations:
    """Convolution, pooling and local response normalization; mixed into a backend of neon's.

    Where neon goes from window to window, these take many windows at a time.

    Attributes:
        images: our backend, by neon's names, that does the work.
    """

    images: NervanaCPU

    conv_layer, fprop_conv = _by_ours("conv_layer"), _by_ours("fprop_conv")
    bprop_conv, update_conv = _by_ours("bprop_conv"), _by_ours("update_conv")
    deconv_layer = _by_ours("deconv_layer")
    pool_layer, fprop_pool, bprop_pool = map(_by_ours, ("pool_layer", "fprop_pool", "bprop_pool"))
    lrn_layer, fprop_lrn, bprop_lrn = map(_by_ours, ("lrn_layer", "fprop_lrn", "bprop_lrn"))
