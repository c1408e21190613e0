"""Models that neon trained, trained by the same lines here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from neon_optim import NervanaObject, cleanup_backend
from neon_optim.backends.cpu.whole_arrays import _MOVES
from neon_optim.compat.captured_steps import CapturedSteps
from neon_optim.compat.neon.backends.nervanacpu import NervanaCPU

DATA = Path(__file__).parents[1] / "data" / "neon_layers"


def made_by(path):
    spec = importlib.util.spec_from_file_location("made_neon_layers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKE = made_by(DATA / "make.py")


@pytest.fixture
def be():
    NervanaObject.be = NervanaCPU(
        rng_seed=5, engine="numpy"
    )  # compiling takes longer than all that is done here
    NervanaObject.be.bsz = 8
    yield NervanaObject.be
    cleanup_backend()


@pytest.mark.parametrize("layer_by_layer", [False, True])
@pytest.mark.parametrize("model", MAKE.MODELS)
def test_parameters_are_those_that_neon_has_learned(be, model, layer_by_layer, monkeypatch):
    """A hundred minibatches in float32: bit for bit where BLAS and NumPy compute as they did for neon.

    Elsewhere products and functions are rounded in another way, by 1e-7 of the largest value at a step, of which
    training makes more; ten times what ``deterministic=True``, with an order of its own everywhere, was off.
    """
    if layer_by_layer:
        monkeypatch.setattr(CapturedSteps, "train", lambda *args: False)
    found = MAKE.trained(MAKE.names("neon_optim.compat.neon"), be, model)
    with np.load(DATA / "trained.npz") as golden:
        expected = {key: golden[key] for key in golden.files if key.startswith(f"{model}/")}
        same = np.array_equal(golden["arithmetic"], MAKE.arithmetic())
    assert expected.keys() == found.keys()
    scale = max(np.abs(value).max() for value in expected.values())
    for key, value in found.items():
        if same:
            np.testing.assert_array_equal(value, expected[key], err_msg=key)
        else:
            np.testing.assert_allclose(value, expected[key], rtol=0, atol=3e-5 * scale, err_msg=key)


def test_another_order_has_other_bits(be, monkeypatch):
    """Negative control: convolutions as one product of all windows."""
    if not np.array_equal(np.load(DATA / "trained.npz")["arithmetic"], MAKE.arithmetic()):
        pytest.skip("BLAS or NumPy compute in another way than those that neon ran on")
    monkeypatch.setattr(
        be._flows._executor._whole, "_moves", {**_MOVES, **be._flows._executor._whole._at_once()}
    )
    found = MAKE.trained(MAKE.names("neon_optim.compat.neon"), be, "convolutions_and_batch_norm")
    with np.load(DATA / "trained.npz") as golden:
        assert any((golden[key] != value).any() for key, value in found.items())
