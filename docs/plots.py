"""The plots of docs/optimizers and docs/schedules; called by generate.py."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from neon_optim import gen_backend, schedules

mpl.use("Agg")
RATES: dict[str, dict[str, Any]] = {
    "GradientDescentMomentum": {"learning_rate": 0.05, "momentum_coef": 0.9},
    "SGD": {"learning_rate": 0.1},
    "RMSProp": {"learning_rate": 2e-3},
    "Adagrad": {"learning_rate": 0.03},
    "Adadelta": {},
    "Adam": {"learning_rate": 3e-3},
    "AdamW": {"learning_rate": 3e-3},
    "Adamax": {"learning_rate": 5e-3},
    "NAdam": {"learning_rate": 3e-3},
    "RAdam": {"learning_rate": 3e-3},
    "ShiftAdaMax": {"learning_rate": 4e-3},
    "Lion": {"learning_rate": 1e-3},
    "LAMB": {"learning_rate": 0.02},
    "LARS": {"learning_rate": 5.0},
    "AdaBelief": {"learning_rate": 3e-3},
    "Yogi": {"learning_rate": 0.01},
    "Rprop": {"learning_rate": 1e-3},
    "Muon": {"learning_rate": 0.02},
    "Adafactor": {"learning_rate": 0.05},
    "ScheduleFreeAdamW": {"learning_rate": 0.02},
}
FACTORS = (1 / 3, 1.0, 3.0, 10.0)
HIDDEN, BATCH, EPOCHS = 32, 128, 12


class Network:
    """64-32-10, rectified, softmax with cross-entropy; samples are columns, as in neon."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        sizes = (64, HIDDEN, 10)
        self.params = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            weights = rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_out, fan_in)).astype(np.float32)
            self.params += [weights, np.zeros((fan_out, 1), np.float32)]
        self.grads = [np.zeros_like(p) for p in self.params]

    def loss(self, x: np.ndarray, labels: np.ndarray, learn: bool) -> float:
        """Mean cross-entropy; with ``learn`` the gradients are set too."""
        w1, b1, w2, b2 = self.params
        hidden = np.maximum(w1 @ x + b1, 0.0)
        scores = w2 @ hidden + b2
        scores -= scores.max(axis=0)
        chances = np.exp(scores) / np.exp(scores).sum(axis=0)
        columns = np.arange(labels.size)
        if learn:
            delta = chances.copy()
            delta[labels, columns] -= 1.0
            delta /= labels.size
            back = (w2.T @ delta) * (hidden > 0)
            for grad, value in zip(
                self.grads,
                (
                    back @ x.T,
                    back.sum(axis=1, keepdims=True),
                    delta @ hidden.T,
                    delta.sum(axis=1, keepdims=True),
                ),
                strict=True,
            ):
                grad[:] = value
        return float(-np.log(chances[labels, columns] + 1e-12).mean())


def curve(optimizer: Any, x: np.ndarray, labels: np.ndarray) -> list[float]:
    """The loss before training and after each epoch."""
    network = Network()
    bound = optimizer.bind(list(zip(network.params, network.grads, strict=True)))
    losses = [network.loss(x, labels, learn=False)]
    order = np.random.default_rng(2)
    for epoch in range(EPOCHS):
        shuffled = order.permutation(labels.size)
        for start in range(0, labels.size - BATCH + 1, BATCH):
            batch = shuffled[start : start + BATCH]
            network.loss(x[:, batch], labels[batch], learn=True)
            bound.step(epoch)
        with bound.evaluation():
            losses.append(network.loss(x, labels, learn=False))
    return losses


def learning_curves(path: Path, from_description: Any) -> None:
    """Loss over epochs, one line for each optimizer."""
    from sklearn.datasets import load_digits

    gen_backend("cpu", engine="numpy")
    digits = load_digits()
    x, labels = (digits.data[:1500].T / 16.0).astype(np.float32), digits.target[:1500]
    figure, axes = plt.subplots(4, 5, figsize=(12, 8), sharex=True, sharey=True)

    def best(name: str, config: dict[str, Any]) -> tuple[float | None, list[float]]:
        """The rate out of a few that ends lowest, and its curve."""
        rates = [config["learning_rate"] * factor for factor in FACTORS] if config else [None]
        tried = []
        for rate in rates:
            given = {} if rate is None else {**config, "learning_rate": rate}
            made = from_description({"type": name, "config": given}, "optimizer")
            tried.append((rate, curve(made, x, labels)))
        return min(tried, key=lambda item: item[1][-1])

    found = {name: best(name, config) for name, config in RATES.items()}
    curves = {name: losses for name, (_, losses) in found.items()}
    for axis, (name, losses) in zip(axes.flat, curves.items(), strict=True):
        for other in curves.values():
            axis.semilogy(other, color="0.88", linewidth=0.8)
        axis.semilogy(losses, color="C0", linewidth=1.8)
        rate = found[name][0]
        axis.set_title(name if rate is None else f"{name}({rate:.2g})", fontsize=8)
        axis.set_ylim(1e-3, 4.0)
    figure.supxlabel("epoch")
    figure.supylabel("cross-entropy")
    _save(figure, path)


def schedule_values(path: Path) -> None:
    """A value for each time, one frame for each schedule."""
    shown = [
        schedules.Linear(80, end=0.1),
        schedules.Polynomial(80, power=3),
        schedules.Exponential(0.5, 20),
        schedules.Exponential(0.5, 20, staircase=True),
        schedules.Cosine(80, end=0.1),
        schedules.CosineRestarts(15, growth=2),
        schedules.OneCycle(100),
        schedules.Cyclic(10, fall=15, decay=0.8),
        schedules.Warmup(schedules.Cosine(90), 10),
        schedules.Piecewise([30, 60], [1.0, 0.5, 0.1]),
        schedules.Schedule([30, 60], 0.5),
        schedules.ExpSchedule(0.05),
    ]
    figure, axes = plt.subplots(3, 4, figsize=(12, 6), sharex=True, sharey=True)
    times = np.arange(0, 101)
    for axis, schedule in zip(axes.flat, shown, strict=True):
        axis.plot(times, [schedule.get_learning_rate(1.0, int(t)) for t in times], linewidth=1.5)
        axis.set_title(repr(schedule).replace("name=", "")[:46], fontsize=7)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
