"""neon's own files: the genuine one, and its variants of Python 2, NumPy 1 and 2, every protocol, gzip."""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from neon_optim.errors import CheckpointError
from neon_optim.serialization.neon.neon_pickle import read_neon_pickle
from neon_optim.serialization.neon.pickle_data import read_pickle_data

GENUINE = pathlib.Path(__file__).parents[1] / "data" / "neon_mnist_mlp.p"


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes text and bytes as the byte strings of Python 2."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_text(self, text: str | bytes) -> None:
        raw = text.encode("latin-1") if isinstance(text, str) else text
        short = len(raw) < 256
        self.write((b"U" + bytes([len(raw)]) if short else b"T" + len(raw).to_bytes(4, "little")) + raw)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def python2(value: object) -> bytes:
    out = io.BytesIO()
    Python2Pickler(out, 2).dump(value)
    return out.getvalue()


def checkpoint(**changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(0)

    def arrays(*shape: int, count: int = 1) -> list[np.ndarray]:
        return [random.random(shape, np.float32) for _ in range(count)]

    def layer(kind: str, name: str, params: dict, states: list | None) -> dict:
        found = {"type": f"neon.layers.layer.{kind}", "config": {"name": name}, "params": params}
        return found if states is None else {**found, "states": states}

    norm = dict(zip(("beta", "gamma", "gmean", "gvar"), arrays(3, 1, count=4), strict=True))
    biased = {"W": arrays(4, 3)[0], "weight_bias": arrays(4, 1)[0]}
    inner = [
        layer("Linear", "Linear_0", {"W": np.asfortranarray(arrays(3, 2)[0])}, arrays(3, 2, count=2)),
        layer("BatchNorm", "BatchNorm_0", norm, [arrays(3, 1, count=2), arrays(3, 1, count=2)]),
        {"type": "neon.layers.layer.Activation", "config": {"name": "Activation_0"}},
    ]
    outer = [
        {
            "type": "neon.layers.container.Sequential",
            "config": {"name": "inner", "layers": inner},
            "container": True,
        },
        layer("Convolution_bias", "conv", biased, [arrays(4, 3, count=2), arrays(4, 1, count=2)]),
        layer("Linear", "frozen", {"W": arrays(2, 4)[0]}, None),
    ]
    rng = np.random.RandomState(3)
    return {
        "neon_version": "2.6.0",
        "backend": {"type": "NervanaCPU", "rng_seed": 1, "rng_state": rng.get_state()},
        "cost": {"type": "neon.transforms.cost.CrossEntropyMulti"},
        "optimizer": {"type": "neon.optimizers.optimizer.Adam", "config": {"learning_rate": np.float64(0.1)}},
        "model": {"type": "neon.layers.container.Sequential", "config": {"name": "m", "layers": outer}},
        "epoch_index": 4,
        "train_input_shape": (3, 2),
        **changes,
    }


@pytest.fixture
def write(tmp_path):
    def written(raw: bytes) -> pathlib.Path:
        (tmp_path / "m.p").write_bytes(raw)
        return tmp_path / "m.p"

    return written


def test_genuine_file():
    found = read_neon_pickle(GENUINE)
    with GENUINE.open("rb") as file:
        raw = pickle.load(file, encoding="latin1")  # noqa: S301
    layers = [layer for layer in raw["model"]["config"]["layers"] if "params" in layer]
    assert [layer.name for layer in found.layers] == ["Linear_2", "Linear_3"]
    for ours, theirs in zip(found.layers, layers, strict=True):
        assert ours.type == theirs["type"]
        assert ours.params["W"].tobytes() == theirs["params"]["W"].tobytes()
        assert ours.states["W"][0].tobytes() == theirs["states"][0].tobytes()
        assert ours.params["W"].flags.writeable
    assert list(found.arrays) == ["Linear_2/W", "Linear_2/W/0", "Linear_3/W", "Linear_3/W/0"]
    assert found.optimizer == raw["optimizer"]
    assert found.cost == raw["cost"]
    assert (found.stored_epoch_index, found.epoch_index) == (13, 12)
    assert read_neon_pickle(GENUINE, saved_after_fit=False).epoch_index == 13
    assert found.backend == {"type": "NervanaCPU", "compat_mode": "neon", "rng_seed": 1}
    assert found.train_input_shape == 64
    numbers, theirs = np.random.RandomState(), np.random.RandomState()
    numbers.set_state(found.rng_state)
    theirs.set_state(raw["backend"]["rng_state"])
    assert numbers.random_sample() == theirs.random_sample()


def test_weights_of_the_genuine_file_give_the_outputs_of_neon():
    outputs = np.load(GENUINE.with_name("neon_mnist_mlp_outputs.npz"))
    first, second = read_neon_pickle(GENUINE).layers
    hidden = np.maximum(first.params["W"] @ outputs["x"].T, 0)
    found = 1 / (1 + np.exp(-(second.params["W"] @ hidden)))
    # float32 products of 64 and 100 terms, summed in another order
    np.testing.assert_allclose(found.T, outputs["outputs"], rtol=2e-5, atol=1e-6)


VARIANTS = {f"protocol {n}": lambda value, n=n: pickle.dumps(value, n) for n in range(5)}
VARIANTS |= {
    "NumPy 1": lambda value: pickle.dumps(value, 2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    ),
    "NumPy 2": lambda value: pickle.dumps(value, 2).replace(
        b"numpy.core.multiarray", b"numpy._core.multiarray"
    ),
    "Python 2": python2,
    "gzip": lambda value: gzip.compress(pickle.dumps(value, 2)),
    "Python 2 gzip": lambda value: gzip.compress(python2(value)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_hold_the_same(write, variant):
    content = checkpoint()
    found = read_neon_pickle(write(VARIANTS[variant](content)))
    inner, conv, frozen = content["model"]["config"]["layers"]
    linear, norm, _ = inner["config"]["layers"]
    expected = {"Linear_0/W": linear["params"]["W"]}
    expected |= {f"Linear_0/W/{k}": linear["states"][k] for k in (0, 1)}
    for name in ("beta", "gamma", "gmean", "gvar"):
        expected[f"BatchNorm_0/{name}"] = norm["params"][name]
    for number, name in enumerate(("beta", "gamma")):
        expected |= {f"BatchNorm_0/{name}/{k}": norm["states"][number][k] for k in (0, 1)}
    for number, name in enumerate(("W", "weight_bias")):
        expected[f"conv/{name}"] = conv["params"][name]
        expected |= {f"conv/{name}/{k}": conv["states"][number][k] for k in (0, 1)}
    expected["frozen/W"] = frozen["params"]["W"]
    assert found.arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)
    assert found.epoch_index == 3
    assert found.optimizer == {"type": "neon.optimizers.optimizer.Adam", "config": {"learning_rate": 0.1}}
    assert found.train_input_shape == (3, 2)
    assert found.rng_state[2:] == content["backend"]["rng_state"][2:]
    assert "params" not in str(found.model)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "<i2", ">i2", "<f2", "<f4", ">f4", "<f8", ">f8", "<i8", "<u4"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3)])
