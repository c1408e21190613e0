"""Costs and metrics against their definitions, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.errors import ArgumentError
from neon_optim.model import (
    Accuracy,
    CrossEntropyBinary,
    CrossEntropyMulti,
    MeanSquared,
    Misclassification,
    SumSquared,
)

Y = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.3], [0.2, 0.3, 0.6]])
T = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)[:, [0, 2, 2]]


def values(be, function, y=Y, t=T):
    out = be.empty((1, y.shape[1]))
    out[:] = function(be.array(y), be.array(t))
    return out.get()[0]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (SumSquared(), ((Y - T) ** 2).sum(0) / 2),
        (MeanSquared(), ((Y - T) ** 2).mean(0) / 2),
        (CrossEntropyMulti(), -(T * np.log(Y)).sum(0)),
        (CrossEntropyMulti(scale=3, usebits=True), -3 * (T * np.log2(Y)).sum(0)),
        (CrossEntropyBinary(scale=2), -2 * (T * np.log(Y) + (1 - T) * np.log(1 - Y)).sum(0)),
        (Misclassification(), [0, 1, 0]),
        (Accuracy(), [1, 0, 1]),
    ],
)
def test_value_of_each_sample(be64, cost, expected):
    np.testing.assert_allclose(values(be64, cost), expected, rtol=1e-14)


@pytest.mark.parametrize("cost", [CrossEntropyBinary(), CrossEntropyMulti()])
def test_logarithms_end_at_minus_50(be64, cost):
    """As in neon: a certain and wrong answer costs 50 for each output, not infinity."""
    y, t = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
    expected = 100 if isinstance(cost, CrossEntropyBinary) else 50
    assert values(be64, cost, y, t)[0] == pytest.approx(expected)


def test_classes_need_more_than_one_output(be):
    with pytest.raises(ArgumentError, match=r"Accuracy compares classes .* the model has 1"):
        values(be, Accuracy(), Y[:1], T[:1])
