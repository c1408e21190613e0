"""`neon-optim show`: settings with their places, layers, optimizers, rates and memory, without training."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from runs import CONFIG

from neon_optim import NervanaObject
from neon_optim.cli.app import cli
from neon_optim.cli.chart import chart

OPTIMIZERS = """\
optimizer:
  type: EMA
  config:
    optimizer:
      type: MultiOptimizer
      config:
        optimizer_mapping:
          Affine_1: {type: RMSProp, config: {learning_rate: {type: Cosine, config: {length: 4}}}}
          default:
            type: AdamW
            config: {learning_rate: 0.5, wdecay: 0.25, no_decay: [Bias]}
"""


def lines_of(text, begin):
    """The lines of a section."""
    return text[text.index(begin) :].partition("\n\n")[0].splitlines()


@pytest.fixture
def several(here):
    """A config with several optimizers."""
    (here / "model.yaml").write_text(CONFIG.partition("optimizer:")[0] + OPTIMIZERS)


def test_every_setting_has_its_place(run, here):
    code, out, err = run("show", "model.yaml", "--set", "epochs=3", "--set", "layers[1].config.nout=8")
    assert (code, err) == (0, "")
    shown = lines_of(out, "settings")
    places = {tuple(line.split()[:-1]): line.split()[-1] for line in shown if "default:" not in line}
    assert places["epochs", "3"] == "--set"
    assert places["nout", "8"] == "--set"
    assert places["batchsize", "64"] == "model.yaml:3"
    assert places["learning_rate", "0.01"] == "model.yaml:16"
    assert places["step_config", "[2]"] == "model.yaml:16"
    assert places["[1]", "Affine"] == "model.yaml:9"
    assert "beta_1 0.9, beta_2 0.999" in " ".join(" ".join(shown).split())
    assert "device_id 0, datatype float32" in " ".join(" ".join(shown).split())


def test_layers_have_their_shapes_and_numbers(run):
    assert lines_of(run("show", "model.yaml")[1], "layer  ") == [
        "layer               class       gives      parameters",
        "  (data)                        1 x 8 x 8",
        "  Dropout_0         Dropout     1 x 8 x 8",
        "  Affine_0          Linear      16              1,024",
        "  Affine_0_bias     Bias        16                 16",
        "  Affine_0_Rectlin  Activation  16",
        "  Affine_1          Linear      10                160",
        "  Affine_1_Softmax  Activation  10",
        "                                in all          1,200",
    ]


def test_each_parameter_has_its_optimizer_rate_decay_and_schedule(run, several):
    shown = lines_of(run("show", "model.yaml")[1], "parameter  ")
    assert [line.split() for line in shown] == [
        ["parameter", "shape", "optimizer", "rate", "decay", "schedule"],
        ["Affine_0/W", "16", "x", "64", "EMA(AdamW)", "0.5", "0.25", "decoupled", "-"],
        ["Affine_0_bias/W", "16", "x", "1", "EMA(AdamW)", "0.5", "-", "-"],
        ["Affine_1/W", "10", "x", "16", "EMA(RMSProp)", "1", "to", "0.1464", "-", "Cosine"],
    ]


def test_the_rate_is_a_curve(run, here):
    shown = lines_of(run("show", "model.yaml")[1], "learning rate over the run")
    assert shown[1] == "  Adam: Schedule(step_config=[2], change=0.5)"
    assert shown[2].startswith("  0.01 |")
    begin = shown[2].index("|") + 1
    assert shown[2][begin:] == 30 * "█"
    assert shown[5][begin:] == 60 * "█"
    assert shown[-1].split() == ["0", "4", "epochs,", "92", "steps"]
    ascii_only = CliRunner(charset="ascii").invoke(cli, ["show", "model.yaml"]).stdout
    assert ascii_only.isascii()
    assert 30 * "#" in ascii_only


def test_memory_is_told(run):
    shown = [line.split() for line in lines_of(run("show", "model.yaml")[1], "memory on the device")[1:]]
    assert shown[0] == ["parameters", "4.7", "KiB"]
    assert shown[2] == ["states", "of", "the", "optimizer", "9.4", "KiB"]
    assert shown[-1][:2] == ["in", "all"]


def test_no_line_is_wider_than_80_columns(run, several, here):
    text = (here / "model.yaml").read_text().replace("nout: 16", f"nout: 16, name: {'a_long_name_' * 4}")
    (here / "a_config_with_a_name_that_is_longer_than_most.yaml").write_text(text)
    out = run("show", "a_config_with_a_name_that_is_longer_than_most.yaml")[1]
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_for_programs(run, several):
    code, out, _ = run("show", "--json", "model.yaml", "--set", "optimizer.config.decay=0.5")
    found = json.loads(out)
    assert code == 0
    settings = {setting["path"]: (setting["value"], setting["from"]) for setting in found["settings"]}
    mapping = "optimizer.config.optimizer.config.optimizer_mapping"
    assert settings["epochs"] == (4, "model.yaml:2:9")
    assert settings["device_id"] == (0, "default")
    assert settings["optimizer.config.decay"] == (0.5, "--set optimizer.config.decay=0.5")
    assert settings[f"{mapping}.default"][0] == "AdamW"
    assert settings[f"{mapping}.default.config.wdecay"][0] == 0.25
    assert settings[f"{mapping}.default.config.epsilon"] == (1e-8, "default")
    weights, bias, last = found["parameters"]
    assert (weights["name"], weights["shape"], weights["decays"], weights["states"]) == (
        *("Affine_0/W", [16, 64], True),
        ["m", "v", "average"],
    )
    assert (bias["optimizer"], bias["decays"], last["optimizer"]) == (0, False, 1)
    rates = found["optimizers"][1]["rates"]
    assert (rates[0], rates[-1]["step"], rates[-1]["epoch"]) == ({"epoch": 0, "step": 0, "rate": 1.0}, 91, 3)
    assert found["memory"]["parameters"] == 4 * 1200
    assert found["memory"]["total"] == sum(value for key, value in found["memory"].items() if key != "total")


def test_what_cannot_be_trained_is_shown_as_far_as_it_goes(run, here):
    (here / "model.yaml").write_text(CONFIG.replace("nout: 10", "nout: 11"))
    code, out, err = run("show", "model.yaml")
    assert code == 2
    assert out.startswith("settings")
    assert "the last layer has 11 outputs" in err
    code, out, err = run("show", "--json", "model.yaml")
    assert (code, out) == (2, "")
    assert "the last layer has 11 outputs" in err


def test_nothing_is_left_behind(run, here):
    run("show", "model.yaml")
    assert [path.name for path in here.iterdir()] == ["model.yaml"]
    assert NervanaObject.be is None


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0.0], ["  0 |", "    |", "  0 +-", "     0 1"]),
        ([2.0, 2.0], ["  2 |██", "    |██", "  0 +--", "     0 1"]),
        ([1.0, 0.5, 0.0], ["  1 |█", "    |██", "  0 +---", "     0 1"]),
    ],
)
def test_charts_of_odd_values(values, lines):
    assert chart(values, ("0", "1"), height=2) == lines


def test_a_steep_curve_is_logarithmic():
    lines = chart([1.0, 0.1, 0.01], ("0", "1"), height=2)
    assert lines[:3] == ["     1 |█", "       |██▁", "  0.01 +---"]
    assert "logarithmic" in lines[3]
