"""`extends`: a config that says only what is different from another."""

from __future__ import annotations

import pytest

from neon_optim.serialization import ConfigError, dump_config, load_config

BASE = """\
epochs: 10
init: &init {type: Gaussian, config: {scale: 0.01}}
layers:
- {type: Linear, config: {nout: 10, init: *init}}
- {type: Bias, config: {init: *init}}
cost: MeanSquared
optimizer:
  type: Adam
  config: {learning_rate: 0.01, beta_1: 0.8, schedule: {type: Exponential, config: {rate: 0.5}}}
dataset: {name: digits, validation: 0.3}
checkpoint: {every_steps: 5}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def load(folder, text, *overrides, name="model.yaml"):
    (folder / name).write_text(text)
    return load_config(folder / name, overrides)


def problems(folder, text, *overrides, name="model.yaml"):
    """The messages for a faulty config, with the names of files in the place of paths."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides, name=name)
    return str(caught.value).replace(f"{folder}/", "")


def test_mappings_are_merged_and_all_else_is_replaced(folder):
    config = load(
        folder,
        """
        extends: base.yaml
        epochs: 3
        optimizer: {config: {learning_rate: 0.5, schedule: null}}
        checkpoint: {keep_last: 1}
        layers: [{type: Linear, config: {nout: 3, init: Kaiming}}]
        """,
    )
    assert dict(config) == {
        "epochs": 3,
        "layers": [{"type": "Linear", "config": {"nout": 3, "init": "Kaiming"}}],
        "cost": "MeanSquared",
        "optimizer": {"type": "Adam", "config": {"learning_rate": 0.5, "beta_1": 0.8, "schedule": None}},
        "dataset": {"name": "digits", "validation": 0.3},
        "checkpoint": {"every_steps": 5, "keep_last": 1},
    }
    assert config.settings.optimizer.beta_1 == 0.8
    assert dict(load_config(dump_config(config))) == dict(config)


def test_another_class_takes_no_arguments_over(folder):
    text = "extends: base.yaml\noptimizer: {type: SGD, config: {learning_rate: 1}}\ndataset: {type: mnist}\n"
    config = load(folder, text)
    assert config["optimizer"] == {"type": "SGD", "config": {"learning_rate": 1}}
    assert config["dataset"] == {"type": "mnist"}
    same = load(
        folder,
        "extends: base.yaml\noptimizer: {type: Adam, config: {beta_2: 0.5}}\ndataset: {split_seed: 1}\n",
    )
    assert same["optimizer"]["config"]["learning_rate"] == 0.01
    assert same["dataset"] == {"name": "digits", "validation": 0.3, "split_seed": 1}


def test_anchors_name_what_the_whole_config_says(folder):
    config = load(folder, "extends: base.yaml\ninit: {config: {scale: 0.5}}\n")
    assert [layer.init.scale for layer in config.settings.layers] == [0.5, 0.5]
    config = load(folder, "extends: base.yaml\ninit: {type: Constant, config: {val: 2}}\n")
    assert [layer.init.val for layer in config.settings.layers] == [2, 2]
    text = """
        extends: base.yaml
        init: &init {config: {loc: 3.0}}
        layers: [{type: Linear, config: {nout: 4, init: *init}}, {type: Bias, config: {init: {<<: *init}}}]
        """
    config = load(folder, text)
    assert [(layer.init.loc, layer.init.scale) for layer in config.settings.layers] == [(3.0, 0.01)] * 2


def test_merge_keys_count_behind_what_stands_beside_them(folder):
    text = """
        extends: base.yaml
        rates: &rates {learning_rate: 0.25, beta_1: 0.5}
        optimizer: {config: {<<: *rates, beta_1: 0.75}}
        """
    config = load(folder, text)
    assert (config.settings.optimizer.learning_rate, config.settings.optimizer.beta_1) == (0.25, 0.75)


