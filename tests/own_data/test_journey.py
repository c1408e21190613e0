"""From a file of one's own to predictions: init, train, predict, evaluate, load_run."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from neon_optim import cleanup_backend, load_run
from neon_optim.cli.app import cli
from neon_optim.data.tables import CsvTable
from neon_optim.errors import CheckpointError, RunError

pytest.importorskip("pyarrow")


def run(*arguments, code=0):
    found = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert found.exit_code == code, found.output
    return found.output


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """A folder with data and two runs, and what the commands said."""
    folder, said = tmp_path_factory.mktemp("journey"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rng = np.random.default_rng(0)
        with open("flowers.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "length", "width", "kind", "place", "price"])
            for k in range(90):
                kind, place = ["rose", "lily", "iris"][k % 3], ["north", "south"][rng.integers(2)]
                length, width = rng.normal([2, 5, 8][k % 3], 0.4), rng.normal(3, 0.5)
                rows.writerow([k, f"{length:.3f}", f"{width:.3f}", kind, place, f"{10 * length + width:.2f}"])
        for target, features in (("kind", "length,width,place"), ("price", "length,width,kind")):
            said["init", target] = run("init", "flowers.csv", "--target", target)
            with open(f"{target}.yaml", "w") as file:
                file.write(said["init", target])
            changes = (
                f"dataset.features=[{features}]",
                "optimizer.config.learning_rate=0.03",
                "engine=numpy",
                "checkpoint.every_epochs=10",
            )
            said["train", target] = run(
                *("train", f"{target}.yaml", "-e", 20),
                *(part for change in changes for part in ("--set", change)),
            )
        with open("few.csv", "w") as file:
            file.write("length,width,kind\n1,2,rose\n")
        with open("holes.csv", "w") as file:
            file.write("length,width,kind,place\n1,,rose,north\n")
        cleanup_backend()
    return folder, said


@pytest.fixture(autouse=True)
def said(journey, monkeypatch):
    monkeypatch.chdir(journey[0])
    yield journey[1]
    cleanup_backend()


def test_three_commands(said):
    assert "left out: id: it numbers the rows" in said["init", "kind"]
    assert "classes: iris, lily, rose" in said["init", "kind"]
    assert "valid error  0.00 %" in said["train", "kind"]
    assert "1 columns of words, an input for each word: place (2)" in said["train", "kind"]

    run("predict", "runs/kind-1", "flowers.csv", "-o", "answers.csv")
    with open("answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    with open("flowers.csv", newline="") as file:
        assert [row["prediction"] for row in answers] == [row["kind"] for row in csv.DictReader(file)]
    kinds = ("iris", "lily", "rose")
    probabilities = np.array([[float(row[f"probability_{kind}"]) for kind in kinds] for row in answers])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)  # a softmax in float32

    measured = json.loads(run("evaluate", "runs/kind-1", "flowers.csv", "--json"))
    assert measured["samples"] == 90
    assert measured["error"] == 0.0


def test_init_reads_a_table_once(monkeypatch):
    times = []
    parsed = CsvTable._parsed
    monkeypatch.setattr(CsvTable, "_parsed", lambda self, *given: times.append(0) or parsed(self, *given))
    assert run("init", "flowers.csv", "--target", "kind") == said_again("kind")
    assert len(times) == 1


def said_again(target):
    with open(f"{target}.yaml") as file:
        return file.read()


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_answers_in_each_form(ending, tmp_path):
    run("predict", "runs/price-1", "flowers.csv", "-o", tmp_path / f"a.{ending}")
    expected = load_run("runs/price-1").predict("flowers.csv")
    if ending == "npz":
        found = np.load(tmp_path / "a.npz")["prediction"]
    else:
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet

        read = arrow_csv.read_csv if ending == "csv" else parquet.read_table
        found = read(tmp_path / f"a.{ending}").column("prediction").to_numpy()
    np.testing.assert_array_equal(found, expected)


def test_numbers_come_back_in_their_units():
    measured = json.loads(run("evaluate", "runs/price-1", "flowers.csv", "--json"))
    assert measured["root_mean_squared_error"] < 5, "prices go from 20 to 90"
    loaded = load_run("runs/price-1")
    prices = loaded.predict("flowers.csv")
    assert prices.shape == (90,)
    assert 10 < prices.min() < prices.max() < 110


def test_a_run_in_python():
    loaded = load_run("runs/kind-1")
    few = {"length": [2.0, 8.0], "width": [3.0, 3.0], "place": ["north", "south"]}
    assert loaded.predict(few).tolist() == ["rose", "iris"]
    assert loaded.metrics["valid_error"] == 0.0
    last = load_run("runs/kind-1", "last")
    assert last.epoch == 20
    assert load_run("runs/kind-1", last.step).path == last.path == load_run(last.path).path
    with pytest.raises(RunError, match="there is no checkpoint of step 1 in"):
        load_run("runs/kind-1", 1)
    with pytest.raises(RunError, match="which must be 'best', 'last' or a step"):
        load_run("runs/kind-1", "newest")


def test_digits_take_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("digits.yaml", "w") as file:
        file.write(
            "epochs: 1\nengine: numpy\ndataset: {name: digits}\nlayers:\n"
            "- {type: Affine, config: {nout: 10, init: {type: Gaussian}, activation: {type: Softmax}}}\n"
            "cost: CrossEntropyMulti\noptimizer: Adam\n"
        )
    run("train", "digits.yaml", "-s", "run")
    np.savez("some.npz", X=np.zeros((3, 1, 8, 8)), y=[0, 1, 2])
    assert load_run("run").predict("some.npz").shape == (3,)
    assert run("predict", "run", "some.npz").startswith("prediction,probability_0,")
    assert "samples                  3" in run("evaluate", "run", "some.npz")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["predict", "nowhere", "flowers.csv"], "there is no run and no checkpoint 'nowhere'"),
        (["predict", ".", "flowers.csv"], "there are no checkpoints in"),
        (["predict", "runs/kind-1", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["predict", "runs/kind-1", "flowers.csv", "-o", "kind.yaml"], "written to a file that ends in .csv"),
        (
            ["predict", "runs/kind-1", "flowers.csv", "-o", "flowers.csv"],
            "exists already; nothing was changed",
        ),
        (["predict", "runs/kind-1", "flowers.csv", "-o", "no/a.csv"], "there is no folder 'no'"),
        (["predict", "runs/kind-1", "few.csv"], "there is no column 'place'"),
        (["predict", "runs/kind-1", "holes.csv"], "width: 1 of 1 values are missing (lines 2)"),
        (["evaluate", "runs/kind-1", "few.csv"], "there is no column"),
        (["init", "flowers.csv"], "which column is to be predicted? Give --target one of: id, length"),
        (["init", "flowers.csv", "--target", "knd"], "there is no column 'knd'; did you mean 'kind'?"),
        (["init", "flowers.doc"], "data is a file that ends in .csv"),
    ],
)
def test_mistakes_are_told(command, message):
    said = run(*command, code=2)
    assert message in said
    assert "Traceback" not in said


def test_a_checkpoint_that_is_of_no_run(tmp_path):
    from neon_optim import gen_backend
    from neon_optim.optimizers import Adam
    from neon_optim.serialization import save_checkpoint

    gen_backend("cpu")
    path = save_checkpoint(
        tmp_path / "a.safetensors", optimizer=Adam(), layers=[((np.ones(2), np.ones(2)), [])]
    )
    with pytest.raises(CheckpointError, match="does not say how its model is made"):
        load_run(path)
