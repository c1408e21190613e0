"""``inspect``: what it says of a file, in text and as JSON, and what it says of two."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from neon_optim import cleanup_backend, gen_backend
from neon_optim.cli.app import cli
from neon_optim.optimizers import Adam
from neon_optim.serialization import inspect_checkpoint, save_checkpoint
from neon_optim.serialization.checkpoint.inspection import diff_checkpoints, summarize


@pytest.fixture(autouse=True)
def _backend():
    gen_backend("cpu", rng_seed=5, batch_size=1, engine="numpy")
    yield
    cleanup_backend()


@pytest.fixture
def run(tmp_path):
    """Two checkpoints of one run, a step apart."""
    layers = [((np.arange(6, dtype="f4").reshape(2, 3), np.ones((2, 3), "f4")), [])]
    adam, files = Adam(learning_rate=0.5), []
    for epoch in (0, 1):
        adam.optimize(layers, epoch)
        files.append(str(tmp_path / f"{epoch}.safetensors"))
        save_checkpoint(files[-1], optimizer=adam, layers=layers, epoch=epoch, extra={"loss": float("nan")})
    return files


def invoke(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["inspect", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_numbers_of_an_array():
    found = summarize("w", np.array([[3, -4], [np.nan, np.inf]], np.float16))
    assert (found.min, found.mean, found.max, found.norm, found.nonfinite) == (-4, -0.5, 3, 5, 2)
    assert (found.dtype, found.shape) == ("float16", (2, 2))
    nothing = summarize("w", np.full(3, np.nan))
    assert (nothing.min, nothing.mean, nothing.norm, nothing.nonfinite) == (None, None, None, 3)
    assert summarize("w", np.zeros((0, 3))).nonfinite == 0
    assert summarize("w", np.array([True, False])).mean == 0.5


def test_numbers_of_a_large_array_are_those_of_numpy():
    array = np.random.default_rng(0).standard_normal(2_500_000).astype("f4")
    found = summarize("w", array)
    wide = array.astype("f8")
    expected = [wide.min(), wide.mean(), wide.max(), np.linalg.norm(wide)]
    np.testing.assert_allclose([found.min, found.mean, found.max, found.norm], expected, rtol=1e-12)


def test_text(run):
    text = invoke(run[1])
    assert "whole; format 1, written by neon_optim" in text
    assert "Adam(learning_rate=0.5)  t 2" in text
    assert "epoch      1" in text
    lines = [line.split() for line in text.splitlines()]
    expected = inspect_checkpoint(run[1]).arrays[0]
    numbers = [f"{n:.6g}" for n in (expected.min, expected.mean, expected.max, expected.norm)]
    assert ["parameter_0/W", "float32", "2x3", *numbers, "-"] in lines


def test_json(run):
    found = json.loads(invoke(run[0], "--json"))
    assert (found["epoch"], found["counters"], found["format_version"]) == (0, {"t": 1}, 1)
    assert found["description"]["config"] == {"learning_rate": 0.5}
    assert [array["name"] for array in found["arrays"]] == [
        "parameter_0/W",
        "parameter_0/W/m",
        "parameter_0/W/v",
    ]
    assert found["arrays"][0]["shape"] == [2, 3]
    assert found["arrays"][0]["nonfinite"] == 0
    assert found["extra"] == {"loss": {"$float": "nan"}}


def test_difference(run):
    found = diff_checkpoints(*run)
    assert found.arrays["parameter_0/W"]["elements"] == 6
    assert found.arrays["parameter_0/W"]["largest"] == pytest.approx(0.5, rel=1e-5)
    assert found.state == {"epoch": (0, 1), "optimizer.counters.t": (1, 2)}
    text = invoke("--diff", *run)
    assert "~ parameter_0/W: 6 of 6 elements, by 0.5 at most" in text
    assert "~ optimizer.counters.t: 1 -> 2" in text
    assert json.loads(invoke("--diff", "--json", *run))["state"]["epoch"] == [0, 1]
    assert not diff_checkpoints(run[0], run[0])
    assert invoke("--diff", run[0], run[0]) == "no difference\n"


def test_difference_of_names_shapes_and_signs_of_zero(tmp_path):
    files = []
    for number, arrays in enumerate(
        ([np.zeros((2, 2)), np.zeros(3)], [-np.zeros((2, 2)), np.zeros(4), np.ones(1)])
    ):
        layers = [((array, array), []) for array in arrays]
        files.append(save_checkpoint(tmp_path / str(number), optimizer=Adam(), layers=layers))
    found = diff_checkpoints(*files)
    assert (found.only_a, found.only_b) == ([], ["parameter_2/W"])
    assert found.arrays["parameter_0/W"] == {"elements": 4, "of": 4, "largest": 0.0}
    assert found.arrays["parameter_1/W"]["shape"] == [[3], [4]]
    text = invoke("--diff", *files)
    assert "+ parameter_2/W" in text
    assert "~ parameter_1/W: float64 [3] -> float64 [4]" in text


def test_verify(run, tmp_path):
    assert invoke("--verify", *run) == f"{run[0]}: whole\n{run[1]}: whole\n"
    damaged = tmp_path / "damaged"
    raw = bytearray((tmp_path / "0.safetensors").read_bytes())
    raw[-1] ^= 1
    damaged.write_bytes(raw)
    text = invoke("--verify", run[0], str(damaged), code=2)
    assert f"{run[0]}: whole" in text
    assert "damaged: digest" in text
    found = CliRunner().invoke(cli, ["inspect", "--verify", "--json", run[0], str(damaged)])
    assert found.exit_code == 2
    assert [each["whole"] for each in json.loads(found.stdout).values()] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["missing"], "cannot read 'missing'"),
        (["a", "b"], "takes one file, received 2"),
        (["--diff", "a"], "takes two files, received 1"),
        (["--diff", "--verify", "a", "b"], "exclude each other"),
    ],
)
def test_mistakes(arguments, message):
    assert message in invoke(*arguments, code=2)


def test_nothing_but_click_is_imported_with_the_command():
    code = (
        "import sys, neon_optim.cli.inspect; print([m for m in ('numba', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
