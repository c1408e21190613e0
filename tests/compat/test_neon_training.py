"""Models that neon trained, trained by the same lines here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat.captured_steps import CapturedSteps
from neon_optim.compat.neon.backends import gen_backend

DATA = Path(__file__).parents[1] / "data" / "neon_layers"


def made_by(path):
    spec = importlib.util.spec_from_file_location("made_neon_layers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKE = made_by(DATA / "make.py")


@pytest.mark.parametrize("layer_by_layer", [False, True])
@pytest.mark.parametrize("model", MAKE.MODELS)
def test_parameters_are_those_that_neon_has_learned(model, layer_by_layer, monkeypatch):
    """Ten minibatches in float32. Products and sums may be in another order: about 1e-7 of the largest at each step."""
    if layer_by_layer:
        monkeypatch.setattr(CapturedSteps, "train", lambda *args: False)
    be = gen_backend("cpu", rng_seed=5, batch_size=8)
    found = MAKE.trained(MAKE.names("neon_optim.compat.neon"), be, model)
    with np.load(DATA / "trained.npz") as golden:
        assert {key for key in golden.files if key.startswith(f"{model}/")} == set(found)
        for key, value in found.items():
            scale = np.abs(golden[key]).max()
            np.testing.assert_allclose(value, golden[key], rtol=0, atol=3e-6 * scale, err_msg=key)
    cleanup_backend()
