"""Trajectories of PyTorch and Optax in float64, through ``bind``: within 1e-12 of the largest element of 1.

torch_optax.npz came with the task; held_out.npz is made by data/make_held_out.py with other arguments.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.described.build import from_description

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "torch_optax_manifest.json").read_text())["cases"]
HELD_OUT = json.loads((DATA / "held_out.json").read_text())
ARRAYS = {**np.load(DATA / "torch_optax.npz"), **np.load(DATA / "held_out.npz")}
TOLERANCE = 1e-12

CLASSES = {"RMSprop": "RMSProp", "lion": "Lion", "lamb": "LAMB", "lars": "LARS", "adabelief": "AdaBelief"}
CLASSES["yogi"] = "Yogi"
ARGUMENTS = {
    "lr": "learning_rate",
    "eps": "epsilon",
    "weight_decay": "wdecay",
    "alpha": "decay_rate",
    "momentum": "momentum_coef",
    "b1": "beta_1",
    "b2": "beta_2",
}
FORMS = {
    "Adam": {"epsilon_hat": False},
    "AdamW": {"epsilon_hat": False},
    "RMSProp": {"epsilon_inside": False, "decay_rate": 0.99, "epsilon": 1e-8},
}


def ours(case):
    """The description of our optimizer for a case of the manifest."""
    cls = CLASSES.get(case["optimizer"], case["optimizer"])
    given = {ARGUMENTS.get(key, key): value for key, value in case["kwargs"].items()}
    return {"type": cls, "config": {**FORMS.get(cls, {}), **given}}


def worst_error(case, description, steps, engine):
    """The largest difference from the trajectory, and the norms before clipping."""
    gen_backend("cpu", datatype=np.float64, batch_size=7, engine=engine)
    params = [ARRAYS[f"init/p{k}"].copy() for k in range(3)]
    grads = [np.zeros_like(p) for p in params]
    pairs = {f"p{k}": pair for k, pair in enumerate(zip(params, grads, strict=True))}
    bound = from_description(description).bind(pairs)
    extra = case.get("extra", {})
    norms, worst = [], 0.0
    for step in range(1, max(steps) + 1):
        for k, grad in enumerate(grads):
            grad[:] = ARRAYS[f"grads/g{k}"][step - 1]
        if "clip" in extra:
            norms.append(bound.clip_grad_norm(extra["clip"]))
        if "clipv" in extra:
            bound.clip_grad_value(*extra["clipv"])
        bound.step()
        if step in steps:
            expected = [ARRAYS[f"{case['name']}/s{step}/p{k}"] for k in range(3)]
            worst = max(worst, *(np.abs(p - e).max() for p, e in zip(params, expected, strict=True)))
    return worst, norms


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_pytorch_and_optax(case, engine):
    worst, norms = worst_error(case, ours(case), case["steps"], engine)
    assert worst <= TOLERANCE
    np.testing.assert_allclose(norms, case["norms_before_clipping"], rtol=1e-13)


def test_dampening_of_neons_momentum_is_pytorchs_where_the_rate_is_constant(engine):
    (case,) = [case for case in GOLDEN if case["name"] == "sgd_dampening"]
    description = {**ours(case), "type": "GradientDescentMomentum"}
    worst, _ = worst_error(case, description, case["steps"], engine)
    assert worst <= TOLERANCE


@pytest.mark.parametrize("case", HELD_OUT["cases"], ids=lambda case: case["name"])
def test_other_arguments(case, engine):
    description = {"type": case["type"], "config": case["config"]}
    worst, _ = worst_error(case, description, HELD_OUT["steps"], engine)
    assert worst <= TOLERANCE


def test_a_slightly_other_argument_is_noticed():
    """Negative control: the comparison sees a change in the ninth digit of the rate."""
    case = next(case for case in GOLDEN if case["name"] == "adamw")
    description = ours(case)
    description["config"]["learning_rate"] *= 1 + 1e-9
    worst, _ = worst_error(case, description, case["steps"], "numpy")
    assert worst > TOLERANCE
