"""`neon-optim validate`: all mistakes of all files, as `train` finds them, and nothing done."""

from __future__ import annotations

import json
import os
import time

import pytest
from runs import CONFIG, ROOT

from neon_optim import NervanaObject
from neon_optim.cli import validate as command
from neon_optim.model.datasets import Digits


def test_right_files_are_ok_and_nothing_is_left(run, here):
    (here / "other.yaml").write_text(CONFIG.replace("epochs: 4", "epochs: 5"))
    assert run("validate", "model.yaml", "other.yaml") == (0, "model.yaml: ok\nother.yaml: ok\n", "")
    assert sorted(path.name for path in here.iterdir()) == ["model.yaml", "other.yaml"]
    assert NervanaObject.be is None


def test_every_mistake_of_every_file_is_told_with_its_line(run, here):
    (here / "names.yaml").write_text(
        CONFIG.replace("epochs: 4", "epochs: 0\nepcohs: 3").replace("Adam", "Adamm")
    )
    (here / "fit.yaml").write_text(
        CONFIG.replace("nout: 10", "nout: 11").replace("batchsize: 64", "batchsize: 5000")
    )
    code, out, err = run("validate", "names.yaml", "model.yaml", "fit.yaml", "none.yaml")
    assert code == 2
    assert err == "Error: 3 of 4 files are faulty, with 6 mistakes\n"
    assert out.splitlines()[:3] == [
        "names.yaml:2:9: epochs must be an integer >= 1, received 0",
        "   2 | epochs: 0",
        "     |         ^",
    ]
    for text in (
        "names.yaml:3:1: epcohs is unknown; did you mean 'epochs'?",
        "names.yaml:16:9: optimizer.type: unknown optimizer 'Adamm'; did you mean 'Adam'?",
        "model.yaml: ok",
        "fit.yaml:3:12: batchsize: the batch size (5000) is above the number of training samples (1438)",
        "the last layer has 11 outputs, but the targets of 'train' have 10",
        "none.yaml: there is no such file",
    ):
        assert text in out


def test_json_is_for_programs(run, here):
    (here / "bad.yaml").write_text(CONFIG.replace("0.01", "-1"))
    code, out, _ = run("validate", "--json", "model.yaml", "bad.yaml")
    right, wrong = json.loads(out)
    assert code == 2
    assert right == {"file": "model.yaml", "ok": True, "problems": []}
    (problem,) = wrong["problems"]
    assert problem.pop("message").startswith("optimizer.config.learning_rate must be a number > 0")
    assert problem == {
        "source": "bad.yaml",
        "line": 16,
        "column": 27,
        "path": "optimizer.config.learning_rate",
    }


def test_data_is_read_once_for_all_files_that_name_it(run, here, monkeypatch):
    read = []
    load = Digits.load
    monkeypatch.setattr(Digits, "load", lambda self: read.append(self.validation) or load(self))
    for number in range(4):
        share = 0.2 if number < 3 else 0.3
        text = CONFIG.replace("{name: digits}", f"{{name: digits, validation: {share}}}")
        (here / f"{number}.yaml").write_text(text)
    assert run("validate", *(f"{number}.yaml" for number in range(4)))[0] == 0
    assert set(read) == {0.2, 0.3}
    assert len(read) == 4  # to train on and to validate with, each once


@pytest.mark.parametrize("nout", [10**9, 10**13, 10**40])
def test_parameters_that_have_no_room_are_told(run, here, monkeypatch, nout):
    monkeypatch.setattr(command, "_bytes_of_machine", lambda: 2**36)
    (here / "model.yaml").write_text(CONFIG.replace("nout: 16", f"nout: {nout}"))
    code, out, _ = run("validate", "model.yaml")
    assert code == 2
    assert "GiB" in out
    assert out.startswith("model.yaml:8:1: layers: ")


def test_without_data_and_backend_the_file_alone_is_checked(run, here, monkeypatch):
    monkeypatch.setattr(Digits, "load", None)
    (here / "model.yaml").write_text(CONFIG.replace("engine: numpy", "backend: gpu"))
    assert run("validate", "--config-only", "model.yaml")[:2] == (0, "model.yaml: ok\n")


def test_a_hundred_files_take_no_time_to_speak_of(run, here):
    text = (ROOT / "configs" / "digits_mlp.yaml").read_text()
    for number in range(100):
        (here / f"{number}.yaml").write_text(text.replace("epochs: 40", f"epochs: {number + 1}"))
    names = [f"{number}.yaml" for number in range(100)]
    run("validate", names[0])  # imports what reads the data
    begin = time.process_time()
    assert run("validate", *names)[0] == 0
    assert time.process_time() - begin < 4.0  # 1 s on a machine that does nothing else


def test_a_folder_is_no_file(run, here):
    os.mkdir("configs")
    code, out, _ = run("validate", "configs")
    assert code == 2
    assert "this is a folder" in out
