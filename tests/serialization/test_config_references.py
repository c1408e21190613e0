"""`${a.b.c}` and `${env:NAME}` in configs."""

from __future__ import annotations

import pytest

from neon_optim.cli.preparation import read_config
from neon_optim.serialization import ConfigError, dump_config, load_config


def problems(text):
    with pytest.raises(ConfigError) as caught:
        load_config(text)
    return str(caught.value)


def test_a_reference_alone_stands_for_the_value_of_whatever_kind():
    config = load_config(
        """
        rate: 0.5
        common: {init: {type: Constant, config: {val: 2.0}}, sizes: [3, 4]}
        same: ${rate}
        layers:
        - {type: Linear, config: {nout: "${common.sizes[1]}", init: "${common.init}"}}
        - {type: Linear, config: {nout: "${common.sizes.-2}", init: "${layers[0].config.init}"}}
        optimizer: {type: Adam, config: {learning_rate: "${same}", beta_1: "${optimizer.config.learning_rate}"}}
        """
    )
    one, two = config.settings.layers
    assert (one.nout, two.nout, one.init.val, two.init.val) == (4, 3, 2.0, 2.0)
    assert one.init is not two.init
    assert (config.settings.optimizer.learning_rate, config.settings.optimizer.beta_1) == (0.5, 0.5)
    assert set(config) == {"layers", "optimizer"}


def test_merge_keys_and_anchors_may_name_references():
    config = load_config(
        """
        one: {learning_rate: 0.25}
        two: &two ${one}
        optimizer: {type: Adam, config: {<<: *two, beta_1: 0.5}}
        """
    )
    assert config["optimizer"]["config"] == {"beta_1": 0.5, "learning_rate": 0.25}


def test_references_within_a_text_become_part_of_it(monkeypatch):
    monkeypatch.setenv("PLACE", "here")
    text = "epochs: 3\ndeterministic: true\noptimizer: {type: Adam, config: {name: '%s'}}\n"
    for name, expected in (
        ("a-${epochs}-${deterministic}-${env:PLACE}", "a-3-true-here"),
        ("$${epochs} is ${epochs}", "${epochs} is 3"),
        ("$$${epochs}", "$${epochs}"),
        ("$ and {}", "$ and {}"),
    ):
        config = load_config(text % name)
        assert config.settings.optimizer.name == expected
        assert load_config(dump_config(config)).settings.optimizer.name == expected


@pytest.mark.parametrize(("given", "value"), [("0.5", 0.5), ("1e-3", 0.001), ("0x10", 16)])
def test_a_variable_alone_is_read_as_a_value(monkeypatch, given, value):
    monkeypatch.setenv("VALUE", given)
    config = load_config("optimizer: {type: Adam, config: {learning_rate: '${env:VALUE}'}}\nepochs: 2\n")
    assert config.settings.optimizer.learning_rate == value


def test_overrides_change_what_is_referred_to():
    text = "rate: 0.5\noptimizer: {type: Adam, config: {learning_rate: '${rate}'}}\n"
    assert load_config(text, ["rate=0.25"]).settings.optimizer.learning_rate == 0.25
    config = load_config(text, ["optimizer.config.beta_1=${rate}"])
    assert config.settings.optimizer.beta_1 == 0.5


def test_a_base_may_refer_to_what_others_say(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "optimizer: {type: Adam, config: {learning_rate: '${rate}'}}\nrate: 1\n"
    )
    (tmp_path / "model.yaml").write_text("extends: base.yaml\nrate: 0.125\n")
    assert load_config(tmp_path / "model.yaml").settings.optimizer.learning_rate == 0.125


def test_what_was_read_from_a_reference_is_told_where_it_is_defined():
    found = problems("rate: -3\noptimizer:\n  type: Adam\n  config:\n    learning_rate: ${rate}\n")
    assert found.startswith("<text>:1:7: optimizer.config.learning_rate must be a number > 0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: ${x.y}\nbatchsize: 2\n", "<text>:1:9: ${x.y}: there is no 'x' in the config"),
        ("epochs: ${batchsise}\nbatchsize: 2\n", "did you mean 'batchsize'?"),
        ("a: {b: 1}\nepochs: ${a.c}\n", "<text>:2:9: ${a.c}: there is no 'c' in a"),
        ("a: [1]\nepochs: ${a[1]}\n", "<text>:2:9: ${a[1]}: there is no '1' in a"),
        ("epochs: ${batchsize.x}\nbatchsize: 2\n", "there is no 'x' in batchsize"),
        (
            "epochs: ${env:NEON_OPTIM_NOT_SET}\nbatchsize: 2\n",
            "the environment variable NEON_OPTIM_NOT_SET is not set",
        ),
        ("epochs: ${env:}\nbatchsize: 2\n", "a reference is ${a.b.c} or ${env:NAME}, received ${env:}"),
        ("epochs: ${file:a}\nbatchsize: 2\n", "a reference is ${a.b.c} or ${env:NAME}, received ${file:a}"),
        ("epochs: ${}\nbatchsize: 2\n", "a reference is ${a.b.c} or ${env:NAME}, received ${}"),
        ("epochs: 'x${'\nbatchsize: 2\n", "a reference is ${a.b.c} or ${env:NAME}, received 'x${'"),
        ("epochs: ${epochs}\nbatchsize: 2\n", "<text>:1:9: ${epochs} leads back to itself"),
        ("epochs: ${batchsize}\nbatchsize: ${epochs}\n", "leads back to itself"),
        ("optimizer: {type: Adam, config: '${optimizer}'}\n", "${optimizer} leads back to itself"),
        ("a: {x: '${b}'}\nb: {y: '${a}'}\nepochs: 2\n", "leads back to itself"),
        (
            "optimizer: {type: Adam, config: {name: 'x${optimizer.type}${checkpoint}'}}\ncheckpoint: {}\n",
            "is no text",
        ),
        (
            "optimizer: {type: Adam, config: {learning_rate: ${epochs}}}\n",
            "quote a reference that stands within { } or",
        ),
        ("layers: [${epochs}]\n", 'quote a reference that stands within { } or [ ]: "${...}"'),
        ("".join(f"a{k}: '${{a{k + 1}}}'\n" for k in range(200)) + "a200: 3\n", "leads too far"),
    ],
)
def test_a_reference_that_leads_nowhere(text, message):
    assert message in problems(text)


def test_a_variable_that_is_no_value(monkeypatch):
    monkeypatch.setenv("NUMBER", "010")
    assert "the environment variable NUMBER: 010 is 8 in YAML 1.1" in problems(
        "epochs: ${env:NUMBER}\nbackend: cpu\n"
    )


def test_the_config_of_a_run_has_its_values(tmp_path):
    (tmp_path / "model.yaml").write_text(
        "rate: 0.5\nlayers: [{type: Linear, config: {nout: 2, init: Kaiming}}]\ncost: MeanSquared\n"
        "optimizer: {type: Adam, config: {learning_rate: '${rate}'}}\ndataset: digits\n"
    )
    config = read_config(str(tmp_path / "model.yaml"))
    assert config["optimizer"]["config"] == {"learning_rate": 0.5}
    assert "rate" not in config
