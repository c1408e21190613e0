"""The folder of a run: each run gets its own, and it is continued as what it was."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path

import pytest
from runs import final_arrays, log_of

from neon_optim.cli import run_folder
from neon_optim.cli.run_folder import RunFolder
from neon_optim.cli.same_settings import differences
from neon_optim.errors import RunError
from neon_optim.serialization import load_config, save_checkpoint
from neon_optim.serialization.checkpoint.manager import CheckpointManager


def test_runs_that_start_together_get_folders_of_their_own(start, here):
    processes = [start("train", "model.yaml", "-e", 1, "-r", seed) for seed in range(1, 7)]
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, ends
    folders = sorted(path.name for path in (here / "runs").iterdir())
    assert folders == [f"model-{number}" for number in range(1, 7)]
    seeds = [load_config(f"runs/{folder}/config.yaml").settings.rng_seed for folder in folders]
    assert sorted(seeds) == [1, 2, 3, 4, 5, 6]
    for folder, seed in zip(folders, seeds, strict=True):
        assert f"folder {os.path.join('runs', folder)}\n" in ends[seed - 1][0]


def test_a_number_is_taken_when_the_folder_is_locked(here):
    folders = [RunFolder.numbered("model.yaml") for _ in range(3)]
    with folders[0].locked(), folders[1].locked():
        assert [folder.path.name for folder in folders[:2]] == ["model-1", "model-2"]
        assert RunFolder.last("model.yaml").path.name == "model-2"
        with pytest.raises(RunError, match="another process is training in"), folders[1].locked():
            pass


def test_a_number_that_somebody_resumes_meanwhile_is_left_to_him(here, monkeypatch):
    mkdir, other = Path.mkdir, RunFolder("runs/model-1").locked()

    def with_another(self, *arguments, **options):
        mkdir(self, *arguments, **options)
        if self.name == "model-1" and not options:  # between our mkdir and our lock
            other.__enter__()

    monkeypatch.setattr(Path, "mkdir", with_another)
    with RunFolder.numbered("model.yaml").locked():
        assert sorted(os.listdir("runs")) == ["model-1", "model-2"]
    other.__exit__(None, None, None)


def test_a_folder_that_is_not_listed_is_stepped_over(here, monkeypatch):
    """On a disk that takes MODEL-1 and model-1 for the same name."""
    (here / "runs/model-1").mkdir(parents=True)
    monkeypatch.setattr(run_folder, "_numbers", lambda stem: [])
    folder = RunFolder.numbered("model.yaml")
    with folder.locked():
        assert folder.path.name == "model-2"


def test_a_folder_of_runs_that_cannot_be_read(run, monkeypatch):
    listdir = os.listdir

    def refused(path="."):
        if str(path) == "runs":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    code, _, err = run("train", "model.yaml")
    assert (code, err) == (
        2,
        "Error: the folder 'runs' cannot be read: Permission denied; give a folder with -s\n",
    )


def test_where_runs_is_a_file(run, here):
    (here / "runs").write_text("mine")
    code, _, err = run("train", "model.yaml")
    assert code == 2
    assert "cannot be created: File exists" in err


def test_a_stopped_run_names_its_own_folder(start, here):
    process = start("train", "model.yaml", "-e", 4000)
    while "epoch    1/4000" not in process.stdout.readline():
        pass
    run = start("train", "model.yaml", "-e", 1)  # a later one, which --resume alone would take
    run.communicate(timeout=60)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert err.endswith(
        f"neon-optim train model.yaml -e 4000 -s {os.path.join('runs', 'model-1')} --resume\n"
    )


# --- settings ---


def seedless(here):
    path = here / "model.yaml"
    path.write_text(path.read_text().replace("rng_seed: 3\n", ""))


def test_without_its_config_a_run_goes_on_with_the_settings_of_its_checkpoint(run, here):
    seedless(here)
    run("train", "model.yaml", "-s", "whole", "-e", 2)
    shutil.copytree("whole", "parts")
    manager = CheckpointManager("parts/checkpoints")
    for step in manager.steps():
        if step > 35:
            os.unlink(manager.path(step))
    os.unlink("parts/config.yaml")
    code, _, err = run("train", "model.yaml", "-s", "parts", "-e", 2, "--resume", "-z", 32)
    assert code == 2
    assert "batchsize: 64 in the run, 32 now" in err
    assert "config.yaml" not in err
    assert run("train", "model.yaml", "-s", "parts", "-e", 2, "--resume")[0] == 0
    assert load_config("parts/config.yaml") == load_config("whole/config.yaml")
    assert final_arrays("parts") == final_arrays("whole")
    assert log_of("parts") == log_of("whole")


def test_where_nothing_tells_the_settings_a_run_is_not_continued(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    manager = CheckpointManager("out/checkpoints")
    for step in manager.steps():
        os.unlink(manager.path(step))
    save_checkpoint(manager.path(23), optimizer=None, layers=[])
    os.unlink("out/config.yaml")
    code, _, err = run("train", "model.yaml", "-s", "out", "-e", 1, "--resume")
    assert code == 2
    assert "the settings of the run in 'out' are not known: 'out/config.yaml' is missing" in err
    assert not (here / "out/config.yaml").exists()


def test_a_config_that_was_edited_is_held_against_the_checkpoint(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    for path in (here / "out/config.yaml", here / "model.yaml"):
        path.write_text(path.read_text().replace("rate: 0.01", "rate: 0.02"))
    code, _, err = run("train", "model.yaml", "-s", "out", "-e", 2, "--resume")
    assert code == 2
    assert "optimizer.config.learning_rate: 0.01 in the run, 0.02 now" in err


def test_other_settings_are_told_by_path_with_both_values(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    changes = (
        "layers[1].config.nout=20",
        "optimizer.config.schedule.config.change=0.25",
        "layers[0].config.keep=0.8",
    )
    options = [word for change in changes for word in ("--set", change)]
    code, _, err = run("train", "model.yaml", "-s", "out", "--resume", *options)
    assert code == 2
    for line in (
        "  layers[0].config.keep: 0.9 in the run, 0.8 now",
        "  layers[1].config.nout: 16 in the run, 20 now",
        "  optimizer.config.schedule.config.change: 0.5 in the run, 0.25 now",
        "neon-optim train out/config.yaml -s out --resume",
    ):
        assert line in err


def test_another_spelling_is_no_other_setting(run, here):
    run("train", "model.yaml", "-s", "out", "-e", 1)
    text = (here / "model.yaml").read_text()
    for old, new in (
        ("init: {type: Kaiming}", "init: Kaiming"),
        ("bias: {type: Constant}", "bias: {type: Constant, config: {}}"),
        ("activation: {type: Rectlin}", "activation: Rectlin"),
        ("cost: CrossEntropyMulti", "cost: {type: CrossEntropyMulti}"),
        ("dataset: {name: digits}", "dataset: {type: digits}"),
        ("batchsize: 64", "batch_size: 64"),
    ):
        assert old in text
        text = text.replace(old, new)
    (here / "model.yaml").write_text(text)
    assert run("train", "model.yaml", "-s", "out", "-e", 2, "--resume")[0] == 0
    assert json.loads((here / "out/metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 2


@pytest.mark.parametrize(
    ("stored", "given", "told"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": math.nan}, {"a": math.nan}, []),
        ({"a": True}, {"a": 1}, ["a: True in the run, 1 now"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a[1]: not given in the run, 2 now"]),
        ({"a": "Kaiming"}, {"a": {"type": "Constant"}}, ["a.type: 'Kaiming' in the run, 'Constant' now"]),
        (
            {"a": {"type": "X", "config": {"b": 1}}},
            {"a": "X"},
            ["a.config: {'b': 1} in the run, not given now"],
        ),
        ({"a": "type"}, {"a": "Type"}, ["a: 'type' in the run, 'Type' now"]),
    ],
)
def test_what_differs(stored, given, told):
    assert [str(difference) for difference in differences(stored, given)] == told


def test_long_values_are_cut_around_what_differs():
    (found,) = differences({"a": "x" * 500 + "1" + "y" * 500}, {"a": "x" * 500 + "2" + "y" * 500})
    assert ("x1y" in found.stored, "x2y" in found.given) == (True, True)
    assert len(str(found)) < 200
