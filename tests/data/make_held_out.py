"""Writes tests/data/held_out.npz and held_out.json: trajectories of PyTorch and Optax for our own arguments.

    python tests/data/make_held_out.py torch     # where PyTorch is installed
    python tests/data/make_held_out.py optax     # where Optax is installed; both add to the files

Initial values and gradients are those of torch_optax.npz; parameters are kept after some of the steps, in float64.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
INPUTS = np.load(HERE / "torch_optax.npz")
STEPS = (1, 4, 30)
START = [INPUTS[f"init/p{k}"] for k in range(3)]
GRADS = [INPUTS[f"grads/g{k}"] for k in range(3)]


def torch_cases():
    """(name, description of ours, PyTorch's class, its arguments)."""
    adam, adamw = {"epsilon_hat": False}, {}
    yield (
        "adam_betas",
        ("Adam", {**adam, "learning_rate": 0.03, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
        ("Adam", {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-3}),
    )
    yield (
        "adam_maximize",
        ("Adam", {**adam, "wdecay": 0.2, "amsgrad": True, "maximize": True}),
        ("Adam", {"weight_decay": 0.2, "amsgrad": True, "maximize": True}),
    )
    yield (
        "adamw_amsgrad",
        ("AdamW", {**adamw, "learning_rate": 0.02, "beta_2": 0.9, "wdecay": 0.3, "amsgrad": True}),
        ("AdamW", {"lr": 0.02, "betas": (0.9, 0.9), "weight_decay": 0.3, "amsgrad": True}),
    )
    yield "adamw_default", ("AdamW", {}), ("AdamW", {})
    yield (
        "adamax_decay",
        ("Adamax", {"wdecay": 0.3, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 0.1}),
        ("Adamax", {"weight_decay": 0.3, "betas": (0.7, 0.9), "eps": 0.1}),
    )
    for decoupled in (False, True):
        extra = {"decoupled_weight_decay": decoupled}
        yield (
            f"nadam_{decoupled}",
            ("NAdam", {"learning_rate": 0.02, "wdecay": 0.3, "momentum_decay": 0.05, **extra}),
            ("NAdam", {"lr": 0.02, "weight_decay": 0.3, "momentum_decay": 0.05, **extra}),
        )
        yield (
            f"radam_{decoupled}",
            ("RAdam", {"learning_rate": 0.02, "beta_2": 0.9, "wdecay": 0.3, **extra}),
            ("RAdam", {"lr": 0.02, "betas": (0.9, 0.9), "weight_decay": 0.3, **extra}),
        )
    yield (
        "sgd_plain",
        ("SGD", {"learning_rate": 0.02, "wdecay": 0.1}),
        ("SGD", {"lr": 0.02, "weight_decay": 0.1}),
    )
    yield (
        "sgd_nesterov",
        ("SGD", {"learning_rate": 0.02, "momentum_coef": 0.8, "nesterov": True, "maximize": True}),
        ("SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True, "maximize": True}),
    )
    yield (
        "gdm_nesterov",
        (
            "GradientDescentMomentum",
            {"learning_rate": 0.02, "momentum_coef": 0.8, "nesterov": True, "wdecay": 0.1},
        ),
        ("SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    )
    rms = {"epsilon_inside": False, "learning_rate": 0.003, "decay_rate": 0.9}
    theirs = {"lr": 0.003, "alpha": 0.9, "eps": 1e-6}
    yield "rmsprop_plain", ("RMSProp", {**rms, "wdecay": 0.2}), ("RMSprop", {**theirs, "weight_decay": 0.2})
    yield (
        "rmsprop_momentum",
        ("RMSProp", {**rms, "momentum_coef": 0.7}),
        ("RMSprop", {**theirs, "momentum": 0.7}),
    )
    yield (
        "rmsprop_centered_only",
        ("RMSProp", {**rms, "centered": True}),
        ("RMSprop", {**theirs, "centered": True}),
    )
    yield (
        "rprop_options",
        ("Rprop", {"etas": [0.3, 1.4], "step_sizes": [1e-3, 0.1], "maximize": True}),
        ("Rprop", {"etas": (0.3, 1.4), "step_sizes": (1e-3, 0.1), "maximize": True}),
    )
    yield (
        "adadelta_decay",
        ("Adadelta", {"decay": 0.8, "epsilon": 1e-4, "wdecay": 0.2}),
        ("Adadelta", {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.2}),
    )
    yield "muon_default", ("Muon", {}), ("Muon", {})
    yield (
        "muon_options",
        (
            "Muon",
            {
                "learning_rate": 0.02,
                "momentum_coef": 0.7,
                "nesterov": False,
                "ns_steps": 3,
                "wdecay": 0.5,
                "adjust_lr_fn": "match_rms_adamw",
                "ns_coefficients": [1.5, -0.5, 0.0],
            },
        ),
        (
            "Muon",
            {
                "lr": 0.02,
                "momentum": 0.7,
                "nesterov": False,
                "ns_steps": 3,
                "weight_decay": 0.5,
                "adjust_lr_fn": "match_rms_adamw",
                "ns_coefficients": (1.5, -0.5, 0.0),
            },
        ),
    )
    yield "adafactor_default", ("Adafactor", {}), ("Adafactor", {})
    yield (
        "adafactor_options",
        (
            "Adafactor",
            {"learning_rate": 0.3, "beta2_decay": -0.5, "epsilon": [1e-3, 0.1], "d": 1.5, "wdecay": 0.1},
        ),
        ("Adafactor", {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-3, 0.1), "d": 1.5, "weight_decay": 0.1}),
    )


def run_torch(name, arguments):
    """Parameters after each step."""
    import torch

    torch.Tensor.bfloat16 = lambda self: self.clone()  # Muon would iterate in bfloat16
    params = [torch.nn.Parameter(torch.tensor(p)) for p in START]
    optimizer = getattr(torch.optim, name)(params, **arguments)
    for step in range(max(STEPS)):
        for p, g in zip(params, GRADS, strict=True):
            p.grad = torch.tensor(g[step])
        optimizer.step()
        yield [p.detach().numpy().copy() for p in params]


def torch_schedules():
    """(name, description of ours, values at the times 0, 1, 2, ... of a base rate 0.1)."""
    import torch
    from torch.optim import lr_scheduler as theirs

    metrics = [
        3.0,
        2.0,
        2.0,
        1.9999,
        2.1,
        1.5,
        1.6,
        1.6,
        1.6,
        1.6,
        1.6,
        1.6,
        1.0,
        1.0,
        1.1,
        1.0,
        1.0,
        1.2,
        1.0,
        1.0,
    ]

    def values(make, feed=None, count=60):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = make(optimizer)
        rates = []
        for step in range(len(feed) if feed else count):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step(*([feed[step]] if feed else []))
        return rates

    for mode, threshold_mode, cooldown in (("min", "rel", 0), ("min", "abs", 2), ("max", "rel", 1)):
        arguments = {
            "factor": 0.5,
            "patience": 2,
            "mode": mode,
            "threshold": 0.01,
            "cooldown": cooldown,
            "threshold_mode": threshold_mode,
        }
        yield (
            f"plateau_{mode}_{threshold_mode}",
            ("Plateau", {**arguments, "end": 0.2}),
            {
                "metrics": metrics,
                "values": values(
                    lambda o, a=arguments: theirs.ReduceLROnPlateau(o, min_lr=0.02, **a), metrics
                ),
            },
        )
    yield (
        "cyclic",
        ("Cyclic", {"rise": 5, "fall": 7, "low": 0.1, "high": 1.0}),
        {"values": values(lambda o: theirs.CyclicLR(o, 0.01, 0.1, 5, 7, cycle_momentum=False))},
    )
    yield (
        "cyclic_2",
        ("Cyclic", {"rise": 4, "low": 0.1, "decay": 0.5}),
        {
            "values": values(
                lambda o: theirs.CyclicLR(o, 0.01, 0.1, 4, mode="triangular2", cycle_momentum=False)
            )
        },
    )
    yield (
        "restarts",
        ("CosineRestarts", {"length": 7, "growth": 3, "end": 0.05}),
        {"values": values(lambda o: theirs.CosineAnnealingWarmRestarts(o, 7, 3, 0.005))},
    )
    yield (
        "polynomial",
        ("Polynomial", {"length": 40, "power": 1.5}),
        {"values": values(lambda o: theirs.PolynomialLR(o, 40, 1.5))},
    )
    yield (
        "one_cycle",
        (
            "OneCycle",
            {
                "length": 59,
                "shape": "linear",
                "pct_start": 0.5,
                "div_factor": 10.0,
                "final_div_factor": 100.0,
            },
        ),
        {
            "values": values(
                lambda o: theirs.OneCycleLR(
                    o,
                    0.1,
                    60,
                    pct_start=(0.5 * 59 + 1) / 60,
                    anneal_strategy="linear",
                    div_factor=10,
                    final_div_factor=100,
                    cycle_momentum=False,
                )
            )
        },
    )
    yield (
        "sequential",
        (
            "Sequential",
            {
                "schedules": [
                    {"type": "Linear", "config": {"length": 5, "start": 0.2, "end": 1.0}},
                    {"type": "Exponential", "config": {"rate": 0.9}},
                ],
                "boundaries": [5],
            },
        ),
        {
            "values": values(
                lambda o: theirs.SequentialLR(
                    o, [theirs.LinearLR(o, 0.2, 1.0, 5), theirs.ExponentialLR(o, 0.9)], [5]
                )
            )
        },
    )


def optax_cases():
    """(name, description of ours, Optax' transformation)."""
    import optax
    from optax import contrib

    def clipped(norm, inner):
        return optax.chain(optax.clip_by_global_norm(norm), inner)

    yield (
        "lion_betas",
        ("Lion", {"learning_rate": 0.01, "beta_1": 0.5, "beta_2": 0.7, "wdecay": 0.2}),
        optax.lion(0.01, 0.5, 0.7, weight_decay=0.2),
    )
    yield (
        "lion_clipped",
        ("Lion", {"learning_rate": 0.01, "gradient_clip_norm": 2.0}),
        clipped(2.0, optax.lion(0.01, weight_decay=0.0)),
    )
    yield (
        "adamw_clipped",
        ("AdamW", {"learning_rate": 0.01, "gradient_clip_norm": 2.0, "wdecay": 0.1}),
        clipped(2.0, optax.adamw(0.01, weight_decay=0.1)),
    )
    mask = [True, False, True]
    yield (
        "adamw_masked",
        ("AdamW", {"learning_rate": 0.01, "wdecay": 0.5, "no_decay": ["p1/*"]}),
        optax.adamw(0.01, weight_decay=0.5, mask=mask),
    )
    yield (
        "lamb_roots",
        ("LAMB", {"learning_rate": 0.02, "beta_1": 0.8, "epsilon": 1e-3, "eps_root": 0.01}),
        optax.lamb(0.02, b1=0.8, eps=1e-3, eps_root=0.01),
    )
    yield (
        "lamb_masked",
        ("LAMB", {"learning_rate": 0.02, "wdecay": 0.5, "no_decay": ["p1"]}),
        optax.lamb(0.02, weight_decay=0.5, mask=mask),
    )
    yield (
        "lars_nesterov",
        (
            "LARS",
            {
                "learning_rate": 0.5,
                "momentum_coef": 0.7,
                "nesterov": True,
                "epsilon": 0.1,
                "trust_coefficient": 0.1,
                "wdecay": 0.3,
            },
        ),
        optax.lars(0.5, weight_decay=0.3, trust_coefficient=0.1, eps=0.1, momentum=0.7, nesterov=True),
    )
    yield (
        "adabelief_nesterov",
        ("AdaBelief", {"learning_rate": 0.02, "epsilon": 1e-4, "eps_root": 1e-3, "nesterov": True}),
        optax.adabelief(0.02, eps=1e-4, eps_root=1e-3, nesterov=True),
    )
    yield (
        "adabelief_betas",
        ("AdaBelief", {"beta_1": 0.5, "beta_2": 0.8}),
        optax.adabelief(0.001, b1=0.5, b2=0.8),
    )
    yield (
        "yogi_betas",
        ("Yogi", {"learning_rate": 0.03, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.1}),
        optax.yogi(0.03, b1=0.5, b2=0.8, eps=0.1),
    )
    yield "schedule_free", ("ScheduleFreeAdamW", {"learning_rate": 0.02}), contrib.schedule_free_adamw(0.02)
    yield (
        "schedule_free_options",
        (
            "ScheduleFreeAdamW",
            {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "wdecay": 0.3, "weight_lr_power": 1.0},
        ),
        contrib.schedule_free_adamw(0.02, b1=0.7, b2=0.9, weight_decay=0.3, weight_lr_power=1.0),
    )
    cosine = optax.cosine_decay_schedule(0.05, 20, alpha=0.1)
    yield (
        "adamw_cosine",
        (
            "AdamW",
            {
                "learning_rate": 0.05,
                "wdecay": 0.1,
                "schedule": {"type": "Cosine", "config": {"length": 20, "end": 0.1, "unit": "step"}},
            },
        ),
        optax.adamw(cosine, weight_decay=0.1),
    )
    warm = optax.warmup_cosine_decay_schedule(0.0, 0.05, 5, 25, 0.001)
    yield (
        "sgd_warmup",
        (
            "SGD",
            {
                "learning_rate": 0.05,
                "momentum_coef": 0.9,
                "schedule": {
                    "type": "Warmup",
                    "config": {
                        "length": 5,
                        "unit": "step",
                        "schedule": {"type": "Cosine", "config": {"length": 20, "end": 0.02, "unit": "step"}},
                    },
                },
            },
        ),
        optax.sgd(lambda count: warm(float(count)), momentum=0.9),  # an integer count gives float32
    )


def run_optax(transformation):
    """Parameters after each step."""
    import jax
    import optax

    params = [jax.numpy.asarray(p) for p in START]
    state = transformation.init(params)
    for step in range(max(STEPS)):
        updates, state = transformation.update([jax.numpy.asarray(g[step]) for g in GRADS], state, params)
        params = optax.apply_updates(params, updates)
        yield [np.asarray(p) for p in params]


def main(library):
    arrays = dict(np.load(HERE / "held_out.npz")) if (HERE / "held_out.npz").exists() else {}
    listing = HERE / "held_out.json"
    known = json.loads(listing.read_text()) if listing.exists() else {"cases": [], "schedules": []}
    cases, schedules = {case["name"]: case for case in known["cases"]}, known["schedules"]
    if library == "torch":
        import torch

        version, rows = f"torch {torch.__version__}", [(n, o, run_torch(*t)) for n, o, t in torch_cases()]
        schedules = [{"name": n, "type": t, "config": c, **v} for n, (t, c), v in torch_schedules()]
    else:
        import jax
        import optax

        jax.config.update("jax_enable_x64", True)
        version, rows = f"optax {optax.__version__}", [(n, o, run_optax(t)) for n, o, t in optax_cases()]
    for name, (cls, config), trajectory in rows:
        cases[name] = {"name": name, "library": version, "type": cls, "config": config}
        for step, params in enumerate(trajectory, 1):
            if step in STEPS:
                arrays |= {f"{name}/s{step}/p{k}": p for k, p in enumerate(params)}
    np.savez_compressed(HERE / "held_out.npz", **arrays)
    listing.write_text(
        json.dumps({"steps": STEPS, "cases": list(cases.values()), "schedules": schedules}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1])
