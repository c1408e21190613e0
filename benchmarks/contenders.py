"""One step of an optimizer, as this package and others do it, each with arrays of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_optim import NervanaObject, gen_backend
from neon_optim.backends.optree import Symbol
from neon_optim.backends.program import Program, trace
from neon_optim.described.build import from_description
from neon_optim.optimizers import Adam
from neon_optim.stepping.part import Part

__all__ = [
    "CLIPS",
    "Clips",
    "bytes_per_element",
    "floor",
    "naive_numpy",
    "optax_adam",
    "ours",
    "torch_adam",
    "torch_bound",
]

Step = Callable[[], object]
RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Clips:
    """Bounds of the global norm, the gradient's elements and the parameter's elements."""

    norm: float = 1.0
    value: float = 0.5
    param: float = 4.0


CLIPS = Clips()


def _values(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def ours(
    shapes: Sequence[tuple[int, ...]],
    type_name: str = "Adam",
    clips: Clips | None = None,
    engine: str = "numba",
    dtype: Any = np.float32,
    new_gradients: bool = False,
    **config: Any,
) -> Step:
    """``optimize`` of this package over ((param, grad), state) tuples of NumPy arrays.

    With ``new_gradients`` they are other arrays than in the step before.
    """
    if clips is not None:
        config |= {
            "gradient_clip_norm": clips.norm,
            "gradient_clip_value": clips.value,
            "param_clip_value": clips.param,
        }
    be = gen_backend("cpu", rng_seed=0, batch_size=1, engine=engine)
    optimizer = from_description({"type": type_name, "config": config})
    rows: list[Any] = [
        ((p.astype(dtype), g.astype(dtype)), [])
        for p, g in zip(_values(shapes), _values(shapes), strict=True)
    ]

    other_rows = [((p, g.copy()), states) for (p, g), states in rows] if new_gradients else rows
    turns = itertools.cycle([rows, other_rows])

    def step() -> None:
        if (
            NervanaObject.be is not be
        ):  # setting an attribute of a class slows down the next look at any other
            NervanaObject.be = be
        optimizer.optimize(next(turns), 0)

    step.optimizer, step.rows = optimizer, rows  # type: ignore[attr-defined]
    return step


def bytes_per_element(step: Any) -> tuple[int, int]:
    """The bytes that a step of :func:`ours` reads and those that it writes, for each element of a parameter."""
    rule = step.optimizer.rule_for(None)
    program = Part(rule).traced(rule.numbers(0, 1.0, False), alone=False).program
    (param, grad), states = step.rows[0]
    return _traffic(program, [np.asarray(a).dtype.itemsize for a in (param, grad, *states)])


def _traffic(program: Program, sizes: Sequence[int]) -> tuple[int, int]:
    code, stages = program.code, program.stages
    read = sum(sizes[code[v].index] for stage in stages for v in stage.element_code if code[v].op == "slot")
    return read, sum(sizes[slot] for stage in stages for slot, _ in stage.outputs)


def floor(shapes: Sequence[tuple[int, ...]]) -> Step:
    """The reads and writes of Adam, 28 bytes an element, and one addition instead of the rule."""
    be = gen_backend("cpu", engine="numba")
    slots = ("param", "grad", "m", "v")

    def move(param: Symbol, grad: Symbol, m: Symbol, v: Symbol) -> None:
        last = param + grad
        param[:] = m
        m[:] = v
        v[:] = last

    program, scalars = trace("floor", slots, move)
    arrays = [_values(shapes) for _ in slots]
    plan = be.plan([((p, g), [m, v]) for p, g, m, v in zip(*arrays, strict=True)], slots)
    return lambda: be.execute(program, plan, [scalars])


def naive_numpy(shapes: Sequence[tuple[int, ...]]) -> Step:
    """Adam as one would write it, whole arrays at a time."""
    f = np.float32
    rows = [
        (p, g, np.zeros_like(p), np.zeros_like(p))
        for p, g in zip(_values(shapes), _values(shapes), strict=True)
    ]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        rate = f(RATE * (1 - BETA_2**t) ** 0.5 / (1 - BETA_1**t))
        for p, g, m, v in rows:
            m[:] = f(BETA_1) * m + f(1 - BETA_1) * g
            v[:] = f(BETA_2) * v + f(1 - BETA_2) * g * g
            p[:] = p - rate * m / (np.sqrt(v) + f(EPSILON))

    return step


def _torch_parameters(shapes: Sequence[tuple[int, ...]]) -> tuple[list[Any], Callable[[], None]]:
    """Parameters with gradients, and a function that gives them others."""
    import torch

    parameters = [torch.nn.Parameter(torch.from_numpy(p)) for p in _values(shapes)]
    turns = itertools.cycle([[torch.from_numpy(g) for g in _values(shapes)] for _ in range(2)])

    def exchange() -> None:
        for parameter, grad in zip(parameters, next(turns), strict=True):
            parameter.grad = grad

    exchange()
    return parameters, exchange


def torch_bound(shapes: Sequence[tuple[int, ...]], new_gradients: bool = False) -> Step:
    """This package's Adam bound to PyTorch's parameters."""
    be = gen_backend("cpu", rng_seed=0, batch_size=1, engine="numba")
    parameters, exchange = _torch_parameters(shapes)
    bound = Adam(learning_rate=RATE, epsilon_hat=False).bind(parameters)

    def step() -> None:
        if (
            NervanaObject.be is not be
        ):  # setting an attribute of a class slows down the next look at any other
            NervanaObject.be = be
        if new_gradients:
            exchange()
        bound.step()

    return step


def torch_adam(
    shapes: Sequence[tuple[int, ...]], kind: str, clips: Clips | None = None, new_gradients: bool = False
) -> Step:
    """PyTorch's Adam; ``kind`` is 'for-loop', 'foreach' or 'fused'."""
    import torch

    parameters, exchange = _torch_parameters(shapes)
    options = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}[kind]
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(BETA_1, BETA_2), eps=EPSILON, **options)
    if new_gradients:
        return lambda: (exchange(), optimizer.step())
    if clips is None:
        return optimizer.step

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, clips.norm)
        torch.nn.utils.clip_grad_value_(parameters, clips.value)
        optimizer.step()
        with torch.no_grad():
            for parameter in parameters:
                parameter.clamp_(-clips.param, clips.param)

    return step


def optax_adam(shapes: Sequence[tuple[int, ...]], clips: Clips | None = None) -> Step:
    """Optax' Adam in one jitted function, with parameters and state donated."""
    import jax
    import optax

    rule = optax.adam(RATE, BETA_1, BETA_2, EPSILON)
    if clips is not None:
        rule = optax.chain(optax.clip_by_global_norm(clips.norm), optax.clip(clips.value), rule)

    def update(parameters: Any, state: Any, grads: Any) -> Any:
        updates, state = rule.update(grads, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        if clips is not None:
            parameters = jax.tree.map(lambda p: jax.numpy.clip(p, -clips.param, clips.param), parameters)
        return parameters, state

    run = jax.jit(update, donate_argnums=(0, 1))
    held: list[Any] = [jax.device_put(_values(shapes)), None, jax.device_put(_values(shapes))]
    held[1] = rule.init(held[0])

    def step() -> None:
        held[0], held[1] = jax.block_until_ready(run(*held))

    return step
