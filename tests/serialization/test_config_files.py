"""The configs that ship and those in the documentation load; the page on configs names every key."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described.arguments import constructor_arguments
from neon_optim.described.build import from_description
from neon_optim.errors import ConfigError, ConfigWarning
from neon_optim.model import ArrayIterator, Model
from neon_optim.serialization import dump_config, load_config
from neon_optim.serialization.config.settings import CheckpointSettings, Settings

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PAGE = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_loads_and_its_dump_is_the_same_config(path: Path) -> None:
    config = load_config(path)
    config.require("layers", "cost", "optimizer", "dataset")
    again = load_config(dump_config(config))
    assert again == config
    assert type(again.settings.optimizer) is type(config.settings.optimizer)
    assert len(again.settings.layers) == len(config.settings.layers)


def test_the_config_of_the_documentation_loads() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert load_config(text).settings.optimizer.learning_rate == 1e-3


def test_the_documentation_names_every_key_and_its_default() -> None:
    table = PAGE.partition("**Objects**")[0]
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|.*\| *(.*?) *\|$", table, re.MULTILINE))
    defaults = {name: argument.default for name, argument in constructor_arguments(Settings).items()}
    assert rows.keys() == defaults.keys()
    plain = {
        name: value for name, value in defaults.items() if isinstance(value, (int, str)) and name in rows
    }
    assert {name: rows[name].strip("`") for name in plain} == {
        name: str(value).lower() for name, value in plain.items()
    }
    for name in constructor_arguments(CheckpointSettings):
        assert name in PAGE


def test_neons_networks_are_neons() -> None:
    config = load_config(ROOT / "configs" / "mnist_mlp.yaml", ["dataset.name=digits"])
    assert [layer.classnm for layer in config.settings.layers] == ["Linear", "Activation"] * 2
    assert config.settings.layers[0].init.get_description(skip=["name"])["config"] == {"scale": 0.01}
    assert config.settings.layers[3].transform.shortcut is True
    multi = load_config(ROOT / "configs" / "mnist_multi_optimizer.yaml").settings.optimizer
    assert {name: item.classnm for name, item in multi.optimizer_mapping.items()} == {
        "default": "GradientDescentMomentum",
        "special_linear": "RMSProp",
        "Bias": "RMSProp",
    }


ALEXNET = """
backend: gpu
batchsize: 2
w: &w {type: Gaussian, config: {scale: 0.03}}
b: &zero {type: Constant, config: {val: 0}}
b: &one {type: Constant, config: {val: 1}}
relu: &relu {type: Rectlin}
layers:
  - {type: Convolution, config: {name: conv1, fshape: [11, 11, 6], strides: 4, padding: 3, init: *w}}
  - {type: Bias, config: {name: conv1_bias, init: *zero}}
  - {type: Activation, config: {name: conv1_relu, transform: *relu}}
  - {type: Pooling, config: {name: pool1, fshape: 3, strides: 2}}
  - {type: Convolution, config: {name: conv2, fshape: [5, 5, 12], padding: 2, init: *w}}
  - {type: Bias, config: {name: conv2_bias, init: *one}}
  - {type: Activation, config: {name: conv2_relu, transform: *relu}}
  - {type: Pooling, config: {name: pool2, fshape: 3, strides: 2}}
  - {type: Convolution, config: {name: conv3, fshape: [3, 3, 16], padding: 1, init: *w}}
  - {type: Bias, config: {name: conv3_bias, init: *zero}}
  - {type: Activation, config: {name: conv3_relu, transform: *relu}}
  - {type: Pooling, config: {name: pool5, fshape: 3, strides: 2}}
  - {type: Linear, config: {name: fc6, nout: 32, init: *w}}
  - {type: Bias, config: {name: fc6_bias, init: *one}}
  - {type: Activation, config: {name: fc6_relu, transform: *relu}}
  - {type: Dropout, config: {name: drop6, keep: 0.5}}
  - {type: Linear, config: {name: fc8, nout: 10, init: *w}}
  - {type: Bias, config: {name: fc8_bias, init: *zero}}
  - {type: Activation, config: {name: fc8_softmax, transform: {type: Softmax}}}
cost: CrossEntropyMulti
schedule: &schedule1 {type: Schedule, config: {step_config: [22, 44, 65], change: 0.15874}}
schedule: &schedule2 {type: Schedule, config: {step_config: 44, change: 0.1}}
rule: &rule
  type: GradientDescentMomentum
  config: {learning_rate: 0.01, momentum_coef: 0.9, wdecay: 0.0005, schedule: *schedule1}
of_biases: &of_biases
  type: GradientDescentMomentum
  config: {learning_rate: 0.02, momentum_coef: 0.9, schedule: *schedule2}
optimizer: {type: MultiOptimizer, config: {optimizer_mapping: {default: *rule, Bias: *of_biases}}}
dataset:
  name: i1k
  train_config: {shuffle_manifest: true, image: {height: 224, width: 224, scale: [0.875, 0.875]}}
"""
"""neon's AlexNet in small: all that its file says, with fewer layers and channels."""


def test_an_alexnet_of_neons_is_described_and_trains_on_random_data() -> None:
    with pytest.warns(ConfigWarning) as told:
        config = load_config(ALEXNET)
    assert len(told) == 3, "two keys that stand twice, and the dataset"
    assert "'i1k' of neon's is not here" in str(told[2].message)
    with pytest.raises(
        ConfigError, match=r"<text>:39:9: the dataset 'i1k' of neon's is not here.*--set dataset="
    ):
        config.build_dataset()
    settings = config.settings
    gen_backend("cpu", rng_seed=1, batch_size=settings.batchsize)
    model = Model(settings.layers)
    for described in (model, settings.optimizer):
        description = described.get_description()
        assert from_description(description).get_description() == description
    random = np.random.RandomState(0)
    data = ArrayIterator(
        random.standard_normal((4, 3 * 64 * 64)), np.arange(4), nclass=10, lshape=(3, 64, 64)
    )
    model.initialize(data)
    before = [array.get() for ((array, _), _) in model.layers.get_params()]
    model.fit(data, cost=settings.cost, optimizer=settings.optimizer, num_epochs=1)
    after = [array.get() for ((array, _), _) in model.layers.get_params()]
    assert not any(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    cleanup_backend()
