"""neon's metrics: numbers, or arrays of several, for the samples of a minibatch."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat.neon import transforms
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.transforms.cost import Metric, MultiMetric
from neon_optim.errors import BackendError

Y = np.array([[0.1, 0.5, 0.3, 0.2], [0.6, 0.2, 0.3, 0.1], [0.3, 0.3, 0.4, 0.7]], dtype=np.float32)
T = np.eye(3, dtype=np.float32)[:, [1, 2, 0, 2]]


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=1, batch_size=4)
    cleanup_backend()


@pytest.fixture
def pair(be):
    return be.array(Y), be.array(T)


def test_classes_are_right_or_wrong(pair):
    assert transforms.Misclassification()(*pair) == 0.5
    assert transforms.Accuracy()(*pair) == 0.5
    assert transforms.Misclassification()(*pair, calcrange=slice(0, 2)) == 0.5
    assert transforms.Misclassification()(*pair, calcrange=slice(0, 1)) == 0.0
    metric = transforms.Misclassification()
    metric(*pair)
    assert metric.outputs.get().tolist() == [[0.0, 1.0, 1.0, 0.0]]
    assert metric.metric_names == ["Top1Misclass"]


def test_classes_of_each_step(be):
    metric = transforms.Misclassification(steps=2)
    assert metric(be.array(np.tile(Y, 2)), be.array(np.tile(T, 2))) == 0.5
    assert metric.outputs.shape == (1, 8)


def test_logarithms_and_the_k_best_guesses(pair):
    """Of the third sample, outputs 0.3, 0.3, 0.4, the right class is one of two that share the second place."""
    loss = -np.log([0.6, 0.3, 0.3, 0.7])
    np.testing.assert_allclose(transforms.LogLoss()(*pair), loss.mean(), rtol=1e-6)
    metric = transforms.TopKMisclassification(2)
    assert metric.metric_names == ["LogLoss", "Top1Misclass", "Top2Misclass"]
    np.testing.assert_allclose(metric(*pair), [loss.mean(), 0.5, (0.0 + 0.0 + 0.5 + 0.0) / 4], rtol=1e-6)
    np.testing.assert_allclose(transforms.TopKMisclassification(3)(*pair)[2], 0.0, atol=1e-7)


def test_precision_and_recall(be, pair):
    y, t = pair
    metric = transforms.PrecisionRecall(3, binarize=True)
    found = metric(y, t)
    # Classes that are found: 1, 0, 2, 2; that are due: 1, 2, 0, 2.
    expected = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(metric.outputs.get(), expected, atol=1e-5)
    np.testing.assert_allclose(found, expected.mean(axis=0), atol=1e-5)
    assert (y.get() == np.eye(3)[:, [1, 0, 2, 2]]).all()


def test_labels_and_boxes(be, pair):
    rng = np.random.RandomState(0)
    found, due, mask = rng.randn(12, 4), rng.randn(12, 4), rng.randint(0, 2, (12, 4))
    due = due * mask
    metric = transforms.ObjectDetection()
    accuracy, distance = metric((pair[0], be.array(found)), (pair[1], (be.array(due), be.array(mask))))
    far = np.abs(found * mask - due)
    np.testing.assert_allclose(
        distance, np.where(far < 1, far**2 / 2, far - 0.5).sum(axis=0).mean(), rtol=1e-5
    )
    assert accuracy == 0.5
    seen = np.repeat([[1.0, 0.0, 1.0, 1.0]], 3, axis=0)  # the second sample has no label
    masked = metric((pair[0], be.array(found)), ((pair[1], be.array(seen)), (be.array(due), be.array(mask))))
    assert masked[0] == 0.75


def test_one_of_several_outputs(be, pair):
    y, t = pair
    metric = MultiMetric(transforms.Misclassification(), 1)
    assert metric((t, y), (t, t)) == 0.5
    assert metric((y, t), (t, t)) == 0.0
    assert metric.metric_names == ["Top1Misclass"]
    assert metric.outputs.shape == (1, 4)


def test_what_a_metric_needs(be):
    with pytest.raises(NotImplementedError, match="has no method __call__"):
        type("Nothing", (Metric,), {})()(None, None)
    cleanup_backend()
    with pytest.raises(BackendError, match=r"call gen_backend\(\) before Misclassification\(\)"):
        transforms.Misclassification()
