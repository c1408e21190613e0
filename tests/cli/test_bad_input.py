"""Every mistake of a user's: exit code 2, one clear message on standard error, and nothing lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from runs import CONFIG, ROOT, final_arrays, log_of

from neon_optim import cleanup_backend, gen_backend
from neon_optim.cli.app import cli
from neon_optim.errors import BackendError
from neon_optim.model.datasets import Digits
from neon_optim.serialization import durable
from neon_optim.serialization.checkpoint.manager import CheckpointManager


def changed(old, new):
    assert old in CONFIG
    return CONFIG.replace(old, new)


FILES = {
    "empty": (b"", "the config is empty"),
    "binary": (bytes(range(256)), "no text file in UTF-8"),
    "tabs": (b"layers:\n\t- type: Linear\n", "tab"),
    "a list": (b"- epochs: 3\n", "a config is a mapping of settings (key: value), received a list"),
    "no optimizer": (changed("optimizer:", "optimiser:"), "did you mean 'optimizer'?"),
    "unknown optimizer": (
        changed("type: Adam", "type: Adamm"),
        "unknown optimizer 'Adamm'; did you mean 'Adam'?",
    ),
    "misspelt argument": (changed("learning_rate", "learning_rat"), "did you mean 'learning_rate'?"),
    "negative rate": (changed("0.01", "-0.01"), "learning_rate must be a number > 0"),
    "NaN": (changed("0.01", ".nan"), "learning_rate must be"),
    "text for a number": (changed("0.01", "0.01x"), "received '0.01x'"),
    "epochs 0": (changed("epochs: 4", "epochs: 0"), "epochs must be an integer >= 1, received 0"),
    "large batch": (
        changed("batchsize: 64", "batchsize: 5000"),
        "the batch size (5000) is above the number of training samples (1438)",
    ),
    "other outputs": (
        changed("nout: 10", "nout: 11"),
        "the last layer has 11 outputs, but the targets of 'train' have 10",
    ),
    "cost of another activation": (
        changed("{type: Softmax}", "{type: Logistic, config: {shortcut: true}}"),
        "Logistic(shortcut=True)",
    ),
    "a parameter for two optimizers": (
        CONFIG.partition("optimizer:")[0] + "optimizer: {type: MultiOptimizer, config: {optimizer_mapping: "
        "{default: Adam, 'Lin*': Adam, '*/W': Adam}}}\n",
        "the patterns 'Lin*' and '*/W' of optimizer_mapping both match",
    ),
    "unknown backend": (changed("engine: numpy", "backend: tpu"), "backend must be one of"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_config_that_cannot_be_used(run, here, name):
    content, message = FILES[name]
    (here / "model.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = run("train", "model.yaml", "-s", "out")
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert message in err
    assert "Traceback" not in err
    assert not (here / "out").exists()
    code, out, err = run("validate", "model.yaml")
    assert code == 2
    assert message in out
    assert "Traceback" not in err


def test_what_shows_when_objects_meet_is_told_at_once_with_its_places(run, here, monkeypatch):
    def missing(*arguments, **options):
        raise BackendError("the GPU backend needs PyCUDA, which is not installed")

    text = changed("nout: 10", "nout: 11").replace("engine: numpy", "backend: gpu").replace("64", "5000")
    text = text.replace("{type: Softmax}", "{type: Logistic, config: {shortcut: true}}")
    (here / "model.yaml").write_text(text)
    monkeypatch.setattr("neon_optim.backends.gen_backend", missing)
    code, out, err = run("train", "model.yaml", "-s", "out")
    assert (code, out) == (2, "")
    assert [line.split(":")[:4] for line in err.splitlines() if line.startswith("  model.yaml")] == [
        ["  model.yaml", "1", "10", " backend"],
        ["  model.yaml", "3", "12", " batchsize"],
        ["  model.yaml", "12", "18", " layers[2].config.nout"],
        ["  model.yaml", "12", "99", " layers[2].config.activation.config.shortcut"],
    ]
    assert not (here / "out").exists()
    assert "-z 2000: batchsize: the batch size (2000)" in run("train", "model.yaml", "-z", 2000)[2]


@pytest.mark.parametrize(
    ("share", "left"), [("0.001", "to validate with"), ("0.9999", "to train on")], ids=["none", "all"]
)
def test_a_share_for_validation_that_leaves_nothing(run, here, share, left):
    (here / "model.yaml").write_text(changed("{name: digits}", f"{{name: digits, validation: {share}}}"))
    code, _, err = run("train", "model.yaml")
    assert (code, err.splitlines()[0]) == (
        2,
        f"Error: model.yaml:5:37: dataset.validation: a share of {share} for validation leaves no sample {left}",
    )


def test_a_datatype_that_needs_a_package(run, here, monkeypatch):
    (here / "model.yaml").write_text("datatype: bfloat16\n" + CONFIG)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    code, _, err = run("train", "model.yaml")
    assert (code, err.partition(" needs")[0]) == (2, "Error: model.yaml:1:11: datatype: bfloat16")


def test_positions_are_named(run, here):
    (here / "model.yaml").write_text(changed("0.01", "-0.01"))
    line = CONFIG.splitlines().index("optimizer:") + 3
    assert f"model.yaml:{line}:" in run("train", "model.yaml")[2]


def test_the_line_is_shown_and_coloured_on_a_terminal(run, here, monkeypatch):
    (here / "model.yaml").write_text(changed("0.01", "-0.01"))
    shown = "  config: {learning_rate: -0.01, schedule: {type: Schedule, config:..."
    assert run("train", "model.yaml")[2].splitlines()[1:] == [
        f"  16 | {shown}",
        f"     | {26 * ' '}^~~~~",
    ]
    monkeypatch.setattr("neon_optim.cli.output.columns", lambda stream: 40)
    result = CliRunner().invoke(cli, ["train", "model.yaml"], color=True)
    assert result.stderr.splitlines()[-2:] == [
        f"\x1b[34m  16 | \x1b[0m{shown}",
        f"\x1b[34m     | \x1b[0m{26 * ' '}\x1b[31m\x1b[1m^~~~~\x1b[0m",
    ]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(cli, ["train", "model.yaml"], color=True).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.yaml"], "missing.yaml: there is no such file"),
        ([], "Missing argument 'CONFIG...'"),
        (["model.yaml", "--epoch", "3", "--bogus"], "No such option"),
        (["model.yaml", "-e", "0"], "Error: -e 0: epochs must be an integer >= 1, received 0"),
        (["model.yaml", "-e", "many"], "epochs must be an integer >= 1, received 'many'"),
        (["model.yaml", "-z", "-1"], "batchsize must be an integer >= 1, received -1"),
        (["model.yaml", "-b", "tpu"], "backend must be one of"),
        (["model.yaml", "-r", "-5"], "rng_seed must be an integer >= 0"),
        (["model.yaml", "-r", "4294967296"], "rng_seed must be an integer from 0 to 4294967295"),
        (["model.yaml", "-r", "1" + 40 * "0"], "rng_seed must be an integer from 0 to 4294967295"),
        (["model.yaml", "--set", "epochs"], "an override is path=value"),
        (["model.yaml", "--set", "dataset.name=imagenet"], "unknown dataset 'imagenet'"),
    ],
)
def test_a_command_line_that_cannot_be_used(run, here, arguments, message):
    code, out, err = run("train", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (here / "runs").exists()


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.0, "1", [1, 2]])
def test_a_seed_is_an_integer_of_32_bits(seed):
    with pytest.raises(BackendError, match="rng_seed must be an integer from 0 to 4294967295"):
        gen_backend("cpu", rng_seed=seed)


def test_the_numbers_of_a_seed_are_those_of_numpy():
    for seed in (0, 1, 2**32 - 1, np.uint32(7)):
        be = gen_backend("cpu", rng_seed=seed)
        assert np.array_equal(be.rng.random_sample(9), np.random.RandomState(seed).random_sample(9))
    cleanup_backend()


def test_without_mnist_the_message_names_the_digits(run, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("NEON_OPTIM_DATA", raising=False)
    code, _, err = run("train", "model.yaml", "--set", "dataset.name=mnist")
    assert code == 2
    assert "--set dataset.name=digits" in err
    assert err.startswith("Error: model.yaml:5:10: dataset: the MNIST files")


def test_a_folder_that_holds_a_run_is_left_alone(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    before = final_arrays("out"), log_of("out")
    code, _, err = run("train", "model.yaml", "-s", "out", "-e", 1)
    assert code == 2
    assert "the folder 'out' already holds a run: add --resume to continue it" in err
    assert (final_arrays("out"), log_of("out")) == before


def test_a_run_is_not_continued_with_other_settings(run):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    before = final_arrays("out")
    code, _, err = run("train", "model.yaml", "-s", "out", "--resume", "-z", 32, "-e", 2)
    assert code == 2
    assert "batchsize: 64 in the run, 32 now" in err
    assert final_arrays("out") == before


def test_a_run_is_not_continued_on_other_data(run, monkeypatch):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    before = final_arrays("out"), log_of("out")
    load = Digits.load

    def changed(self):
        (X, y), valid = load(self)
        X = X.copy()
        pixels = X.reshape(len(X), -1)
        pixels[7, 5] = np.nextafter(pixels[7, 5], 2, dtype=X.dtype)
        return (X, y), valid

    with monkeypatch.context() as patch:
        patch.setattr(Digits, "load", changed)
        code, _, err = run("train", "model.yaml", "-s", "out", "--resume", "-e", 2)
    assert code == 2
    assert "was trained on other data" in err
    assert (final_arrays("out"), log_of("out")) == before
    assert run("train", "model.yaml", "-s", "out", "--resume", "-e", 2)[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(run, here):
    (here / "locked").mkdir(mode=0o500)
    code, _, err = run("train", "model.yaml", "-s", "locked/out")
    assert code == 2
    assert "the folder 'locked/out' cannot be created: Permission denied" in err


def test_a_folder_that_the_system_refuses(run, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    code, _, err = run("train", "model.yaml", "-s", "out")
    assert code == 2
    assert "the folder 'out' cannot be created: Permission denied" in err


def test_a_folder_that_is_a_file(run, here):
    (here / "out").write_text("mine")
    code, _, err = run("train", "model.yaml", "-s", "out")
    assert code == 2
    assert "the folder 'out' cannot be created: File exists" in err
    assert (here / "out").read_text() == "mine"


def test_a_folder_below_a_device(run):
    code, _, err = run("train", "model.yaml", "-s", "/dev/null/out")
    assert code == 2
    assert "'/dev/null/out' cannot be created" in err


def test_a_checkpoint_of_another_model(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    run("train", "model.yaml", "-s", "wide", "-e", 1, "--set", "layers[1].config.nout=20")
    shutil.rmtree(here / "out/checkpoints")
    shutil.copytree(here / "wide/checkpoints", here / "out/checkpoints")
    code, _, err = run("train", "model.yaml", "-s", "out", "--resume", "-e", 2)
    assert code == 2
    assert "does not fit; nothing was changed" in err
    assert "Affine_0/W: shape (20, 64) in the file, (16, 64) here" in err


def test_a_truncated_checkpoint_is_passed_over_and_named(run):
    run("train", "model.yaml", "-s", "out")
    whole = final_arrays("out")
    newest = CheckpointManager("out/checkpoints").latest()
    os.truncate(newest, os.path.getsize(newest) // 2)
    code, out, err = run("train", "model.yaml", "-s", "out", "--resume")
    assert code == 0
    assert err.startswith("Warning: a damaged checkpoint is passed over")
    assert newest.rpartition("/")[2] in err
    assert "Resumed" in out
    assert final_arrays("out") == whole


def test_where_every_checkpoint_is_truncated_nothing_is_started_anew(run):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    manager = CheckpointManager("out/checkpoints")
    for step in manager.steps():
        os.truncate(manager.path(step), 100)
    code, _, err = run("train", "model.yaml", "-s", "out", "-e", 1, "--resume")
    assert code == 2
    assert "no checkpoint in" in err
    assert len(log_of("out")) == 24


def test_a_full_disk_loses_nothing(run, monkeypatch):
    run("train", "model.yaml", "-s", "whole")
    whole, write = final_arrays("whole"), durable._uninterrupted
    written = []

    def full_after_a_while(call, *arguments):
        if call is os.write:
            written.append(len(arguments[1]))
            if sum(written) > 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(call, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_uninterrupted", full_after_a_while)
        code, _, err = run("train", "model.yaml", "-s", "out")
    assert code == 2
    assert "No space left on device (the disk is full: free some space)" in err
    saved = CheckpointManager("out/checkpoints").latest()
    assert saved is not None
    code, out, _ = run("train", "model.yaml", "-s", "out", "--resume")
    assert (code, f"from {os.path.relpath(saved)}" in out) == (0, True)
    assert final_arrays("out") == whole
    assert log_of("out") == log_of("whole")


def test_the_loop_of_the_training_page_ends_on_a_mistake_and_on_success(here):
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^until neon-optim .*$", page, re.MULTILINE)
    (here / "configs").mkdir()
    command = f'neon-optim() {{ echo run; {sys.executable} -m neon_optim "$@"; }}; {line}'
    for text, told in ((changed("0.01", "-0.01"), "must be a number > 0"), (CONFIG, "")):
        (here / "configs/digits_mlp.yaml").write_text(text)
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert told in done.stderr
        assert done.stdout.count("run\n") == 1


def test_an_unforeseen_error_is_no_mistake_of_the_users(run, monkeypatch):
    from neon_optim.model import Model

    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(Model, "initialize", broken)
    with pytest.raises(ZeroDivisionError):
        run("train", "model.yaml")
