"""neon's checkpoints and PyTorch's names and arrays, there and back."""

from __future__ import annotations

import gzip
import pathlib
import pickle
import sys

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from neon_optim import cleanup_backend, gen_backend
from neon_optim.cli.app import cli
from neon_optim.described.build import from_description
from neon_optim.errors import CheckpointError, CheckpointWarning
from neon_optim.model import Affine, Dropout, Gaussian, Logistic, Model, Rectlin
from neon_optim.optimizers import Adam, AdamW, GradientDescentMomentum, MultiOptimizer, Schedule
from neon_optim.serialization import inspect_checkpoint, load_checkpoint, read_neon_pickle, save_checkpoint
from neon_optim.serialization.conversion import convert_checkpoint, rebuild_neon
from neon_optim.serialization.neon.pickle_data import read_pickle_data
from neon_optim.serialization.neon.pickle_write import write_pickle_data

GENUINE = pathlib.Path(__file__).parents[1] / "data" / "neon_mnist_mlp.p"


@pytest.fixture(autouse=True)
def be():
    made = gen_backend("cpu", rng_seed=5, batch_size=64, engine="numpy")
    yield made
    cleanup_backend()


class Data:
    nin, name = 64, "data"


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def genuine() -> dict:
    with GENUINE.open("rb") as file:
        return pickle.load(file, encoding="latin1")  # noqa: S301


# ---- from neon


def test_the_model_of_neon_goes_on_as_in_neon(be):
    golden = np.load(GENUINE.with_name("neon_mnist_mlp_outputs.npz"))
    model, optimizer = rebuild_neon(GENUINE)
    outputs = model.fprop(be.array(golden["x"].T), inference=True).get()
    # float32 sums of 64 and 100 products, in another order than neon's BLAS
    np.testing.assert_allclose(outputs.T, golden["outputs"], rtol=2e-5, atol=1e-6)
    for layer, number in zip(model.layers_to_optimize, (0, 1), strict=True):
        layer.dW[:] = golden[f"dW{number}"]
    optimizer.optimize(model.layers_to_optimize, epoch=model.epoch_index)
    for layer, number in zip(model.layers_to_optimize, (0, 1), strict=True):
        assert layer.W.get().tobytes() == golden[f"W{number}_after"].tobytes(), (
            "neon's next step, bit for bit"
        )
    assert model.epoch_index == 12
    rng = np.random.RandomState()
    rng.set_state(genuine()["backend"]["rng_state"])
    assert be.rng.random_sample() == rng.random_sample()


def test_converted_file(tmp_path):
    path = convert_checkpoint(GENUINE, tmp_path / "new.safetensors")
    found = load_checkpoint(path)
    assert sorted(found.arrays) == [
        "Linear_2/W",
        "Linear_2/W/velocity",
        "Linear_3/W",
        "Linear_3/W/velocity",
    ]
    assert (found.epoch, found.counters) == (12, {"t": 0})
    optimizer = from_description(found.description)
    assert (type(optimizer), optimizer.learning_rate, optimizer.momentum_coef) == (
        GradientDescentMomentum,
        0.1,
        0.9,
    )
    model = from_description(found.model["description"])
    model.initialize(Data())
    load_checkpoint(path, optimizer=optimizer, model=model)
    assert model.layers_to_optimize[0].W.get().tobytes() == found.arrays["Linear_2/W"].tobytes()


def test_there_and_back_nothing_is_lost(tmp_path):
    ours = convert_checkpoint(GENUINE, tmp_path / "new.safetensors")
    back = convert_checkpoint(ours, tmp_path / "back.p", to="neon")
    with open(back, "rb") as file:
        content = pickle.load(file)  # noqa: S301
    assert same(content, genuine())
    again = convert_checkpoint(back, tmp_path / "again.safetensors")
    assert pathlib.Path(again).read_bytes() == pathlib.Path(ours).read_bytes()


