"""Models for PyTorch, and as archives of arrays; and the command."""

from __future__ import annotations

import json
import os
import re
import resource
import signal

import numpy as np
import pytest

from neon_optim import model as m
from neon_optim.errors import CheckpointError, RunError
from neon_optim.export.files import export_run

INIT = m.Constant(0.5)
FEATURES, IMAGES, STEPS = (6,), (3, 9, 8), (5, 7)

CASES = {
    "perceptron": (
        [
            *(m.Dropout(0.8), m.Affine(5, INIT, INIT, activation=m.Rectlin(0.1)), m.BatchNorm(eps=0.01)),
            *(m.Dropout(0.5), m.Linear(4, INIT), m.Activation(m.Explin(0.7))),
            *(m.Linear(4, INIT), m.Activation(m.Logistic()), m.Affine(3, INIT, INIT, activation=m.Softmax())),
        ],
        FEATURES,
    ),
    "images": (
        [
            m.Conv([3, 2, 4], INIT, {"str_h": 2, "str_w": 1}, {"pad_h": 1, "pad_w": 2}, 2, batch_norm=True),
            *(m.Activation(m.Rectlinclip(xcut=0.9)), m.Dropout(0.5), m.Activation(m.Rectlin()), m.Pooling(2)),
            *(
                m.Deconvolution([3, 2, 3], 2, 1, init=INIT),
                m.Bias(INIT),
                m.LRN(depth=3, ascale=0.4, bpower=0.75),
            ),
            *(m.Pooling([3, 2], "avg", 1, {"pad_h": 1, "pad_w": 0}), m.Activation(m.Normalizer(4.0))),
            *(m.Activation(m.Identity()), m.Affine(3, INIT, INIT, activation=m.Tanh())),
        ],
        IMAGES,
    ),
    "steps": ([m.Affine(4, INIT, INIT, activation=m.Tanh()), m.BatchNorm(), m.Linear(2, INIT)], STEPS),
    "other shapes": ([m.Reshape((6, 9, 4)), m.Pooling("all"), m.Reshape(-1), m.Linear(2, INIT)], IMAGES),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sequential_of_pytorch_loads_it_and_gives_the_same(make_run, tmp_path, case):
    torch = pytest.importorskip("torch")
    safe_open = pytest.importorskip("safetensors").safe_open
    layers, shape = CASES[case]
    run = make_run(layers, shape)
    export_run(run, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        text = file.metadata()["torch"]
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert re.fullmatch(r"torch\.nn\.Sequential\(\n(    torch\.nn\.\w+\(.*\),\n)+\)", text)
    module = eval(text, {"torch": torch})  # noqa: S307
    module.load_state_dict(arrays, strict=True)
    X = np.random.RandomState(1).randn(3, *shape).astype("f4")
    ours = run.outputs(X)
    theirs = module.eval()(torch.from_numpy(X)).detach().numpy().reshape(ours.shape)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6 * np.abs(ours).max())


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (
            [m.LSTM(2, INIT, activation=m.Tanh(), gate_activation=m.Logistic())],
            STEPS,
            r"\(LSTM\) has no place",
        ),
        ([m.Activation(m.Tanh()), m.Bias(INIT)], FEATURES, "a bias follows a layer of weights"),
        (
            [m.Dropout(0.5), m.Activation(m.Tanh()), m.Linear(2, INIT)],
            FEATURES,
            r"Activation of Tanh\).*Dropout",
        ),
        ([m.Linear(2, INIT), m.Dropout(0.5)], FEATURES, "no weights follow"),
        ([m.Activation(m.Rectlinclip(slope=0.5))], FEATURES, "both a slope and a largest value"),
        ([m.Pooling(3, padding=2)], IMAGES, "at most half of the window"),
        ([m.Activation(m.Softmax())], IMAGES, "all elements of an image"),
    ],
)
def test_what_has_no_place_in_a_sequential_is_one_message(make_run, tmp_path, layers, shape, message):
    pytest.importorskip("safetensors")
    with pytest.raises(RunError, match=message):
        export_run(make_run(layers, shape), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_archive_holds_all_arrays_and_what_describes_them(make_run, tmp_path):
    run = make_run([m.Affine(4, INIT, batch_norm=True, name="top")], FEATURES)
    export_run(run, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as found:
        assert set(found) == {
            *(f"top_bnorm/{n}" for n in ("beta", "gamma", "gmean", "gvar")),
            "top/W",
            "about",
        }
        W, gvar = (run.model.layers.leaves()[k] for k in (0, 1))
        np.testing.assert_array_equal(found["top/W"], W.W.get())
        np.testing.assert_array_equal(found["top_bnorm/gvar"], gvar.gvar.get())
        about = json.loads(str(found["about"]))
    assert json.loads(about["encoding"])["shape"] == [6]


def test_files_that_cannot_be_written(make_run, tmp_path):
    run = make_run([m.Linear(2, INIT)], FEATURES)
    (tmp_path / "there.npz").write_bytes(b"mine")
    for name, message in (
        ("there.npz", "exists already; nothing was changed"),
        ("model.h5", "ends in .onnx, .safetensors, .npz"),
        ("nowhere/model.npz", "there is no folder"),
    ):
        with pytest.raises(RunError, match=message):
            export_run(run, tmp_path / name)
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[0][1]))  # as a disk that is full
    try:
        with pytest.raises(CheckpointError, match=r"there\.npz"):
            export_run(run, tmp_path / "there.npz", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        signal.signal(signal.SIGXFSZ, before[1])
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["there.npz"]
