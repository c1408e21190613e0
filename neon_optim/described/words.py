"""Words that were probably meant: similar ones, and what other libraries say."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

ALIASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "T_0": (("length",),),
    "T_max": (("length",),),
    "T_mult": (("growth",),),
    "alpha": (("decay_rate",), ("decay",), ("learning_rate",)),
    "base_lr": (("low",),),
    "betas": (("beta_1", "beta_2"),),
    "clipnorm": (("gradient_clip_norm",),),
    "clipvalue": (("gradient_clip_value",),),
    "decay_steps": (("length",),),
    "eps": (("epsilon",),),
    "eta_min": (("end",),),
    "gamma": (("rate",), ("change",)),
    "global_clipnorm": (("gradient_clip_norm",),),
    "lr": (("learning_rate",),),
    "max_grad_norm": (("gradient_clip_norm",),),
    "max_lr": (("peak",), ("high",)),
    "momentum": (("momentum_coef",), ("beta_1",)),
    "rho": (("decay_rate",), ("decay",), ("beta_2",)),
    "step_size": (("step_config",), ("interval",), ("learning_rate",)),
    "weight_decay": (("wdecay",), ("decoupled_wdecay",)),
}
"""What PyTorch and Keras call arguments, and our words for them; the first that a class has is suggested."""


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
    """
    known = list(known)
    for ours in ALIASES.get(name, ()):
        if set(ours) <= set(known):
            return f"; did you mean {' and '.join(map(repr, ours))}?"
    return closest(name, known)
