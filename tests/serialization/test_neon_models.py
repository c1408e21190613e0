"""Models of all kinds of neon's layers, as Intel's neon saved them: to ours and back, and rebuilt with its outputs.

The files are in tests/data/neon_models; make.py there says how neon made them.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.errors import CheckpointError, CheckpointWarning
from neon_optim.model import (
    Bias,
    BiBNRNN,
    Constant,
    Convolution,
    Gaussian,
    Model,
    Recurrent,
    RecurrentLast,
    Tanh,
)
from neon_optim.optimizers import GradientDescentMomentum
from neon_optim.serialization import load_checkpoint, read_neon_pickle, save_checkpoint
from neon_optim.serialization.conversion import convert_checkpoint, rebuild_neon

FOLDER = Path(__file__).parents[1] / "data" / "neon_models"
NAMES = sorted(path.stem for path in FOLDER.glob("*.p"))
OUTPUTS = np.load(FOLDER / "outputs.npz")
STEPS = 4  # that each optimizer has done


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=5, batch_size=4, engine="numpy")
    cleanup_backend()


def content(path):
    with open(path, "rb") as file:
        return plain(pickle.load(file, encoding="latin1"))  # noqa: S301


def plain(value):
    """Tuples as lists, which JSON makes of them, and arrays as what can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def outputs(model, be, name):
    return model.fprop(be.array(OUTPUTS[f"{name}/x"]), inference=True).get()


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_nothing_is_lost(tmp_path, name):
    source = FOLDER / f"{name}.p"
    ours = convert_checkpoint(source, tmp_path / "ours", t=STEPS)
    back = content(convert_checkpoint(ours, tmp_path / "back.p", to="neon"))
    if name == "mlp_multi":
        assert back["optimizer"]["config"].pop("name").startswith("MultiOptimizer_")  # neon leaves it out
    assert back == content(source)
    arrays = read_neon_pickle(source).arrays
    assert len(arrays) > 2
    assert arrays.keys() == read_neon_pickle(tmp_path / "back.p").arrays.keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_rebuilt_model_has_neons_outputs(be, name):
    model, optimizer = rebuild_neon(FOLDER / f"{name}.p", t=STEPS)
    # float32, sums of less than a hundred products in another order
    np.testing.assert_allclose(outputs(model, be, name), OUTPUTS[f"{name}/y"], rtol=1e-5, atol=1e-6)
    for layer in model.layers_to_optimize:
        for (_, grad), _ in layer.rows():
            grad[:] = 0.1
    optimizer.optimize(model.layers_to_optimize, epoch=2)
    assert not np.array_equal(outputs(model, be, name), OUTPUTS[f"{name}/y"]), "it does not train"


def outline(layers):
    """What neon loads by; containers are named by chance."""
    kept = ("type", "params", "states", "container")
    return [
        {
            **{key: layer.get(key) for key in kept},
            "name": None if "layers" in layer["config"] else layer["config"]["name"],
            "layers": outline(layer["config"].get("layers", [])),
        }
        for layer in layers
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_ours_is_written_as_neon_writes_it(tmp_path, name):
    """One that knows nothing of the file that it came from: the same layers, arrays and states in the same places."""
    model, optimizer = rebuild_neon(FOLDER / f"{name}.p", t=STEPS)
    save_checkpoint(
        tmp_path / "ours", optimizer=optimizer, model=model, layers=model.layers_to_optimize, epoch=2
    )
    found = content(convert_checkpoint(tmp_path / "ours", tmp_path / "back.p", to="neon"))["model"]
    expected = content(FOLDER / f"{name}.p")["model"]
    assert outline(found["config"]["layers"]) == outline(expected["config"]["layers"])


def test_what_is_no_layer_of_ours_is_named(tmp_path):
    path = tmp_path / "other.p"
    path.write_bytes((FOLDER / "mlp_dropout.p").read_bytes().replace(b"layer.Dropout", b"layer.Dropper"))
    with pytest.raises(
        CheckpointError, match=r"the model cannot be built: unknown layer 'neon\.layers\.layer\.Dropper'"
    ):
        rebuild_neon(path)
    back = content(
        convert_checkpoint(convert_checkpoint(path, tmp_path / "ours"), tmp_path / "back.p", to="neon")
    )
    assert back == content(path), "converting needs no model"


def test_a_sequence_starts_anew_where_the_file_has_none_of_it(be, tmp_path):
    path = convert_checkpoint(FOLDER / "gru.p", tmp_path / "ours")
    model, optimizer = rebuild_neon(FOLDER / "gru.p")
    (h,) = [array for name, array in model.get_arrays().items() if name.endswith("/h")]
    h.fill(0.5)
    load_checkpoint(path, optimizer=optimizer, model=model)
    np.testing.assert_array_equal(h.get(), 0.0)


class Images:
    nin, lshape, name = 32, (2, 4, 4), "images"


class Sequences:
    nin, lshape, name = 8, (2, 4), "sequences"


def saved(model, path):
    optimizer = GradientDescentMomentum(0.1, 0.9)
    for layer in model.layers_to_optimize:
        for (_, grad), _ in layer.rows():
            grad[:] = 0.5
    optimizer.optimize(model.layers_to_optimize, 0)
    return save_checkpoint(path, optimizer=optimizer, model=model, layers=model.layers_to_optimize)


def test_a_bias_behind_a_convolution_becomes_part_of_it_whatever_its_name(tmp_path):
    model = Model([Convolution([3, 3, 2], init=Gaussian(), name="conv"), Bias(Constant(0.25), name="own")])
    model.initialize(Images())
    path = saved(model, tmp_path / "ours")
    neon = read_neon_pickle(convert_checkpoint(path, tmp_path / "back.p", to="neon"))
    (layer,) = neon.layers
    assert (layer.name, layer.type) == ("conv", "neon.layers.layer.Convolution_bias")
    ours = load_checkpoint(path).arrays
    np.testing.assert_array_equal(layer.params["weight_bias"], ours["own/W"])
    np.testing.assert_array_equal(layer.states["weight_bias"][0], ours["own/W/velocity"])


def test_what_neon_does_not_load_is_told(tmp_path):
    """Of a BiBNRNN: what its normalization has learned."""
    layers = [
        Recurrent(2, Gaussian(), activation=Tanh()),
        BiBNRNN(2, Gaussian(), activation=Tanh()),
        RecurrentLast(),
    ]
    model = Model(layers)
    model.initialize(Sequences())
    path = saved(model, tmp_path / "ours")
    with pytest.warns(CheckpointWarning) as told:
        convert_checkpoint(path, tmp_path / "back.p", to="neon")
    messages = sorted(str(warning.message) for warning in told)
    assert messages == [
        "neon's BiBNRNN begins with 0.0 in beta whenever it is loaded: BiBNRNN_0/beta is left out",
        "neon's BiBNRNN begins with 1.0 in gamma whenever it is loaded: BiBNRNN_0/gamma is left out",
    ]
