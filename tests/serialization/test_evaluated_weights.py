"""What was validated is what is loaded for use: an average, slow weights; what was trained is what is gone on with."""

import numpy as np
import pytest
from click.testing import CliRunner

from neon_optim import cleanup_backend, gen_backend
from neon_optim.cli.app import cli
from neon_optim.errors import CheckpointError
from neon_optim.model import Affine, ArrayIterator, GlorotUniform, MeanSquared, Model, Tanh
from neon_optim.optimizers import EMA, SGD, Adam, Lookahead, MultiOptimizer, ScheduleFreeAdamW
from neon_optim.serialization import load_checkpoint, save_checkpoint
from neon_optim.serialization.checkpoint import archive
from neon_optim.serialization.conversion import convert_checkpoint

X = np.linspace(-1, 1, 64).reshape(-1, 1)
OPTIMIZERS = {
    "EMA": lambda: EMA(Adam(learning_rate=0.02), decay=0.9),
    "Lookahead": lambda: Lookahead(Adam(learning_rate=0.02), every=7),
    "ScheduleFree": lambda: ScheduleFreeAdamW(0.05, beta_1=0.8),
    "EMA around ScheduleFree": lambda: EMA(ScheduleFreeAdamW(0.05), decay=0.9),
    "Lookahead in EMA": lambda: EMA(Lookahead(SGD(0.1), every=7), decay=0.9),
    "some": lambda: MultiOptimizer(
        {"default": Adam(learning_rate=0.02), "Bias": ScheduleFreeAdamW(0.05, beta_1=0.7)}
    ),
}


@pytest.fixture(autouse=True)
def _no_backend_left():
    yield
    cleanup_backend()


def data():
    return ArrayIterator(X, np.sin(3 * X), make_onehot=False, shuffle=True)


def new_model():
    return Model(
        [Affine(16, GlorotUniform(), GlorotUniform(), activation=Tanh()), Affine(1, GlorotUniform())]
    )


def weights(model):
    return {f"{leaf.name}/W": leaf.W.get() for leaf in model.layers_to_optimize}


@pytest.fixture(params=OPTIMIZERS)
def trained(request, tmp_path):
    """(optimizer, path of the file, weights as trained, weights as validated, their cost) after 11 epochs."""
    gen_backend("cpu", rng_seed=1, batch_size=16)
    model, optimizer = new_model(), OPTIMIZERS[request.param]()
    model.fit(data(), MeanSquared(), optimizer, num_epochs=11)
    path = model.save_params(tmp_path / "a", optimizer)
    raw = weights(model)
    with optimizer.evaluation(model.layers_to_optimize):
        validated, cost = weights(model), model.eval(data(), MeanSquared())
    assert any((raw[name] != validated[name]).any() for name in raw)
    return optimizer, path, raw, validated, cost


def assert_same(mine, theirs):
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_a_model_without_an_optimizer_gets_what_was_validated(trained):
    _, path, raw, validated, cost = trained
    model = new_model()
    model.initialize(data())
    model.load_params(path)
    assert_same(weights(model), validated)
    assert model.eval(data(), MeanSquared()) == cost
    assert model.epoch_index == 11
    load_checkpoint(path, layers=model.layers_to_optimize, weights="raw")
    assert_same(weights(model), raw)


def test_training_goes_on_with_what_was_trained(trained):
    optimizer, path, raw, validated, _ = trained
    model = new_model()
    model.initialize(data())
    model.load_params(path, optimizer)
    assert_same(weights(model), raw)
    load_checkpoint(path, optimizer=Adam(), layers=model.layers_to_optimize, reset_state=True)
    assert_same(weights(model), raw)
    load_checkpoint(
        path, optimizer=Adam(), layers=model.layers_to_optimize, reset_state=True, weights="evaluated"
    )
    assert_same(weights(model), validated)
    with pytest.raises(CheckpointError, match="weights='evaluated' are not gone on with"):
        load_checkpoint(path, optimizer=optimizer, layers=model.layers_to_optimize, weights="evaluated")


@pytest.mark.parametrize("backend", [False, True])
def test_a_file_of_weights_has_those_that_were_validated(trained, tmp_path, backend):
    safetensors = pytest.importorskip("safetensors.numpy")
    _, path, raw, validated, _ = trained
    if not backend:
        cleanup_backend()
    for which, expected in ((None, validated), ("evaluated", validated), ("raw", raw)):
        target = convert_checkpoint(path, tmp_path / f"{which}", to="torch", weights=which)
        assert_same(
            {name.replace(".", "/"): array for name, array in safetensors.load_file(target).items()}, expected
        )
    if not backend:
        assert new_model().be is None


