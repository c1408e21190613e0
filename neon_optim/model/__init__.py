"""The reference model stack: layers, activations, costs, initializers, data, training."""

from neon_optim.model.activations import ActivationFunction, Identity, Logistic, Rectlin, Softmax, Tanh
from neon_optim.model.array_iterator import ArrayIterator
from neon_optim.model.callbacks import Callback, Checkpoints, MetricsLog, Validation
from neon_optim.model.container import Affine, Sequential
from neon_optim.model.costs import (
    Cost,
    CrossEntropyBinary,
    CrossEntropyMulti,
    GeneralizedCost,
    MeanSquared,
    SumSquared,
)
from neon_optim.model.datasets import Dataset, Digits
from neon_optim.model.initializers import Constant, Gaussian, GlorotUniform, Initializer, Kaiming, Uniform
from neon_optim.model.layer import Layer, ParameterLayer
from neon_optim.model.layers import Activation, Bias, Dropout, Linear
from neon_optim.model.metrics import Accuracy, Metric, Misclassification
from neon_optim.model.mnist import MNIST
from neon_optim.model.model import Model

__all__ = [
    "MNIST",
    "Accuracy",
    "Activation",
    "ActivationFunction",
    "Affine",
    "ArrayIterator",
    "Bias",
    "Callback",
    "Checkpoints",
    "Constant",
    "Cost",
    "CrossEntropyBinary",
    "CrossEntropyMulti",
    "Dataset",
    "Digits",
    "Dropout",
    "Gaussian",
    "GeneralizedCost",
    "GlorotUniform",
    "Identity",
    "Initializer",
    "Kaiming",
    "Layer",
    "Linear",
    "Logistic",
    "MeanSquared",
    "Metric",
    "MetricsLog",
    "Misclassification",
    "Model",
    "ParameterLayer",
    "Rectlin",
    "Sequential",
    "Softmax",
    "SumSquared",
    "Tanh",
    "Uniform",
    "Validation",
]