def test_arrays_of_every_dtype(dtype, shape):
    array = np.array(np.random.default_rng(0).random(shape) * 7, dtype)
    for protocol in range(2, 5):
        found = read_pickle_data(pickle.dumps([array, array.T], protocol), "a.p")
        for ours, theirs in zip(found, [array, array.T], strict=True):
            assert ours.dtype == theirs.dtype.newbyteorder("=")
            assert np.array_equal(ours, theirs)
            assert ours.shape == theirs.shape


def test_an_array_that_python_2_wrote_as_text():
    """Protocol 0, its default: bytes above 127 stand there as escapes."""
    raw = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n(I1\n"
        b"(I2\nI3\ntp6\ncnumpy\ndtype\np7\n(S'u1'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'|'\np11\nNNNI-1\nI-1\nI0\ntp12\n"
        b"bI00\nS'\\x00\\xff\\n\\'\\\\a'\np13\ntp14\nb."
    )
    assert read_pickle_data(raw, "a.p").tolist() == [[0, 255, 10], [39, 92, 97]]


def test_shared_values_and_scalars():
    shared = [1, 2]
    value = {
        "a": shared,
        "b": shared,
        3: (None, True, 1.5, 2**80, b"x"),
        "s": np.float32(0.1),
        "i": np.int64(-3),
    }
    found = read_pickle_data(pickle.dumps(value, 4), "a.p")
    assert found == {**value, "s": float(np.float32(0.1)), "i": -3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "'model' is due"),
        ({"model": {"type": "Linear", "params": {"W": np.ones(2)}}}, "has no name"),
        ({"model": {"config": {"name": "a"}, "params": {"W": [1]}}}, "must be arrays by name"),
        (
            {"model": {"config": {"name": "a"}, "params": {"W": np.ones(2)}, "states": [np.ones(3)]}},
            "has shape",
        ),
        (
            {"model": {"config": {"name": "a"}, "params": {"W": np.ones(2)}, "states": [[], []]}},
            "states of 1 param",
        ),
        (
            {"model": {"config": {"name": "a"}, "params": {"W": np.ones(2)}, "states": [3]}},
            "states of 1 param",
        ),
        ({"epoch_index": "13"}, "epoch_index must be"),
        ({"epoch_index": -1}, "epoch_index must be"),
        ({"backend": [1]}, "backend must be a dict"),
        ({"optimizer": "Adam"}, "optimizer must be a dict"),
        ({"backend": {"rng_state": ("PCG", np.ones(624), 1, 0, 0.0)}}, "rng_state"),
        ({"backend": {"rng_state": ("MT19937", np.ones(624, np.uint32), "x", 0, 0.0)}}, "rng_state"),
        ({"backend": {"rng_state": ("MT19937", np.ones(624, np.uint32), 10**6, 0, 0.0)}}, "rng_state"),
    ],
)
def test_files_that_are_no_checkpoint_of_neon(write, changes, message):
    with pytest.raises(CheckpointError, match=message):
        read_neon_pickle(write(pickle.dumps(checkpoint(**changes), 2)))


