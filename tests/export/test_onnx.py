"""Models as ONNX files: onnxruntime gives what they give, and takes what they take."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from neon_optim import model as m
from neon_optim.errors import RunError
from neon_optim.export.files import export_run
from neon_optim.export.onnx_graph import OnnxGraph
from neon_optim.export.onnx_layers import append_layers, onnx_form

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

INIT = m.Constant(0.5)
FEATURES, IMAGES, STEPS = (6,), (3, 9, 8), (5, 7)


def recurrent(cls, **options):
    given = {"init": INIT, "activation": m.Tanh(), **options}
    if cls in (m.LSTM, m.GRU, m.BiLSTM):
        given.setdefault("gate_activation", m.Logistic())
    return cls(4, **given)


CASES = {
    "Linear": ([m.Linear(4, INIT)], FEATURES),
    "Linear of images": ([m.Linear(4, INIT)], IMAGES),
    "Linear of steps": ([m.Linear(4, INIT)], STEPS),
    "Affine": ([m.Affine(4, INIT, INIT, activation=m.Tanh())], FEATURES),
    "Affine with BatchNorm": ([m.Affine(4, INIT, batch_norm=True)], FEATURES),
    "Bias": ([m.Bias(INIT)], FEATURES),
    "Bias of images": ([m.Bias(INIT)], IMAGES),
    "Bias of steps": ([m.Bias(INIT)], STEPS),
    **{
        f"{transform!r}": ([m.Activation(transform)], FEATURES)
        for transform in (
            *(m.Identity(), m.Rectlin(), m.Rectlin(slope=0.1), m.Rectlinclip(xcut=0.5), m.Explin(alpha=0.7)),
            *(m.Rectlinclip(slope=0.2, xcut=0.5), m.Normalizer(3.0), m.Logistic(), m.Tanh(), m.Softmax()),
        )
    },
    "Softmax of images": ([m.Activation(m.Softmax())], IMAGES),
    "Softmax of steps": ([m.Activation(m.Softmax())], STEPS),
    "Convolution": ([m.Convolution([3, 2, 4], init=INIT)], IMAGES),
    "Convolution, all settings": (
        [m.Convolution([3, 2, 4], {"str_h": 2, "str_w": 1}, {"pad_h": 1, "pad_w": 2}, 2, init=INIT)],
        IMAGES,
    ),
    "Conv": ([m.Conv([3, 3, 4], INIT, padding=1, batch_norm=True, activation=m.Rectlin())], IMAGES),
    "Deconvolution": ([m.Deconvolution([3, 2, 4], 2, 1, init=INIT)], IMAGES),
    "Pooling": ([m.Pooling(2)], IMAGES),
    "Pooling, all settings": (
        [m.Pooling([3, 2], "max", {"str_h": 2, "str_w": 1}, {"pad_h": 1, "pad_w": 1})],
        IMAGES,
    ),
    "Pooling, means": ([m.Pooling(3, "avg", 2, 1)], IMAGES),
    "Pooling, whole images": ([m.Pooling("all", "avg")], IMAGES),
    "LRN": ([m.LRN(depth=3, ascale=0.4, bpower=0.75)], IMAGES),
    "BatchNorm": ([m.BatchNorm(eps=0.01)], FEATURES),
    "BatchNorm of images": ([m.BatchNorm()], IMAGES),
    "BatchNorm of steps": ([m.BatchNorm()], STEPS),
    "Dropout": ([m.Dropout(0.3)], IMAGES),
    "Dropout of nothing": ([m.Dropout(1.0)], FEATURES),
    "Reshape": ([m.Reshape((0, -1)), m.Reshape((3, 8, 9)), m.Reshape(-1)], IMAGES),
    "Recurrent": ([recurrent(m.Recurrent)], STEPS),
    **{
        f"Recurrent with {transform!r}": ([recurrent(m.Recurrent, activation=transform)], STEPS)
        for transform in (
            m.Rectlin(),
            m.Rectlin(0.2),
            m.Explin(0.5),
            m.Identity(),
            m.Normalizer(4.0),
            m.Logistic(),
        )
    },
    "LSTM": ([recurrent(m.LSTM)], STEPS),
    "LSTM with others": ([recurrent(m.LSTM, activation=m.Logistic(), gate_activation=m.Tanh())], STEPS),
    "GRU": ([recurrent(m.GRU)], STEPS),
    "BiRNN": ([recurrent(m.BiRNN)], STEPS),
    "BiLSTM": ([recurrent(m.BiLSTM)], STEPS),
    "a vector of a sequence": ([recurrent(m.LSTM), m.RecurrentLast(), m.Linear(2, INIT)], STEPS),
    "RecurrentSum": ([m.RecurrentSum()], STEPS),
    "RecurrentMean": ([m.RecurrentMean()], STEPS),
}


def session(file):
    return onnxruntime.InferenceSession(
        file if isinstance(file, bytes) else str(file), providers=["CPUExecutionProvider"]
    )


def outputs_of(run, X):
    """What the layers of a run give in onnxruntime."""
    graph = OnnxGraph()
    y = append_layers(graph, run.model.layers, graph.input("X", np.float32, X.shape[1:]))
    graph.output("y", y, np.float32, run.model.layers.out_shape)
    return session(graph.serialized({})).run(None, {"X": X})[0]


@pytest.mark.parametrize("case", CASES)
def test_every_layer(make_run, case):
    layers, shape = CASES[case]
    run = make_run(layers, shape)
    X = np.random.RandomState(1).randn(3, *shape).astype("f4")
    found, ours = outputs_of(run, X), run.outputs(X)
    assert found.shape == (3, *run.model.layers.out_shape)
    np.testing.assert_allclose(found.reshape(ours.shape), ours, rtol=1e-6, atol=1e-6 * np.abs(ours).max())
    assert np.abs(ours).max() > 0


@pytest.mark.parametrize("pad_idx", [None, 2])
def test_a_table_of_vectors(make_run, pad_idx):
    run = make_run([m.LookupTable(5, 3, INIT, pad_idx=pad_idx)], (4,))
    X = np.array([[0, 2, 4, 1], [2, 2, 3, 0]], "f4")
    np.testing.assert_array_equal(outputs_of(run, X), run.outputs(X))


TABLE = {
    "kind": "table",
    "features": [
        {"column": "year", "mean": 2015.2, "deviation": 0.37, "fill": None},
        {"column": "prediction", "mean": 1e6, "deviation": 12.5, "fill": 3.5},
        {"column": "colour", "values": ["blue", "red", "ä b"], "fill": None},
        {"column": "size", "values": ["L", "S"], "fill": "S"},
    ],
}
ROWS = {
    "year": [2014.0, 2015.25, 2016.0, 2015.5],
    "prediction": [999_990.25, float("nan"), 1_000_000.125, 0.0],
    "colour": ["red", "ä b", "blue", "green"],
    "size": ["S", "L", "", "?"],
}


@pytest.mark.filterwarnings("ignore:.*hold what training has not seen")
@pytest.mark.parametrize("labels", [["a", "b", "c"], [3, 5, 9], [True, "x", 1.5]])
def test_columns_go_in_as_they_are_and_classes_come_out(make_run, tmp_path, labels):
    pytest.importorskip("pyarrow")
    target = {"kind": "classes", "name": "kind", "labels": labels}
    run = make_run([m.Affine(3, INIT, INIT, activation=m.Softmax())], (7,), target, TABLE)
    export_run(run, tmp_path / "model.onnx")
    raw = {
        name: np.array(column, object if isinstance(column[0], str) else float).reshape(-1, 1)
        for name, column in ROWS.items()
    }
    runtime = session(tmp_path / "model.onnx")
    assert [one.name for one in runtime.get_inputs()] == list(ROWS)
    prediction, probabilities = runtime.run(None, raw)
    ours = run.outputs({**ROWS, "size": ["S", "L", None, "?"]})
    np.testing.assert_allclose(probabilities, ours, atol=1e-6)
    expected = [labels[k] for k in ours.argmax(axis=1)]
    assert prediction.tolist() == (expected if labels != [True, "x", 1.5] else list(map(str, expected)))
    about = runtime.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == labels
    assert about["target"] == "kind"


def test_numbers_come_out_in_their_units(make_run, tmp_path):
    target = {"kind": "numbers", "name": "price", "mean": [1e6], "deviation": [250.0]}
    encoding = {
        "kind": "arrays",
        "shape": [6],
        "names": ["X", "y"],
        "mean": [5.0] * 6,
        "deviation": [2.0] * 6,
    }
    run = make_run([m.Linear(1, INIT)], FEATURES, target, encoding)
    export_run(run, tmp_path / "model.onnx")
    X = np.random.RandomState(1).randn(3, 6).astype("f4")
    (found,) = session(tmp_path / "model.onnx").run(None, {"X": X})
    np.testing.assert_allclose(found, run.encoding.target.answers(run.outputs(X))["prediction"], rtol=1e-9)


@pytest.mark.parametrize("datatype", ["float16", "bfloat16", "float64"])
def test_models_of_other_types(make_run, tmp_path, datatype):
    if datatype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    run = make_run([m.Affine(3, INIT, batch_norm=True, activation=m.Tanh())], FEATURES, datatype=datatype)
    export_run(run, tmp_path / "model.onnx")
    X = np.random.RandomState(1).randn(3, 6).astype("f4")
    (found,) = session(tmp_path / "model.onnx").run(None, {"X": X})
    np.testing.assert_allclose(found, run.outputs(X), rtol=1e-6, atol=1e-6)


def test_images_go_in_by_their_pixels(make_run, tmp_path):
    encoding = {"kind": "images", "mode": "RGB", "size": [9, 8]}
    run = make_run([m.Linear(2, INIT)], IMAGES, encoding=encoding)
    export_run(run, tmp_path / "model.onnx")
    X = np.random.RandomState(1).rand(3, *IMAGES).astype("f4")
    (found,) = session(tmp_path / "model.onnx").run(None, {"images": X})
    np.testing.assert_allclose(found, run.outputs(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([m.Linear(2, INIT), m.MergeSum([m.Linear(2, INIT), m.Linear(2, INIT)])], FEATURES, "MergeSum_0"),
        ([m.BinaryLinear(2, INIT), m.ShiftBatchNorm()], FEATURES, r"\(BinaryLinear\), .* \(ShiftBatchNorm\)"),
        ([recurrent(m.GRU, gate_activation=m.Tanh())], STEPS, "GRU.*Logistic, not Tanh"),
        ([recurrent(m.BiLSTM, split_inputs=True)], (4, 7), "split_inputs"),
        ([recurrent(m.Recurrent, activation=m.Softmax())], STEPS, "no recurrent layer with Softmax"),
    ],
    ids=["a tree", "binarized layers", "gates", "halves", "softmax"],
)  # fmt: skip
def test_what_has_no_form_is_one_message(make_run, tmp_path, layers, shape, message):
    run = make_run(layers, shape)
    with pytest.raises(RunError, match=message):
        export_run(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_layer_of_ones_own_has_the_form_that_it_is_given(make_run, tmp_path):
    class Halved(m.Layer):
        def forward(self, x, inference=False):
            return x * 0.5

    class Quartered(Halved):
        """Derived, and without a form."""

    @onnx_form(Halved)
    def halved(graph, layer, x):
        return graph.add("Mul", x, graph.constant(0.5))

    run = make_run([Halved()], FEATURES)
    export_run(run, tmp_path / "model.onnx")
    X = np.ones((2, 6), "f4")
    np.testing.assert_array_equal(session(tmp_path / "model.onnx").run(None, {"X": X})[0], run.outputs(X))
    with pytest.raises(RunError, match="Quartered"):
        export_run(make_run([Quartered()], FEATURES), tmp_path / "other.onnx")


def test_a_model_that_is_too_large_is_refused():
    with pytest.raises(RunError, match="at most 2 GiB"):
        OnnxGraph().constant(np.broadcast_to(np.float32(0), (2**15, 2**15)))


def test_a_missing_package_says_what_to_install(make_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RunError, match=r"pip install 'neon_optim\[export\]'"):
        export_run(make_run([m.Linear(2, INIT)], FEATURES), tmp_path / "model.onnx")
