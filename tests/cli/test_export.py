"""`neon-optim export`: from a table to a file that another program runs."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from neon_optim import load_run

ROWS = [
    ("width", "colour", "kind"),
    *((k / 10, "red" if k % 3 else "blue", "big" if k > 20 else "small") for k in range(40)),
]
CONFIG = """\
engine: numpy
epochs: 3
batchsize: 8
rng_seed: 1
dataset: {name: csv, path: things.csv, target: kind}
layers: [{type: Affine, config: {nout: 2, init: GlorotUniform, bias: Constant, activation: Softmax}}]
cost: CrossEntropyMulti
optimizer: {type: EMA, config: {optimizer: {type: Adam, config: {learning_rate: 0.1}}, decay: 0.9}}
"""


@pytest.fixture
def trained(run, here, monkeypatch):
    pytest.importorskip("pyarrow")
    with open("things.csv", "w", newline="") as file:
        csv.writer(file).writerows(ROWS)
    (here / "things.yaml").write_text(CONFIG)
    assert run("train", "things.yaml", "-s", "out")[0] == 0
    return here


def test_a_run_becomes_a_file_of_every_kind(run, trained):
    onnxruntime = pytest.importorskip("onnxruntime")
    for name, word in (
        ("a.onnx", "(epoch "),
        ("a.safetensors", "torch.nn.Linear(3, 2, bias=True)"),
        ("a.npz", ""),
    ):
        code, out, err = run("export", "out", name)
        assert (code, err) == (0, "")
        assert word in out
    session = onnxruntime.InferenceSession("a.onnx")
    columns = list(zip(*ROWS[1:], strict=True))[:2]
    raw = {
        "width": np.array(columns[0]).reshape(-1, 1),
        "colour": np.array(columns[1], object).reshape(-1, 1),
    }
    prediction, probabilities = session.run(None, raw)
    ours = load_run("out").answers("things.csv")
    assert prediction.tolist() == ours["prediction"].tolist()
    np.testing.assert_allclose(probabilities[:, 0], ours["probability_big"], atol=1e-6)


def test_mistakes_change_nothing(run, trained):
    (trained / "mine.npz").write_bytes(b"mine")
    for arguments, message in (
        (("out", "mine.npz"), "exists already"),
        (("out", "a.h5"), "ends in .onnx, .safetensors, .npz"),
        (("nowhere", "a.npz"), "there is no run and no checkpoint 'nowhere'"),
        (("things.csv", "a.npz"), "things.csv"),
        (("out", "a.npz", "--step", 7), "there is no checkpoint of step 7"),
    ):
        code, out, err = run("export", *arguments)
        assert (code, out) == (2, "")
        assert message in err
    assert (trained / "mine.npz").read_bytes() == b"mine"
    assert not (trained / "a.npz").exists()
    assert run("export", "out", "mine.npz", "--force")[0] == 0
