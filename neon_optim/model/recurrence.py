"""Going through the steps of sequences: products with what the step before has left, and the way back through all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from neon_optim.backends.derivatives import gradients
from neon_optim.backends.optree import stated

__all__ = ["Recurrence", "Unrolled", "Weights"]


class Weights(NamedTuple):
    """What a recurrent layer multiplies by in one direction, gate below gate.

    Attributes:
        input: for the inputs, (gates · nout, nin).
        recur: for what the step before has left, (gates · nout, nout).
        b: the biases, (gates · nout, 1).
    """

    input: Any
    recur: Any
    b: Any


class Recurrence:
    """Products of a step with what the step before has left, where None stands for zeros.

    The gradient of the recurrent weights is one product for all steps: what they give is added to the inputs of the
    gates, so that the derivatives by it are those by the inputs, step by step.

    Arguments:
        be: the backend.
        W: the recurrent weights.
        times: the steps, in the order in which they are gone through.
    """

    def __init__(self, be: Any, W: Any, times: Sequence[int]):
        self.be = be
        self.times = times
        self.time = times[0]
        self._W = W
        self._rows: dict[tuple[int, int], Any] = {}
        self._factors: dict[tuple[int, int], dict[int, Any]] = {}

    def dot(self, v: Any, start: int = 0, stop: int | None = None) -> Any:
        """The product of the rows from ``start`` to ``stop`` of the recurrent weights with v; None for zeros."""
        if v is None:
            return None
        stop = self._W.shape[0] if stop is None else stop
        if self.counts():
            self._factors.setdefault((start, stop), {})[self.time] = v
        return self.be.dot(self.rows(start, stop), v)

    def rows(self, start: int, stop: int) -> Any:
        """Rows of the recurrent weights, the same tensor each time."""
        if (start, stop) not in self._rows:
            self._rows[start, stop] = self._W[start:stop]
        return self._rows[start, stop]

    def times_gate(self, gate: Any, v: Any) -> Any:
        """gate · v; None for zeros."""
        return None if v is None else gate * v

    def counts(self) -> bool:
        """Whether what the step before has left counts in the derivatives by the weights and gates of this step."""
        return True

    def gradient(self, by_inputs: Any) -> Any:
        """The derivative by the recurrent weights, given those by the inputs of all steps; None for zeros."""
        be, n = self.be, by_inputs.shape[1] // len(self.times)
        products = []
        for (start, stop), factors in sorted(self._factors.items()):
            products.append(self.product(by_inputs[start:stop], n, factors))
        return be.concatenate(products, axis=0) if products else None

    def product(self, errors: Any, n: int, factors: Mapping[int, Any]) -> Any:
        """The derivative by rows of the recurrent weights.

        Arguments:
            errors: the derivatives by the products with them, of all steps.
            n: columns of a step.
            factors: what they were multiplied with in each step: in some that lie side by side.
        """
        at = sorted(factors)
        together = self.be.concatenate([factors[t] for t in at], axis=1)
        return self.be.dot(errors[:, at[0] * n : (at[-1] + 1) * n], together.T)


class Unrolled:
    """The steps of sequences in one direction, one made of the other.

    Arguments:
        be: the backend.
        step: ``step(inputs, recurrence, state)`` makes a step of its inputs and of what the step before has left; it
            gives the values of the step by name.
        driven: W_input · x of all steps, (gates · nout, T · n).
        weights: the weights of the direction.
        recurrence: the products with ``weights.recur``, and the order of the steps.
        goes_on: the names of what a step leaves for the next, the outputs first.
        start: that for the first step; None for zeros.

    Attributes:
        steps: the values of each step by name, in the order of time.
        last: what the last step that was made has left.
        value: the outputs of all steps, (nout, T · n), with their backward pass.
    """

    def __init__(
        self,
        be: Any,
        step: Callable[..., Mapping[str, Any]],
        driven: Any,
        weights: Weights,
        recurrence: Recurrence,
        goes_on: Sequence[str],
        start: Sequence[Any],
    ):
        self._be = be
        self._recurrence = recurrence
        length = len(recurrence.times)
        n = driven.shape[1] // length
        self._inputs = [driven[:, t * n : (t + 1) * n] for t in range(length)]
        self.start = self.last = list(start)
        self.steps: list[Mapping[str, Any]] = [{}] * length
        for t in recurrence.times:
            recurrence.time = t
            values = self.steps[t] = step(self._inputs[t], weights.b, recurrence, *self.last)
            self.last = [values[name] for name in goes_on]
        self._outputs = be.concatenate([values[goes_on[0]] for values in self.steps], axis=1)

        def backward(error: Any, *_: Any) -> list[Any]:
            return self.backward(error)[:3]

        self.value = stated(self._outputs, [driven, weights.recur, weights.b], backward)

    def backward(self, error: Any) -> list[Any]:
        """The derivatives, given that by the outputs of all steps.

        By the driven inputs, the recurrent weights and the biases; then by each part of the start that is not None.
        """
        be = self._be
        starts = [part for part in self.start if part is not None]
        found = gradients(self._outputs, [*self._inputs, *starts], error)
        by_driven = be.concatenate(found[: len(self._inputs)], axis=1)
        recur, b = self._recurrence.gradient(by_driven), be.sum(by_driven, axis=1)
        return [by_driven, recur, b, *found[len(self._inputs) :]]