def test_several_files_are_merged_in_order_and_found_from_the_file_that_names_them(folder):
    (folder / "parts").mkdir()
    (folder / "parts" / "fast.yaml").write_text("extends: more.yaml\nepochs: 2\n")
    (folder / "parts" / "more.yaml").write_text("epochs: 1\nbatchsize: 7\n")
    config = load(folder, "extends: [base.yaml, parts/fast.yaml]\nrng_seed: 5\n")
    assert (config["epochs"], config["batchsize"], config["rng_seed"], config["cost"]) == (
        2,
        7,
        5,
        "MeanSquared",
    )


def test_overrides_come_last(folder):
    config = load(
        folder,
        "extends: base.yaml\nepochs: 2\n",
        "epochs=3",
        "init.config.scale=2.0",
        "dataset.validation=0.5",
    )
    assert (config["epochs"], config["dataset"]["validation"]) == (3, 0.5)
    assert config.settings.layers[1].init.scale == 2.0


def test_a_mistake_is_told_in_the_file_where_it_is(folder):
    (folder / "base.yaml").write_text(BASE.replace("beta_1: 0.8", "beta_1: 8"))
    assert problems(folder, "# mine\nextends: base.yaml\nepochs: 0\n") == (
        "2 problems:\n"
        "  base.yaml:9:41: optimizer.config.beta_1 must be a number in [0, 1) or a schedule, received 8\n"
        "     9 |   config: {learning_rate: 0.01, beta_1: 8, schedule: {type: Exponen...\n"
        "       |                                         ^\n"
        "  model.yaml:3:9: epochs must be an integer >= 1, received 0\n"
        "     3 | epochs: 0\n"
        "       |         ^"
    )
    assert "model.yaml:2:22: optimizer.config.rate is unknown" not in problems(
        folder, "extends: base.yaml\nx: 1\n"
    )


def test_where_a_value_stands_is_known(folder):
    config = load(folder, "extends: base.yaml\n\nepochs: 2\n")
    assert str(config.position("epochs")).endswith("model.yaml:3:9")
    assert str(config.position("optimizer", "config", "beta_1")).endswith("base.yaml:9:41")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bas.yaml", "model.yaml:1:10: extends: bas.yaml: there is no such file; did you mean 'base.yaml'?"),
        ("other/base.yaml", "model.yaml:1:10: extends: other/base.yaml: there is no such file"),
        ("model.yaml", "model.yaml:1:10: extends: by 'model.yaml' this file extends itself"),
        ("3", "model.yaml:1:10: extends must be the path of a YAML file or a list of such, received 3"),
        ("[base.yaml, {a: 1}]", "model.yaml:1:22: extends must be the path of a YAML file"),
        ("''", "extends must be the path of a YAML file or a list of such, received ''"),
        (".", "this is a folder, not a YAML file"),
        ("broken.yaml", "broken.yaml:1:1: "),
        ("list.yaml", "list.yaml:1:1: a config is a mapping of settings (key: value), received a list"),
        ("binary.yaml", "binary.yaml:1:1: this is no text file"),
    ],
)
def test_what_cannot_be_extended(folder, value, message):
    (folder / "broken.yaml").write_text("epochs\nbatchsize: 3\n")
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert message in problems(folder, f"extends: {value}\nepochs: 1\n")


def test_circles_and_crowds_are_refused(folder):
    (folder / "one.yaml").write_text("extends: two.yaml\n")
    (folder / "two.yaml").write_text("extends: one.yaml\n")
    assert "two.yaml:1:10: extends: by 'one.yaml' this file extends itself" in problems(
        folder, "extends: one.yaml\n"
    )
    for number in range(7):
        (folder / f"{number}.yaml").write_text(
            f"extends: [{number + 1}.yaml, {number + 1}.yaml]\nepochs: 2\n"
        )
    (folder / "7.yaml").write_text("epochs: 3\n")
    assert "more than 50 files are extended" in problems(folder, "extends: 0.yaml\n")


def test_a_key_that_stands_twice_is_refused(folder):
    found = problems(folder, "extends: base.yaml\nepochs: 1\nepochs: 2\n")
    assert "model.yaml:3:1: the key 'epochs' stands twice, first at line 2" in found


def test_a_text_extends_files_of_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_config("extends: base.yaml\nepochs: 4\n")["cost"] == "MeanSquared"
