"""The reference model stack: layers, activations, costs, initializers, data, training."""

from neon_optim.model.activations import (
    ActivationFunction,
    Explin,
    Identity,
    Logistic,
    Normalizer,
    Rectlin,
    Rectlinclip,
    Softmax,
    Tanh,
)
from neon_optim.model.array_iterator import ArrayIterator
from neon_optim.model.batch_norm import BatchNorm
from neon_optim.model.bidirectional import BiBNRNN, BiLSTM, BiRNN, BiSum, DeepBiLSTM, DeepBiRNN
from neon_optim.model.binary import BinaryLinear, ShiftBatchNorm
from neon_optim.model.branching import MergeBroadcast, MergeSum, SkipNode
from neon_optim.model.callbacks import Callback, Checkpoints, CsvLog, MetricsLog, Validation
from neon_optim.model.cifar10 import CIFAR10
from neon_optim.model.container import Affine, Conv, Deconv, Sequential
from neon_optim.model.convolution import Convolution
from neon_optim.model.costs import (
    Cost,
    CrossEntropyBinary,
    CrossEntropyMulti,
    GeneralizedCost,
    MeanSquared,
    SumSquared,
)
from neon_optim.model.datasets import Dataset, Digits
from neon_optim.model.deconvolution import Deconvolution
from neon_optim.model.initializers import (
    Constant,
    Gaussian,
    GlorotUniform,
    Initializer,
    Kaiming,
    Uniform,
    Xavier,
)
from neon_optim.model.layer import Layer, ParameterLayer
from neon_optim.model.layers import Activation, Bias, Dropout, Linear
from neon_optim.model.lookup_table import LookupTable
from neon_optim.model.lrn import LRN
from neon_optim.model.metrics import Accuracy, Metric, Misclassification
from neon_optim.model.mnist import MNIST
from neon_optim.model.model import Model
from neon_optim.model.of_sequence import RecurrentLast, RecurrentMean, RecurrentSum
from neon_optim.model.pooling import Pooling
from neon_optim.model.recurrent import GRU, LSTM, Recurrent
from neon_optim.model.reshape import Reshape
from neon_optim.model.stopping import EarlyStopping, TimeLimit

__all__ = [
    "CIFAR10",
    "GRU",
    "LRN",
    "LSTM",
    "MNIST",
    "Accuracy",
    "Activation",
    "ActivationFunction",
    "Affine",
    "ArrayIterator",
    "BatchNorm",
    "BiBNRNN",
    "BiLSTM",
    "BiRNN",
    "BiSum",
    "Bias",
    "BinaryLinear",
    "Callback",
    "Checkpoints",
    "Constant",
    "Conv",
    "Convolution",
    "Cost",
    "CrossEntropyBinary",
    "CrossEntropyMulti",
    "CsvLog",
    "Dataset",
    "Deconv",
    "Deconvolution",
    "DeepBiLSTM",
    "DeepBiRNN",
    "Digits",
    "Dropout",
    "EarlyStopping",
    "Explin",
    "Gaussian",
    "GeneralizedCost",
    "GlorotUniform",
    "Identity",
    "Initializer",
    "Kaiming",
    "Layer",
    "Linear",
    "Logistic",
    "LookupTable",
    "MeanSquared",
    "MergeBroadcast",
    "MergeSum",
    "Metric",
    "MetricsLog",
    "Misclassification",
    "Model",
    "Normalizer",
    "ParameterLayer",
    "Pooling",
    "Rectlin",
    "Rectlinclip",
    "Recurrent",
    "RecurrentLast",
    "RecurrentMean",
    "RecurrentSum",
    "Reshape",
    "Sequential",
    "ShiftBatchNorm",
    "SkipNode",
    "Softmax",
    "SumSquared",
    "Tanh",
    "TimeLimit",
    "Uniform",
    "Validation",
    "Xavier",
]
