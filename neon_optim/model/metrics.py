"""Metrics: what is measured on data that is not trained on. Any cost is a metric too."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError

__all__ = ["Accuracy", "Metric", "Misclassification"]


class Metric(NervanaObject, kind="metric", abstract=True):
    """A function of outputs y and targets t, both (classes × samples), with one value for each sample."""

    larger_is_better: ClassVar[bool] = False
    _named_by_class: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, y: Any, t: Any) -> Any:
        """The value of each sample as an op-tree, (1, samples)."""

    def classes(self, y: Any, t: Any) -> tuple[Any, Any]:
        """The class with the largest output, and that with the largest target."""
        if y.shape[0] < 2:
            raise ArgumentError(
                f"{self.classnm} compares classes and needs one output for each; the model has {y.shape[0]}"
            )
        return self.be.argmax(y, axis=0), self.be.argmax(t, axis=0)


class Misclassification(Metric):
    """1 where the largest output is not that of the right class, else 0; its mean is the error rate."""

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.not_equal(*self.classes(y, t))


class Accuracy(Metric):
    """1 where the largest output is that of the right class, else 0; its mean is the accuracy."""

    larger_is_better = True

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.equal(*self.classes(y, t))
