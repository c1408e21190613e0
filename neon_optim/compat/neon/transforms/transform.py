"""The base of neon's activation functions: a function of x, and its derivative in terms of the outputs."""

from __future__ import annotations

from typing import Any

from neon_optim.backends.optree import stated
from neon_optim.described.object import NervanaObject

__all__ = ["Transform"]


class Transform(NervanaObject, kind="activation", abstract=True):
    """A function of a tensor or an op-tree.

    A subclass has the methods ``__call__`` and ``bprop``, or sets ``func`` and ``funcgrad``, functions of x.

    Attributes:
        is_mklop: neon's mark of what its MKL backend does by itself; nothing asks for it here.
    """

    is_mklop = False

    def __call__(self, x: Any) -> Any:
        """The function of x, as an op-tree."""
        return self._given("func", "__call__")(x)

    def bprop(self, x: Any) -> Any:
        """The derivative, as an op-tree of the outputs; a number where it is the same everywhere."""
        return self._given("funcgrad", "bprop")(x)

    def forward(self, x: Any) -> Any:
        """The function of x, whose derivative is that of :meth:`bprop`: what a layer of the core asks for."""
        return stated(self(x), [x], lambda error, y, x: [self.error_before(error, y)])

    def error_before(self, error: Any, y: Any) -> Any:
        """The derivative of the cost by the inputs, of that by the outputs y."""
        derivative = self.bprop(y)
        return error if isinstance(derivative, (int, float)) and derivative == 1 else derivative * error

    def _given(self, function: str, method: str) -> Any:
        found = getattr(self, function, None)
        if found is None:
            raise NotImplementedError(
                f"{self.classnm} has neither a method {method} nor a function {function}"
            )
        return found
