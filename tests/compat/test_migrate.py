"""What `neon-optim migrate` says of scripts, configs and pickles, and what the page of neon's names says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from neon_optim.cli.app import cli
from neon_optim.compat import public_names
from neon_optim.compat.migrate import examine
from neon_optim.errors import CheckpointError, ConfigError
from neon_optim.serialization import load_config

DATA = Path(__file__).parents[1] / "data"

SCRIPT = """
import neon
from neon import logger as neon_logger
from neon.data import MNIST, text
from neon.optimizers import Adam
import neon.visualizations.figure as figure
from neon.layers import Nothing
from neon_optim import gen_backend

neon_logger.display(neon.__version__)
figure.cost_fig()
text.PTB(5)
Adam()
"""


@pytest.fixture
def write(tmp_path):
    def at(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return at


@pytest.fixture
def run():
    def call(*arguments):
        result = CliRunner().invoke(cli, ["migrate", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


def test_a_script(write):
    report = examine(write("s.py", SCRIPT))
    found = {finding.what: (finding.status, finding.line) for finding in report.findings}
    assert found == {
        "neon.logger": ("here", 3),
        "neon.data.MNIST": ("differs", 4),
        "neon.optimizers.Adam": ("here", 5),
        "neon.layers.Nothing": ("absent", 7),
        "neon.__version__": ("here", 10),
        "neon.visualizations.figure.cost_fig": ("absent", 11),
        "neon.data.text.PTB": ("here", 12),
    }
    notes = {finding.what: finding.note for finding in report.findings}
    assert notes["neon.layers.Nothing"] == "no public name of neon 2.6"
    assert "never downloaded" in notes["neon.data.MNIST"]
    assert report.commands == []


def test_a_script_that_runs_as_it_is(write, run):
    path = write("s.py", "from neon.optimizers import *\nfrom neon.layers import Linear\n")
    report = examine(path)
    assert len(report.findings) == 1 + len(public_names.names_of("neon.optimizers"))
    assert report.commands == [f"python -m neon_optim.compat {path}"]
    code, out, _ = run(path)
    assert code == 0
    assert "  2: neon.layers.Linear → neon_optim.model.Linear\n" in out
    assert out.endswith(f"As it is:\n  python -m neon_optim.compat {path}\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.py", "print 'two'", "not Python of version 3"),
        ("m.yaml", "epochs: 0\n", "epochs must be an integer >= 1"),
        ("m.bin", "PK\x03\x04", "a script, a YAML config or a pickle of neon's is due"),
    ],
)
def test_what_cannot_be_read(write, run, name, text, said):
    path = write(name, text)
    with pytest.raises(ConfigError, match=said):
        examine(path)
    code, _, err = run(path)
    assert code == 2
    assert said in err


def test_a_file_that_is_not_there(run):
    assert run("nowhere.py")[0] == 2


NEON_YAML = """
backend: mkl
wt_init: &init {type: neon.initializers.initializer.Gaussian, config: {scale: 0.01}}
layers:
- {type: neon.layers.layer.Linear, config: {nout: 10, init: *init, name: Linear_0}}
- {type: Activation, config: {transform: {type: Logistic, config: {shortcut: true}}}}
cost: CrossEntropyBinary
optimizer: {type: neon.optimizers.GradientDescentMomentum, config: {learning_rate: 0.1, momentum_coef: 0.9}}
dataset: {name: mnist}
"""


def test_a_config(write, run, tmp_path):
    path = write("m.yaml", NEON_YAML)
    report = examine(path)
    assert report.commands == [f"neon-optim train {path}"]
    assert [f.what for f in report.findings if f.status == "differs"] == ["backend: mkl", "dataset: mnist"]
    code, out, _ = run(path, "-o", tmp_path / "new.yaml")
    assert code == 0
    assert "neon-optim train" in out
    new = load_config(tmp_path / "new.yaml")
    assert new["backend"] == "cpu"
    assert new["layers"][0] == {
        "type": "Linear",
        "config": {"nout": 10, "init": {"type": "Gaussian", "config": {"scale": 0.01}}},
    }
    assert type(new.settings.optimizer) is type(load_config(path).settings.optimizer)


def test_a_pickle(run):
    report = examine(DATA / "neon_mnist_mlp.p")
    assert report.commands[0].startswith("neon-optim convert ")
    assert report.absent == []
    code, out, _ = run(DATA / "neon_mnist_mlp.p")
    assert code == 0
    config = load_config(out.partition("As a config:\n\n")[2])
    assert len(config.settings.layers) == 4
    assert config.settings.optimizer is not None


def test_a_pickle_of_something_else(tmp_path, run):
    (tmp_path / "x.p").write_bytes(b"\x80\x02K\x01.")
    with pytest.raises(CheckpointError, match="not a checkpoint of neon"):
        examine(tmp_path / "x.p")
    assert run(tmp_path / "x.p")[0] == 2


def test_a_script_has_no_config(write, run):
    code, _, err = run(write("s.py", "import neon"), "-o", "x.yaml")
    assert code == 2
    assert "describes no model" in err


def test_what_is_said_of_names_is_said_of_names_of_neons():
    known = {f"{module}.{name}" for module, names in public_names.NAMES.items() for name in names.split()}
    assert set(public_names.DIFFERS) <= known
    assert set(public_names.MODERN) <= known
    for begin in public_names.ABSENT:
        assert any(f"{full}.".startswith(f"{begin}.") for full in known)


def test_modern_forms_exist():
    for module in public_names.modules():
        for name in public_names.names_of(module):
            form = public_names.modern_form(module, name).split(",")[0]
            if form.startswith("neon_optim."):
                home, _, attribute = form.rpartition(".")
                assert hasattr(importlib.import_module(home), attribute), form


def test_every_name_of_neons_has_its_standing():
    standings = [
        (f"{module}.{name}", *public_names.standing(module, name))
        for module in public_names.modules()
        for name in public_names.names_of(module)
    ]
    assert len(standings) > 350
    assert [full for full, status, note in standings if status == "absent" and not note] == []