def neon_file(path, optimizer: dict, states: int, layers: int = 1) -> pathlib.Path:
    content = {
        "neon_version": "2.6.0",
        "optimizer": optimizer,
        "epoch_index": 4,
        "model": {
            "type": "neon.layers.container.Sequential",
            "config": {
                "name": "s",
                "layers": [
                    {
                        "type": "neon.layers.layer.Linear",
                        "config": {
                            "name": f"L{number}",
                            "nout": 2,
                            "init": {"type": "neon.initializers.initializer.Gaussian", "config": {}},
                        },
                        "params": {"W": np.full((2, 2), number, np.float32)},
                        "states": [np.full((2, 2), 10 + k, np.float32) for k in range(states)],
                    }
                    for number in range(layers)
                ],
            },
        },
        "train_input_shape": 2,
    }
    path.write_bytes(pickle.dumps(content, 2))
    return path


ADAM = {"type": "neon.optimizers.optimizer.Adam", "config": {"learning_rate": 0.1}}


@pytest.mark.parametrize(
    ("options", "t"),
    [({"t": 123}, 123), ({"batches_per_epoch": 50}, 150), ({"t": 7, "batches_per_epoch": 50}, 7)],
)
def test_steps_of_adam_as_given(tmp_path, options, t):
    source = neon_file(tmp_path / "a.p", ADAM, 2)
    found = load_checkpoint(convert_checkpoint(source, tmp_path / "b", **options))
    assert found.counters == {"t": t}
    assert found.model["counters"]["step"] == t
    assert {found.arrays[f"L0/W/{slot}"][0, 0] for slot in "mv"} == {10.0, 11.0}
    assert rebuild_neon(source, **options)[1].t == t


def test_steps_of_adam_are_estimated_with_a_warning(tmp_path):
    with pytest.warns(CheckpointWarning, match="t = 36823 is taken"):
        found = load_checkpoint(convert_checkpoint(neon_file(tmp_path / "a.p", ADAM, 2), tmp_path / "b"))
    adam = Adam(learning_rate=0.1)
    adam.set_counters(found.counters)
    assert adam.at(0).corrected_lr == pytest.approx(0.1, rel=1e-12), "bias correction is over"


def test_a_multi_optimizer(tmp_path):
    momentum = {
        "type": "neon.optimizers.optimizer.GradientDescentMomentum",
        "config": {"learning_rate": 0.1, "momentum_coef": 0.9},
    }
    multi = {
        "type": "neon.optimizers.optimizer.MultiOptimizer",
        "config": {"optimizer_mapping": {"default": momentum, "L1": momentum}},
    }
    source = neon_file(tmp_path / "a.p", multi, 1, layers=2)
    found = load_checkpoint(convert_checkpoint(source, tmp_path / "b"))
    assert sorted(found.arrays) == ["L0/W", "L0/W/velocity", "L1/W", "L1/W/velocity"]
    assert found.counters.keys() == {"default", "L1"}
    assert isinstance(rebuild_neon(source)[1], MultiOptimizer)


@pytest.mark.parametrize(
    ("optimizer", "states", "message"),
    [
        (ADAM, 1, r"'L0/W' has 1 state arrays, Adam keeps 2 \(m, v\)"),
        (None, 1, "has states of an optimizer, and no optimizer"),
        ({"type": "os.system", "config": {}}, 0, "unknown optimizer 'os.system'"),
        (
            {"type": "neon.optimizers.optimizer.Adam", "config": {"learning_rate": -1}},
            2,
            "learning_rate must be",
        ),
        ({"type": "neon.layers.layer.Linear", "config": {}}, 0, "is a layer, not an optimizer"),
    ],
)
def test_what_does_not_fit(tmp_path, optimizer, states, message):
    source = neon_file(tmp_path / "a.p", optimizer, states)
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(source, tmp_path / "b", t=1)
    assert not (tmp_path / "b").exists()


def test_layers_that_do_not_exist_here_are_converted_and_not_rebuilt(tmp_path):
    source = neon_file(tmp_path / "a.p", ADAM, 2)
    source.write_bytes(source.read_bytes().replace(b"neon.layers.layer.Linear", b"neon.layers.layer.Lookup"))
    found = load_checkpoint(convert_checkpoint(source, tmp_path / "b", t=1))
    assert "L0/W/m" in found.arrays
    assert found.model["description"]["config"]["layers"][0]["type"] == "neon.layers.layer.Lookup"
    with pytest.raises(CheckpointError, match="the model cannot be built"):
        rebuild_neon(source, t=1)


# ---- to neon


