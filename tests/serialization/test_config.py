"""Configs load into checked settings and objects; what is dumped loads back equal."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toys import MODEL, ToyAdam, ToyCost, ToyData, ToyInit, ToyLinear, ToySchedule

from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.described.build import from_description
from neon_optim.errors import ConfigError, ConfigWarning
from neon_optim.serialization import dump_config, load_config
from neon_optim.serialization.config.yaml_tree import parse_yaml

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    """Equal in value and type, the sign of zero and nan included."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def test_a_model_is_loaded_checked_and_built() -> None:
    config = load_config(MODEL)
    settings = config.settings
    assert [type(layer) for layer in settings.layers] == [ToyLinear, ToyLinear]
    assert [layer.init.scale for layer in settings.layers] == [0.01, 0.01]
    assert settings.layers[0].init is not settings.layers[1].init
    assert type(settings.cost) is ToyCost
    assert type(settings.optimizer) is ToyAdam
    assert settings.optimizer.learning_rate == 0.001
    assert (settings.epochs, settings.batchsize, settings.rng_seed) == (3, 32, None)
    assert config["optimizer"] == {"type": "ToyAdam", "config": {"learning_rate": 0.001}}
    assert "wt_init" not in config


def test_the_dataset_is_built_when_asked_for() -> None:
    config = load_config(MODEL, ["dataset.samples=7"])
    assert isinstance(config.build_dataset(), ToyData)
    assert config.build_dataset().samples == 7
    assert load_config("dataset: toydata\n").build_dataset(samples=4).samples == 4
    assert load_config("dataset:\n  type: ToyData\n  config: {samples: 5}\n").build_dataset().samples == 5


@pytest.mark.parametrize(
    "text",
    [
        "{name: toydata, samples: 5}",
        "{type: toydata, samples: 5}",
        "{name: toydata, config: {samples: 5}}",
        "{type: toydata, config: {samples: 5}}",
    ],
)
def test_a_dataset_is_written_in_either_way(text: str) -> None:
    assert load_config(f"dataset: {text}\n").build_dataset().samples == 5


@pytest.mark.parametrize("name", FLOAT_TYPES)
def test_every_float_type_is_a_datatype(name: str) -> None:
    assert load_config(f"datatype: {name}\n").backend_arguments()["datatype"] == name


def test_what_a_config_says_for_the_backend() -> None:
    config = load_config(
        "backend: cpu\nbatch_size: 16\nengine: numpy\ndatatype: float64\nrng_seed: 3\ndeterministic: true\n"
    )
    assert config.backend_arguments() == {
        "backend": "cpu",
        "engine": "numpy",
        "device_id": 0,
        "datatype": "float64",
        "rng_seed": 3,
        "stochastic_round": False,
        "deterministic": True,
        "batch_size": 16,
    }