def test_two_layers_of_one_name_are_refused(write):
    layer = {"type": "Linear", "config": {"name": "a"}, "params": {"W": np.ones(2)}}
    with pytest.raises(CheckpointError, match="same name"):
        read_neon_pickle(write(pickle.dumps({"model": {"config": {"layers": [layer, layer]}}}, 2)))


def test_every_truncation_and_random_damage_end_in_one_error(write):
    raw = pickle.dumps(checkpoint(), 2)
    random = np.random.default_rng(0)
    damaged = [raw[:n] for n in range(0, len(raw), 37)]
    for _ in range(400):
        flipped = bytearray(raw)
        for place in random.integers(0, len(raw), 3):
            flipped[place] = random.integers(256)
        damaged.append(bytes(flipped))
    refused = 0
    for case in damaged:
        try:
            read_neon_pickle(write(case))
        except CheckpointError:
            refused += 1
    assert refused > len(raw) // 37


def test_sizes_are_capped(write):
    bomb = gzip.compress(bytes(64 << 20))
    with pytest.raises(CheckpointError, match="max_bytes=1,000,000"):
        read_neon_pickle(write(bomb), max_bytes=1_000_000)
    with pytest.raises(CheckpointError, match="max_bytes=1,000"):
        read_neon_pickle(write(pickle.dumps(checkpoint(), 2)), max_bytes=1000)


@pytest.mark.parametrize("name", ["missing.p", "folder", "pipe", "empty.p", "half.gz", "text.p"])
def test_what_cannot_be_read(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.p").touch()
    (tmp_path / "half.gz").write_bytes(gzip.compress(pickle.dumps(checkpoint(), 2))[:200])
    (tmp_path / "text.p").write_text("learning_rate: 0.1")
    with pytest.raises(CheckpointError, match=name.split(".")[0]):
        read_neon_pickle(tmp_path / name)


def test_the_reader_does_not_load_the_pickle_machinery():
    code = (
        "import sys; from neon_optim.serialization.neon.neon_pickle import read_neon_pickle as r; import pickle\n"
        "def refuse(*a, **k): raise SystemExit('pickle was used')\n"
        "pickle.loads = pickle.load = pickle.Unpickler = pickle._Unpickler = refuse\n"
        f"print(r({str(GENUINE)!r}).epoch_index)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "12\n", done.stderr
