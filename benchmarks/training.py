"""One minibatch of training, forward, cost, backward and update, as this package and others do it."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim import NervanaObject, gen_backend
from neon_optim.model import (
    LSTM,
    Affine,
    ArrayIterator,
    Constant,
    Conv,
    CrossEntropyMulti,
    GlorotUniform,
    Logistic,
    Model,
    Pooling,
    Rectlin,
    RecurrentLast,
    Softmax,
    Tanh,
)
from neon_optim.model.training import Training
from neon_optim.optimizers import Adam

__all__ = [
    "MLPS",
    "compiled_torch_mlp",
    "jax_mlp",
    "our_inference",
    "our_lenet",
    "our_lstm",
    "our_mlp",
    "our_softmax",
    "softmax_floor",
    "torch_inference",
    "torch_lenet",
    "torch_lstm",
    "torch_mlp",
]

Step = Callable[[], object]

#: Features of the layers, and samples of a minibatch.
MLPS = {
    "64-128-10, batch 32": ((64, 128, 10), 32),
    "784-100-10, batch 128": ((784, 100, 10), 128),
    "784-1024-1024-10, batch 128": ((784, 1024, 1024, 10), 128),
}
RATE = 1e-3


def _samples(sizes: Sequence[int], batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch)


def _our_model(sizes: Sequence[int]) -> Model:
    functions = [Rectlin()] * (len(sizes) - 2) + [Softmax()]
    return Model(
        [
            Affine(n, GlorotUniform(), Constant(0.0), activation=function)
            for n, function in zip(sizes[1:], functions, strict=True)
        ]
    )


def our_mlp(sizes: Sequence[int], batch: int, engine: str = "numba") -> Step:
    """A step of this package's training loop."""
    return _our_step(_our_model(sizes), *_samples(sizes, batch), sizes[-1], engine=engine)


def our_lenet(batch: int) -> Step:
    """Two convolutions of 5 x 5, each with a rectifier and pooling, and two dense layers."""
    x, labels = _samples((784, 10), batch)
    layers: list[Any] = []
    for filters in (6, 16):
        layers += [
            Conv((5, 5, filters), GlorotUniform(), bias=Constant(0.0), activation=Rectlin()),
            Pooling(2, op="max"),
        ]
    layers += [
        Affine(120, GlorotUniform(), Constant(0.0), activation=Rectlin()),
        Affine(10, GlorotUniform(), Constant(0.0), activation=Softmax()),
    ]
    return _our_step(Model(layers), x, labels, 10, lshape=(1, 28, 28))


def our_lstm(units: int, length: int, batch: int) -> Step:
    """One recurrent layer over a sequence, and a dense layer behind its last step."""
    x, labels = _samples((units * length, 10), batch)
    layers = [
        LSTM(units, GlorotUniform(), activation=Tanh(), gate_activation=Logistic(), reset_cells=True),
        RecurrentLast(),
        Affine(10, GlorotUniform(), Constant(0.0), activation=Softmax()),
    ]
    return _our_step(Model(layers), x, labels, 10, lshape=(units, length))


def _our_step(
    model: Model, x: np.ndarray, labels: np.ndarray, classes: int, engine: str = "numba", **shape: Any
) -> Step:
    be = gen_backend("cpu", rng_seed=0, batch_size=len(x), engine=engine)
    data = ArrayIterator(x, labels, nclass=classes, **shape)
    training = Training(model, data, CrossEntropyMulti(), Adam(learning_rate=RATE), 1)
    inputs, targets = (be.array(a.get()) for a in next(iter(data.batches())))

    def step() -> None:
        NervanaObject.be = be  # each contender has its own
        model.minibatch_index = 0
        training._step((inputs, targets))

    return step


def torch_lenet(batch: int) -> Step:
    """The same in PyTorch."""
    import torch

    nn = torch.nn
    layers: list[Any] = []
    for nin, nout in ((1, 6), (6, 16)):
        layers += [nn.Conv2d(nin, nout, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 10)]
    x, labels = _samples((784, 10), batch)
    return _torch_step(nn.Sequential(*layers), torch.from_numpy(x).reshape(-1, 1, 28, 28), labels)


