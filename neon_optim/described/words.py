"""Words that were probably meant: similar ones, and what other libraries say."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_THEIRS: dict[str, str] = {
    # arguments of optimizers
    "decay_rate": "alpha rho",
    "decay": "alpha rho",
    "beta_1 beta_2": "betas",
    "epsilon": "eps",
    "momentum_coef": "momentum",
    "beta_1": "momentum",
    "beta_2": "rho",
    "gradient_clip_norm": "clipnorm global_clipnorm max_grad_norm max_norm",
    "gradient_clip_value": "clipvalue clip_value",
    "wdecay": "weight_decay l2",
    "decoupled_wdecay": "weight_decay",
    # arguments of schedules
    "step_config": "step_size milestones",
    "boundaries": "milestones",
    "interval": "step_size",
    "length": "T_0 T_max decay_steps total_iters total_steps warmup_steps",
    "growth": "T_mult",
    "rate": "gamma",
    "change": "gamma",
    "end": "eta_min min_lr",
    "peak": "max_lr",
    "low": "base_lr min_lr minval",
    "high": "max_lr maxval",
    # arguments of layers and initializers
    "nout": "units out_features",
    "init": "kernel_initializer weight_init initializer",
    "bias": "bias_initializer use_bias",
    "transform": "activation",
    "slope": "alpha negative_slope",
    "loc": "mean",
    "scale": "std stddev",
    "val": "value",
    "learning_rate": "lr alpha step_size",
    # keys of a config
    "optimizer.config.learning_rate": "lr learning_rate",
    "cost": "loss criterion",
    "dataset": "data",
    "epochs": "num_epochs n_epochs max_epochs",
    "rng_seed": "seed random_seed",
    "datatype": "dtype",
    "backend": "device",
    "layers": "model network",
    "every_epochs": "every",
    # classes
    "Affine": "Dense FullyConnected",
    "Rectlin": "ReLU LeakyReLU",
    "Logistic": "Sigmoid",
    "Kaiming": "He HeNormal KaimingNormal",
    "GlorotUniform": "Glorot Xavier XavierUniform",
    "Gaussian": "Normal RandomNormal TruncatedNormal",
    "Uniform": "RandomUniform",
    "Constant": "Zeros Ones",
    "CrossEntropyMulti": "CrossEntropy CrossEntropyLoss NLLLoss CategoricalCrossentropy SparseCategoricalCrossentropy",
    "CrossEntropyBinary": "BCELoss BCEWithLogitsLoss BinaryCrossentropy",
    "MeanSquared": "MSE MSELoss MeanSquaredError",
    "Accuracy": "CategoricalAccuracy SparseCategoricalAccuracy",
    "EMA": "AveragedModel SWA",
    "Cosine": "CosineAnnealingLR CosineDecay",
    "CosineRestarts": "CosineAnnealingWarmRestarts CosineDecayRestarts",
    "Cyclic": "CyclicLR",
    "Exponential": "ExponentialLR ExponentialDecay",
    "Linear": "LinearLR",
    "OneCycle": "OneCycleLR",
    "Piecewise": "PiecewiseConstantDecay",
    "Plateau": "ReduceLROnPlateau",
    "Polynomial": "PolynomialLR PolynomialDecay",
    "Schedule": "MultiStepLR StepLR",
    "Sequential": "SequentialLR",
    "Chain": "ChainedScheduler",
}
"""Our words, and what PyTorch and Keras say for them. Of several for one of theirs the first that fits is suggested."""


def closest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something similar is known, else nothing.

    >>> closest("learning_rat", ["learning_rate", "beta_1"])
    "; did you mean 'learning_rate'?"
    """
    by_lower = {item.lower(): item for item in known}
    found = difflib.get_close_matches(name.lower()[:200], by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[found[0]]}'?" if found else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """As :func:`closest`, but knows what other libraries call things.

    >>> suggestion("betas", ["learning_rate", "beta_1", "beta_2"])
    "; did you mean 'beta_1' and 'beta_2'?"
    >>> suggestion("relu", ["Rectlin", "Tanh"])
    "; did you mean 'Rectlin'?"
    """
    known = list(known)
    for ours, theirs in _THEIRS.items():
        if set(ours.split()) <= set(known) and _plain(name) in map(_plain, theirs.split()):
            return f"; did you mean {' and '.join(map(repr, ours.split()))}?"
    return closest(name, known)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
