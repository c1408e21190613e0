"""neon.transforms: activation functions, costs and metrics."""

from __future__ import annotations

from neon_optim.compat.neon.transforms.activation import (
    Explin,
    Identity,
    Logistic,
    Normalizer,
    PixelwiseSoftmax,
    Rectlin,
    Rectlinclip,
    Sign,
    Softmax,
    Tanh,
)
from neon_optim.compat.neon.transforms.cost import (
    Accuracy,
    BLEUScore,
    CrossEntropyBinary,
    CrossEntropyMulti,
    GANCost,
    LogLoss,
    MeanSquared,
    Misclassification,
    ObjectDetection,
    PrecisionRecall,
    SmoothL1Loss,
    SquareHingeLoss,
    SumSquared,
    TopKMisclassification,
)

__all__ = [
    "Accuracy",
    "BLEUScore",
    "CrossEntropyBinary",
    "CrossEntropyMulti",
    "Explin",
    "GANCost",
    "Identity",
    "LogLoss",
    "Logistic",
    "MeanSquared",
    "Misclassification",
    "Normalizer",
    "ObjectDetection",
    "PixelwiseSoftmax",
    "PrecisionRecall",
    "Rectlin",
    "Rectlinclip",
    "Sign",
    "SmoothL1Loss",
    "Softmax",
    "SquareHingeLoss",
    "SumSquared",
    "Tanh",
    "TopKMisclassification",
]