def test_a_file_and_its_positions(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("\ufeff" + MODEL.replace("\n", "\r\n"), encoding="utf-8")
    config = load_config(path)
    assert config.source == str(path)
    assert tuple(config.position("optimizer", "config", "learning_rate"))[1:] == (16, 20)
    assert tuple(config.position("layers", 1, "config", "nout"))[1:] == (11, 18)


def test_required_keys_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("epochs: 3\n").require("layers", "epochs", "cost")
    assert [problem.message for problem in caught.value.problems] == [
        "the key 'layers' is missing",
        "the key 'cost' is missing",
    ]


def test_a_free_key_may_stand_twice_and_both_anchors_count() -> None:
    text = (
        "wt: &a {type: ToyInit, config: {scale: 1.5}}\n"
        "wt: &b {type: ToyInit, config: {scale: 2.5}}\n"
        "layers:\n"
        "- {type: ToyLinear, config: {nout: 1, init: *a}}\n"
        "- {type: ToyLinear, config: {nout: 1, init: *b}}\n"
    )
    with pytest.warns(ConfigWarning, match=r"<text>:2:1: the key 'wt' stands twice"):
        config = load_config(text)
    assert [layer.init.scale for layer in config.settings.layers] == [1.5, 2.5]


def test_merge_keys() -> None:
    text = (
        "base: &base {type: ToyAdam, config: &c {learning_rate: 0.5}}\n"
        "optimizer: {<<: *base, config: {<<: *c, wdecay: 0.1}}\n"
    )
    optimizer = load_config(text).settings.optimizer
    assert (optimizer.learning_rate, optimizer.wdecay) == (0.5, 0.1)


def test_members_of_a_mapping_may_lack_their_config() -> None:
    text = (
        "optimizer:\n  type: ToyMulti\n  config:\n    optimizer_mapping:\n"
        "      default: ToyAdam\n      Bias: {type: ToyAdam}\n      Linear: {type: ToyAdam, config: null}\n"
    )
    mapping = load_config(text).settings.optimizer.optimizer_mapping
    assert {name: type(item) for name, item in mapping.items()} == dict.fromkeys(
        ("default", "Bias", "Linear"), ToyAdam
    )


def test_a_schedule_by_name_or_by_description() -> None:
    named = load_config("optimizer: {type: ToyAdam, config: {schedule: ToySchedule}}\n").settings.optimizer
    described = load_config(
        "optimizer: {type: ToyAdam, config: {learning_rate: {type: ToySchedule, config: {steps: [1, 2]}}}}\n"
    ).settings.optimizer
    assert isinstance(named.schedule, ToySchedule)
    assert described.learning_rate.steps == [1, 2]


def test_a_file_may_be_one_description() -> None:
    config = load_config("type: ToyAdam\nconfig: {learning_rate: 1e-05}\n")
    assert config.described.learning_rate == 1e-05
    assert config == {"type": "ToyAdam", "config": {"learning_rate": 1e-05}}


def test_a_dumped_config_loads_back_equal(tmp_path: Path) -> None:
    config = load_config(MODEL, ["optimizer.config.learning_rate=1e-05"])
    dump_config(config, tmp_path / "resolved.yaml")
    again = load_config(tmp_path / "resolved.yaml")
    assert again == config
    assert type(again["optimizer"]["config"]["learning_rate"]) is float


def test_an_object_is_dumped_as_its_description() -> None:
    optimizer = ToyAdam(learning_rate=ToySchedule([1], 0.5), wdecay=0.1)
    again = from_description(parse_yaml(dump_config(optimizer)))
    assert again.get_description() == optimizer.get_description()


@given(st.dictionaries(st.text(), plain_values, max_size=5))
@example(
    {
        "a": "1e5",
        "b": ".5",
        "c": "0o7",
        "d": "010",
        "e": "yes",
        "f": "<<",
        "g": "=",
        "<<": 1,
        "h": "~",
        "": "",
    }
)
@example({"x": [1e-05, -0.0, math.inf, math.nan, 1e22, 5e-324], "y": "\x85\u2028\t \n#", "z": "- a: b"})
def test_plain_data_is_dumped_exactly(data: dict) -> None:
    assert same(parse_yaml(dump_config(data)), data)


@pytest.mark.parametrize("value", [{1: 2}, {"a": {None: 1}}, {"a": "\ud800"}, {"a": {1, 2}}, 3, [1], None])
def test_what_is_not_plain_is_not_dumped(value: object) -> None:
    with pytest.raises(ConfigError):
        dump_config(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-8", 1e-8),
        ("1e-05", 1e-05),
        (".5", 0.5),
        ("1.e3", 1000.0),
        ("-1E+2", -100.0),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-8'", "1e-8"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("! 1", "1"),
        ("0b1", "0b1"),
        ("1e", "1e"),
        (".", "."),
        ("-", [None]),
        ("0.1.2", "0.1.2"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert same(parse_yaml(text), value)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.config.learning_rate=1e-2", ("optimizer", "config", "learning_rate"), 0.01),
        ("layers[1].config.nout=5", ("layers", 1, "config", "nout"), 5),
        ("layers.1.config.nout=5", ("layers", 1, "config", "nout"), 5),
        ("layers[-1].config.nout=5", ("layers", -1, "config", "nout"), 5),
        ("optimizer=ToyAdam", ("optimizer",), "ToyAdam"),
        ("optimizer.config={learning_rate: 0.5, wdecay: 0.1}", ("optimizer", "config", "wdecay"), 0.1),
        ("checkpoint.every_steps=10", ("checkpoint", "every_steps"), 10),
        ("rng_seed=", ("rng_seed",), None),
        (" epochs = 7", ("epochs",), 7),
    ],
)
def test_overrides(override: str, path: tuple, value: object) -> None:
    found = load_config(MODEL, [override])
    for part in path:
        found = found[part]
    assert same(found, value)


def scales(*overrides: str) -> list[float]:
    return [layer.init.scale for layer in load_config(MODEL, overrides).settings.layers]


def test_overriding_a_definition_changes_every_use_and_overriding_a_use_only_that() -> None:
    assert scales("wt_init.config.scale=3") == [3, 3]
    assert scales("wt_init={type: ToyInit, config: {scale: 4}}") == [4, 4]
    assert scales("layers[0].config.init.config.scale=5") == [5, 0.01]
    assert scales("layers[1].config.init=ToyInit") == [0.01, 1.0]
    assert scales("layers[0].config.init.config.scale=5", "wt_init.config.scale=3") == [5, 3]
    assert isinstance(load_config(MODEL).settings.layers[0].init, ToyInit)


def test_nothing_else_is_printed_or_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(MODEL)