def test_our_model_as_a_file_of_neon(tmp_path, be):
    hidden = Affine(4, Gaussian(scale=0.1), bias=Gaussian(), activation=Rectlin())
    model = Model([hidden, Dropout(0.5), Affine(3, Gaussian(), activation=Logistic(shortcut=True))])
    model.initialize(Data())
    optimizer = GradientDescentMomentum(0.1, 0.9, wdecay=0.01, schedule=Schedule([2, 3], 0.5))
    for layer in model.layers_to_optimize:
        layer.dW[:] = 0.5
    optimizer.optimize(model.layers_to_optimize, 0)
    ours = save_checkpoint(
        tmp_path / "a", optimizer=optimizer, layers=model.layers_to_optimize, epoch=3, model=model
    )
    neon = read_neon_pickle(convert_checkpoint(ours, tmp_path / "b.p", to="neon"))
    assert neon.epoch_index == 3
    assert neon.train_input_shape == 64
    assert [layer["type"].rsplit(".", 1)[1] for layer in neon.model["config"]["layers"]] == [
        *("Linear", "Bias", "Activation", "Dropout", "Linear", "Activation"),
    ]
    assert neon.optimizer["type"] == "neon.optimizers.optimizer.GradientDescentMomentum"
    assert neon.optimizer["config"]["schedule"]["type"] == "neon.optimizers.optimizer.Schedule"
    arrays = load_checkpoint(ours).arrays
    assert {name.replace("/0", "/velocity"): array.tobytes() for name, array in neon.arrays.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    other, _ = rebuild_neon(tmp_path / "b.p")
    inputs = be.array(np.random.default_rng(0).random((64, 5)))
    assert (
        other.fprop(inputs, inference=True).get().tobytes()
        == model.fprop(inputs, inference=True).get().tobytes()
    )


def saved(path, optimizer, model=None):
    layers = model.layers_to_optimize if model else [((np.ones((2, 2)), np.ones((2, 2))), [])]
    return save_checkpoint(path, optimizer=optimizer, layers=layers, model=model)


def test_what_neon_cannot_hold(tmp_path):
    with pytest.raises(CheckpointError, match="describes no model"):
        convert_checkpoint(saved(tmp_path / "a", Adam()), tmp_path / "b", to="neon")
    model = Model([Affine(3, Gaussian())])
    model.initialize(Data())
    with pytest.raises(CheckpointError, match="neon has no AdamW"):
        convert_checkpoint(saved(tmp_path / "a", AdamW(), model), tmp_path / "b", to="neon")
    source = saved(tmp_path / "a", Adam(epsilon_hat=False), model)
    with pytest.warns(CheckpointWarning, match="neon's Adam does not take epsilon_hat: left out"):
        convert_checkpoint(source, tmp_path / "b", to="neon")


# ---- PyTorch


def test_names_and_arrays_for_pytorch_and_back(tmp_path):
    torch_file = convert_checkpoint(GENUINE, tmp_path / "a.safetensors", to="torch")
    found = safetensors.numpy.load_file(torch_file)
    expected = read_neon_pickle(GENUINE).layers
    assert {name: array.tobytes() for name, array in found.items()} == {
        f"{layer.name}.W": layer.params["W"].tobytes() for layer in expected
    }
    back = load_checkpoint(convert_checkpoint(torch_file, tmp_path / "b"))
    assert (back.description, back.epoch) == (None, 0)
    assert {name: array.tobytes() for name, array in back.arrays.items()} == {
        f"{layer.name}/W": layer.params["W"].tobytes() for layer in expected
    }


def test_a_state_dict_of_pytorch_itself(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 4)).to(torch.float32)
    module[1].to(torch.bfloat16)
    save_file(module.state_dict(), tmp_path / "torch.safetensors")
    path = convert_checkpoint(tmp_path / "torch.safetensors", tmp_path / "ours")
    found = load_checkpoint(path)
    assert sorted(found.arrays) == ["0/bias", "0/weight", "1/bias", "1/weight"]
    assert found.arrays["0/weight"].tolist() == module[0].weight.tolist()
    assert found.arrays["1/weight"].dtype.name == "bfloat16"
    back = convert_checkpoint(path, tmp_path / "back.safetensors", to="torch")
    from safetensors.torch import load_file

    assert all(torch.equal(load_file(back)[name], value) for name, value in module.state_dict().items())


