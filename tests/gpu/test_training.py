"""The reference model stack on the GPU backend: a YAML model trains, checkpoints and goes on with the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from neon_optim import cleanup_backend, gen_backend
from neon_optim.cli.app import cli
from neon_optim.serialization import load_checkpoint

pytest.importorskip("sklearn")
pytestmark = pytest.mark.gpu

CONFIG = """
batchsize: 128
rng_seed: 3
dataset: {name: digits}
layers:
- {type: Dropout, config: {keep: 0.9}}
- {type: Linear, config: {nout: 20, init: {type: Kaiming}}}
- {type: Bias, config: {init: {type: Constant}}}
- {type: Activation, config: {transform: {type: Rectlin}}}
- {type: Linear, config: {nout: 10, init: {type: GlorotUniform}}}
- {type: Activation, config: {transform: {type: Softmax}}}
cost: CrossEntropyMulti
optimizer: {type: Adam, config: {learning_rate: 0.01, gradient_clip_norm: 1.0}}
"""


@pytest.fixture
def train(tmp_path: Path):
    config = tmp_path / "digits.yaml"
    config.write_text(CONFIG)

    def run(folder: str, *options: str) -> tuple[list[dict], dict[str, np.ndarray]]:
        done = CliRunner().invoke(cli, ["train", str(config), "-s", str(tmp_path / folder), *options])
        assert done.exit_code == 0, done.output
        lines = map(json.loads, (tmp_path / folder / "metrics.jsonl").read_text().splitlines())
        newest = max((tmp_path / folder / "checkpoints").glob("*.safetensors"))
        return [line for line in lines if "valid_cost" in line], load_checkpoint(newest).arrays

    yield run
    cleanup_backend()


def test_training_learns_and_agrees_with_the_cpu(train):
    """exp and log differ in their last bits between libraries, and products in the order of their sums."""
    on_gpu, arrays = train("gpu", "-b", "gpu", "-e", "2")
    on_cpu, expected = train("cpu", "-b", "cpu", "-e", "2", "--set", "engine=numpy")
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        for key in ("train_cost", "valid_cost"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4)
    assert on_gpu[-1]["valid_error"] < 0.4
    for name, array in arrays.items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-3, atol=2e-4, err_msg=name)


def test_a_resumed_run_has_the_bits_of_one_that_was_never_stopped(train):
    _, whole = train("whole", "-b", "gpu", "-e", "2")
    train("parts", "-b", "gpu", "-e", "1")
    _, parts = train("parts", "-b", "gpu", "-e", "2", "--resume")
    assert whole.keys() == parts.keys()
    for name, array in whole.items():
        assert array.tobytes() == parts[name].tobytes(), name


def test_dropout_draws_the_cpus_elements():
    results = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, rng_seed=11, engine="numpy")
        out = be.empty((37, 41))
        be.bernoulli(out, 0.7, stream=3, step=2**32 + 1)
        part = be.zeros((37, 41))
        be.bernoulli(part[:, 3:20], 0.2, stream=4, step=0)
        results.append((out.get(), part.get()))
        cleanup_backend()
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
        assert 0 < one.mean() < 1