def test_the_command_takes_the_choice(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    averaged(tmp_path)
    for options, expected in (([], 0.75), (["--weights", "evaluated"], 0.75), (["--weights", "raw"], 0.5)):
        words = ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--to", "torch", "--force", *options]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(safetensors.load_file(tmp_path / "b")["parameter_0.W"], expected)


def test_an_optimizer_without_an_average_says_nothing_and_loads_as_ever(tmp_path):
    gen_backend("cpu", batch_size=1)
    rows, adam = [((np.ones(3), np.ones(3)), [])], Adam()
    adam.optimize(rows, 0)
    path = save_checkpoint(tmp_path / "a", optimizer=adam, layers=rows)
    assert archive.read_state(path)["parameters"]["parameter_0/W"].keys() == {"optimizer", "slots"}
    fresh = [((np.zeros(3), np.ones(3)), [])]
    load_checkpoint(path, layers=fresh)
    np.testing.assert_array_equal(fresh[0][0][0], rows[0][0][0])
    assert len(fresh[0][1]) == 2


def without(state, key):
    return {
        name: {k: v for k, v in record.items() if k != key} for name, record in state["parameters"].items()
    }


def averaged(tmp_path):
    gen_backend("cpu", batch_size=1)
    rows, ema = [((np.ones(3), np.ones(3)), [])], EMA(SGD(0.5), decay=0.5)
    ema.optimize(rows, 0)
    return archive.read(save_checkpoint(tmp_path / "a", optimizer=ema, layers=rows))


def test_a_file_of_an_older_version_loads_as_ever(tmp_path):
    contents = averaged(tmp_path)
    old = {**contents.state, "parameters": without(contents.state, "evaluated")}
    path = archive.write(tmp_path / "b", contents.arrays, old)
    fresh = [((np.zeros(3), np.ones(3)), [])]
    load_checkpoint(path, layers=fresh)
    np.testing.assert_array_equal(fresh[0][0][0], 0.5)


def test_a_file_before_the_first_step_has_one_kind(tmp_path):
    gen_backend("cpu", batch_size=1)
    rows = [((np.ones(3), np.ones(3)), [])]
    path = save_checkpoint(tmp_path / "a", optimizer=EMA(SGD(0.5)), layers=rows)
    fresh = [((np.zeros(3), np.ones(3)), [])]
    load_checkpoint(path, layers=fresh)
    np.testing.assert_array_equal(fresh[0][0][0], 1.0)


@pytest.mark.parametrize(
    "optimizer",
    [
        None,
        {"description": None, "counters": {}},
        {"description": {"type": "elsewhere.Average", "config": {}}, "counters": {}},
        {"description": {"type": "Adam", "config": {}}, "counters": {}},
        {"description": {"type": "EMA", "config": {"optimizer": 3}}, "counters": {}},
    ],
)
def test_an_optimizer_that_cannot_be_rebuilt_is_told_and_the_raw_weights_are_there(tmp_path, optimizer):
    contents = averaged(tmp_path)
    path = archive.write(tmp_path / "b", contents.arrays, {**contents.state, "optimizer": optimizer})
    fresh = [((np.zeros(3), np.ones(3)), [])]
    with pytest.raises(CheckpointError, match=r"validated with cannot be computed: .*weights='raw'"):
        load_checkpoint(path, layers=fresh)
    np.testing.assert_array_equal(fresh[0][0][0], 0.0)
    load_checkpoint(path, layers=fresh, weights="raw")
    np.testing.assert_array_equal(fresh[0][0][0], 0.5)


@pytest.mark.parametrize(
    "place", [True, 3, "fc", [], ["fc", None], ["fc", 3, "W"], [None, None, "W"], [["fc"], "a", "W"]]
)
def test_a_damaged_place_is_refused(tmp_path, place):
    contents = averaged(tmp_path)
    record = {**contents.state["parameters"]["parameter_0/W"], "evaluated": place}
    path = archive.write(
        tmp_path / "b", contents.arrays, {**contents.state, "parameters": {"parameter_0/W": record}}
    )
    with pytest.raises(CheckpointError, match=r"not a checkpoint of a training run: .*evaluated"):
        load_checkpoint(path)


def test_a_choice_that_is_none_is_refused(tmp_path):
    averaged(tmp_path)
    with pytest.raises(CheckpointError, match="weights must be one of 'evaluated', 'raw', received 'best'"):
        load_checkpoint(tmp_path / "a", weights="best")
    with pytest.raises(CheckpointError, match="for to='torch' only"):
        convert_checkpoint(tmp_path / "a", tmp_path / "b", to="neon", weights="raw")