def torch_lstm(units: int, length: int, batch: int) -> Step:
    """The same in PyTorch."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = torch.nn.LSTM(units, units), torch.nn.Linear(units, 10)

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(x)[0][-1])

    x, labels = _samples((units * length, 10), batch)
    steps = torch.from_numpy(x).reshape(batch, length, units).transpose(0, 1).contiguous()
    return _torch_step(Net(), steps, labels)


def our_inference(sizes: Sequence[int]) -> Step:
    """The outputs for one sample."""
    be = gen_backend("cpu", rng_seed=0, batch_size=1, engine="numba")
    x, labels = _samples(sizes, 2)
    model = _our_model(sizes)
    model.initialize(ArrayIterator(x, labels, nclass=sizes[-1]))
    one = be.array(x[:1].T)

    def step() -> None:
        NervanaObject.be = be
        model.fprop(one, inference=True)

    return step


def _torch_model(sizes: Sequence[int]) -> Any:
    import torch

    layers: list[Any] = []
    for nin, nout in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(nin, nout), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def torch_mlp(sizes: Sequence[int], batch: int, compiled: bool = False) -> Step:
    """The same in PyTorch, eager or compiled, with its fused Adam."""
    import torch

    x, labels = _samples(sizes, batch)
    return _torch_step(_torch_model(sizes), torch.from_numpy(x), labels, compiled)


def compiled_torch_mlp(sizes: Sequence[int], batch: int) -> Step | None:
    """The same by torch.compile; None where that does not run."""
    if importlib.util.find_spec("torch") is None:
        return None
    step = torch_mlp(sizes, batch, compiled=True)
    try:
        step()
    except Exception as error:  # of a compiler that is missing, or does not know this machine
        print(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
        return None
    return step


def _torch_step(model: Any, x: Any, labels: np.ndarray, compiled: bool = False) -> Step:
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    targets = torch.from_numpy(labels)

    def loss() -> Any:
        return torch.nn.functional.cross_entropy(model(x), targets)

    cost = torch.compile(loss) if compiled else loss

    def step() -> None:
        optimizer.zero_grad()
        cost().backward()
        optimizer.step()

    return step


def torch_inference(sizes: Sequence[int]) -> Step:
    """The outputs for one sample in PyTorch."""
    import torch

    model = _torch_model(sizes).eval()
    one = torch.from_numpy(_samples(sizes, 1)[0])

    def step() -> None:
        with torch.inference_mode():
            torch.softmax(model(one), dim=1)

    return step


def jax_mlp(sizes: Sequence[int], batch: int) -> Step | None:
    """The same in JAX under jit, with donated buffers and Optax' Adam; None where they are not installed."""
    if importlib.util.find_spec("jax") is None or importlib.util.find_spec("optax") is None:
        return None
    import jax
    import optax

    x, labels = _samples(sizes, batch)
    rng = np.random.default_rng(0)
    weights = [
        (
            rng.standard_normal((nin, nout), dtype=np.float32) / np.sqrt(nin, dtype=np.float32),
            np.zeros(nout, np.float32),
        )
        for nin, nout in itertools.pairwise(sizes)
    ]
    adam = optax.adam(RATE)

    def loss(weights: Any) -> Any:
        y = x
        for k, (w, b) in enumerate(weights):
            y = y @ w + b
            y = jax.nn.relu(y) if k < len(weights) - 1 else y
        return optax.softmax_cross_entropy_with_integer_labels(y, labels).mean()

    @jax.jit
    def update(weights: Any, state: Any) -> Any:
        changes, state = adam.update(jax.grad(loss)(weights), state)
        return optax.apply_updates(weights, changes), state

    held = jax.tree.map(jax.numpy.asarray, weights)
    kept = [held, adam.init(held)]

    def step() -> None:
        kept[:] = update(*kept)
        jax.block_until_ready(kept[0])

    return step


def our_softmax(classes: int, samples: int) -> Step:
    """Softmax, cross-entropy and the derivative of both."""
    be = gen_backend("cpu", engine="numba")
    rng = np.random.default_rng(0)
    x = be.array(rng.standard_normal((classes, samples), dtype=np.float32))
    t = be.array(np.eye(classes, dtype=np.float32)[:, rng.integers(0, classes, samples)])
    power = be.exp(x - be.max(x, axis=0))
    y = power / be.sum(power, axis=0)
    error, cost = be.empty((classes, samples)), be.empty((1, samples))
    return be.capture([(error, y - t), (cost, -be.sum(t * be.safelog(y), axis=0))])


def softmax_floor(classes: int, samples: int) -> Step:
    """The reads and the write of that, and one subtraction."""
    be = gen_backend("cpu", engine="numba")
    x, t, error = (be.ones((classes, samples)) for _ in range(3))
    return be.capture([(error, x - t)])