def test_without_safetensors_everything_but_these_files_works(tmp_path, monkeypatch):
    convert_checkpoint(GENUINE, tmp_path / "a", to="torch")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    ours = convert_checkpoint(GENUINE, tmp_path / "b")
    assert load_checkpoint(convert_checkpoint(ours, tmp_path / "c")).epoch == 12
    for source, to in ((tmp_path / "a", "checkpoint"), (ours, "torch")):
        with pytest.raises(CheckpointError, match=r"pip install 'neon_optim\[convert\]'"):
            convert_checkpoint(source, tmp_path / "d", to=to)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("size", [64, 128, 384, 640, 0x6428])
def test_names_and_arrays_are_known_whatever_the_length_of_their_header(tmp_path, size):
    """The first bytes of 384 (80 01) are those of a pickle, too."""
    text = b'{"fc.W":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'.ljust(size)
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + b"\1\2")
    found = load_checkpoint(convert_checkpoint(tmp_path / "a", tmp_path / "b"))
    assert found.arrays["fc/W"].tolist() == [1, 2]


def test_parameters_alone_start_an_optimizer_fresh(tmp_path):
    safetensors.numpy.save_file({"fc.W": np.ones((2, 2))}, tmp_path / "a")
    path = convert_checkpoint(tmp_path / "a", tmp_path / "b")

    class Layer:
        name, params = "fc", ((np.zeros((2, 2)), np.zeros((2, 2))), [])

        def get_params(self):
            return self.params

    with pytest.raises(CheckpointError, match="holds no state of an optimizer"):
        load_checkpoint(path, optimizer=Adam(), layers=[Layer()])
    load_checkpoint(path, optimizer=Adam(), layers=[Layer()], reset_state=True)
    assert Layer.params[0][0].tolist() == [[1, 1], [1, 1]]


# ---- the command, the writer of pickles


@pytest.mark.filterwarnings("always::neon_optim.errors.CheckpointWarning")
def test_command(tmp_path):
    def invoke(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["convert", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    target = str(tmp_path / "new.safetensors")
    assert invoke(str(GENUINE), target) == f"{target}\n"
    assert inspect_checkpoint(target).epoch == 12
    assert "exists already" in invoke(str(GENUINE), target, code=2)
    invoke(str(GENUINE), target, "--force", "--saved-in-callback")
    assert inspect_checkpoint(target).epoch == 13
    back = str(tmp_path / "back.p")
    invoke(target, back, "--to", "neon")
    assert read_neon_pickle(back).stored_epoch_index == 14
    assert "cannot read 'missing'" in invoke("missing", back, "--force", code=2)
    source = str(neon_file(tmp_path / "adam.p", ADAM, 2))
    assert "Warning: neon does not save the step count" in invoke(source, str(tmp_path / "x"))


def test_a_compressed_file_is_known_by_its_contents(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(GENUINE.read_bytes()))
    assert load_checkpoint(convert_checkpoint(tmp_path / "a", tmp_path / "b")).epoch == 12


@pytest.mark.parametrize(
    "raw", [b"", b"text", b"\x80\x02}.", b"{" * 500, b"\x10" + bytes(7) + b'{"a":3}        ']
)
def test_other_files(tmp_path, raw):
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(CheckpointError):
        convert_checkpoint(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


VALUES = [
    *(
        None,
        True,
        False,
        0,
        -1,
        2**31 - 1,
        -(2**31),
        2**31,
        2**200,
        -(2**200),
        0.1,
        -0.0,
        "text é",
        "",
        b"",
        b"\xff\0",
    ),
    [],
    [1, [2, ()]],
    (),
    (1, 2, 3, 4),
    {},
    {"a": {1: (None,)}},
    np.zeros((0, 3), np.int8),
    np.array(3.5),
    np.arange(6, dtype=">f8").reshape(2, 3).T,
    np.array([True, False]),
    np.float16([1, 2]),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_written_pickles_are_read_by_pickle_and_by_us(value):
    raw = write_pickle_data(value)
    if isinstance(value, np.ndarray):
        value = value.astype(value.dtype.newbyteorder("="))  # both readers give the machine's byte order
    assert same(pickle.loads(raw), value)  # noqa: S301
    assert same(read_pickle_data(raw, "a.p"), value)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array([object()]), np.float32(1), np.array(["a"]), 1j]
)
def test_what_cannot_be_pickled(value):
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_pickle_data([value])
