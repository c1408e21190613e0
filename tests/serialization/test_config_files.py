"""The configs that ship and those in the documentation load; the page on configs names every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neon_optim.described.arguments import constructor_arguments
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
