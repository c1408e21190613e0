"""Writes trained.npz: what some models of Intel's neon 2.6 have learned after 100 minibatches.

    PYTHONPATH=<a checkout of neon> python tests/data/neon_layers/make.py

``tests/compat/test_neon_training.py`` trains the same models by the same lines. ``arithmetic`` is what this machine's
BLAS and NumPy make of some numbers: where another has the same, the bits of all models must be the same.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).parent
IMAGES, VOLUMES = (2, 6, 6), (1, 2, 6, 6)
MODULES = (
    "layers",
    "layers.container",
    "initializers",
    "transforms",
    "models",
    "optimizers",
    "callbacks.callbacks",
)

MODELS = {
    "biases": lambda n, w: [
        n.Affine(12, w, bias=n.Constant(0.1), activation=n.Rectlin()),
        n.Affine(4, w, bias=n.Constant(0), activation=n.Softmax()),
    ],
    "batch_norm": lambda n, w: [
        n.Affine(12, w, batch_norm=True, activation=n.Tanh()),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "dropout": lambda n, w: [
        n.Affine(12, w, activation=n.Tanh()),
        n.Dropout(0.6),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "binary": lambda n, w: [
        n.BinaryAffine(12, w, batch_norm=True, activation=n.Tanh()),
        n.BinaryAffine(4, w, activation=n.Softmax()),
    ],
    "convolutions": lambda n, w: [
        n.Conv((3, 3, 4), w, padding=1, activation=n.Rectlin()),
        n.Pooling(2),
        n.Conv((2, 2, 3), w, bias=n.Constant(0.1), strides=1, activation=n.Tanh()),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "dilation_and_means": lambda n, w: [
        n.Conv((2, 2, 4), w, dilation=2, batch_norm=True, activation=n.Tanh()),
        n.Pooling(3, op="avg", strides=2, padding=1),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "lrn_and_deconvolution": lambda n, w: [
        n.Conv((3, 3, 6), w, activation=n.Tanh()),
        n.LRN(5, ascale=0.5, bpower=0.75),
        n.Deconv((3, 3, 2), w, strides=2, padding=1, activation=n.Tanh()),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "sum_of_pathways": lambda n, w: [
        n.Conv((3, 3, 4), w, padding=1, activation=n.Tanh()),
        n.MergeSum([[n.Conv((3, 3, 4), w, padding=1, activation=n.Tanh()), n.Conv((1, 1, 4), w)], n.SkipNode()]),
        n.Pooling("all", op="avg"),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "pathways_one_behind_the_other": lambda n, w: [
        n.Conv((1, 1, 3), w),
        n.MergeBroadcast(
            [
                [n.Conv((1, 1, 3), w, activation=n.Tanh())],
                [n.Conv((3, 3, 2), w, padding=1, activation=n.Tanh())],
                [n.Pooling(3, strides=1, padding=1)],
            ],
            merge="depth",
        ),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "convolutions_and_batch_norm": lambda n, w: [
        n.Conv((3, 3, 5), w, batch_norm=True, activation=n.Rectlin()),
        n.Pooling(2),
        n.Conv((2, 2, 6), w, padding=1, batch_norm=True, activation=n.Rectlin()),
        n.Pooling(3, strides=1),
        n.Affine(10, w, batch_norm=True, activation=n.Rectlin()),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "strides_and_deconvolution": lambda n, w: [
        n.Conv((3, 3, 6), w, padding=2, strides=2, activation=n.Tanh()),
        n.Deconv((3, 3, 2), w, strides=2, padding=1, activation=n.Logistic()),
        n.Pooling(2, strides=1),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "volumes": lambda n, w: [
        n.Conv((2, 3, 2, 4), w, padding={"pad_d": 1, "pad_w": 1}, bias=n.Constant(0.1), activation=n.Rectlin()),
        n.Pooling((2, 2, 3), strides={"str_d": 1, "str_h": 2, "str_w": 2}),
        n.Deconv((1, 2, 2, 3), w, strides={"str_h": 2, "str_w": 1}, activation=n.Tanh()),
        n.Pooling((2, 2, 2), op="avg"),
        n.Affine(4, w, activation=n.Softmax()),
    ],
    "two_outputs": lambda n, w: n.Tree(_fork(n, w)),
}  # fmt: skip


def _fork(n: Any, w: Any) -> Any:
    node = n.BranchNode("fork of make.py")
    trunk = [n.Affine(12, w, activation=n.Tanh()), node, n.Affine(4, w, activation=n.Softmax())]
    return [trunk, [node, n.Affine(8, w, activation=n.Tanh()), n.Affine(4, w, activation=n.Softmax())]]


class Minibatches:
    """Five random minibatches of images, in four classes."""

    def __init__(self, be: Any, shape: Any):
        random = np.random.RandomState(1)
        self.shape = self.lshape = shape
        self.nbatches, self.ndata = 5, 5 * be.bsz
        self.made = []
        for _ in range(self.nbatches):
            targets = np.eye(4)[:, random.randint(4, size=be.bsz)]
            self.made.append((be.array(random.normal(size=(72, be.bsz))), be.array(targets)))

    def reset(self) -> None:
        """Nothing."""

    def __iter__(self) -> Any:
        return iter(self.made)


def names(package: str) -> Any:
    """The names of neon's modules, in one object."""
    found: dict[str, Any] = {}
    for module in MODULES:
        found |= vars(importlib.import_module(f"{package}.{module}"))
    return SimpleNamespace(**found)


def trained(n: Any, be: Any, model: str) -> dict[str, np.ndarray]:
    """All parameters after 20 epochs."""
    be.rng_reset()
    layers = MODELS[model](n, n.Gaussian(scale=0.4))
    cost = n.GeneralizedCost(n.CrossEntropyMulti())
    if model == "two_outputs":
        cost = n.Multicost([cost, n.GeneralizedCost(n.CrossEntropyMulti())], weights=[1.0, 0.5])
    made = n.Model(layers)
    optimizer = n.GradientDescentMomentum(0.02, momentum_coef=0.9)
    data = Minibatches(be, VOLUMES if model == "volumes" else IMAGES)
    made.fit(data, cost, optimizer, num_epochs=20, callbacks=n.Callbacks(made, progress_bar=False))
    found = {}
    for layer in made.layers_to_optimize:
        params = layer.get_params()
        for (param, _), _ in params if isinstance(params, list) else [params]:
            found[f"{model}/{len(found)}"] = param.get()
    return found


def arithmetic() -> np.ndarray:
    """Results of BLAS and of NumPy's functions, by which machines are told apart."""
    random = np.random.RandomState(2)
    found = []
    for m, k, n in ((4, 18, 8), (18, 8, 4), (12, 72, 8), (5, 54, 8), (24, 8, 5)):
        a, b = (random.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n)))
        found += [a @ b, a.T.copy().T @ b, a @ b.T.copy().T]
    some = random.normal(size=1000).astype(np.float32)
    found += [np.exp(some), np.tanh(some), np.log(np.abs(some)), np.sum(some), np.sqrt(np.abs(some))]
    return np.concatenate([np.ravel(x) for x in found])


if __name__ == "__main__":
    from neon.backends import gen_backend

    backend, of = gen_backend("cpu", rng_seed=5, batch_size=8), names("neon")
    np.savez_compressed(
        HERE / "trained.npz",
        arithmetic=arithmetic(),
        **{key: value for model in MODELS for key, value in trained(of, backend, model).items()},
    )
