"""Processes that do not fit together are told so before a step, all of them, and in what they differ."""

from __future__ import annotations

import threading

import pytest
from threads import together

from neon_optim.distributed import greeting
from neon_optim.distributed.communicator import Alone
from neon_optim.errors import DistributedError


def greeted(count, **facts_of):
    """The messages of so many processes, each with its own facts: a list of what each of them has."""

    def work(comm):
        greeting.check_alike(comm, **{name: of[comm.rank] for name, of in facts_of.items()})

    with pytest.raises(DistributedError):
        together(count, work)
    return [str(error) for error in together.errors]


def test_those_who_are_alike_go_on():
    together(3, lambda comm: greeting.check_alike(comm, settings={"epochs": 2}, data="a"))
    greeting.check_alike(Alone(), settings=object())  # nobody is asked


def test_other_settings_are_named_by_their_path():
    one, other = {"optimizer": {"lr": 0.1}, "epochs": 2}, {"optimizer": {"lr": 0.2}, "epochs": 2}
    messages = greeted(3, settings=[one, one, other])
    assert len(set(messages)) == 1, "every process says the same"
    assert "rank 2 of 3 has another settings.optimizer.lr: 0.2; rank 0 of 3: 0.1" in messages[0]
    assert "epochs" not in messages[0]


def test_a_setting_that_one_has_not():
    (message, _) = greeted(2, settings=[{"stop": 3}, {}])
    assert "rank 1 of 2 has another settings.stop: None; rank 0 of 2: 3" in message


def test_other_data():
    (message, _) = greeted(2, data=["digest 1", "digest 2"])
    assert "another data: 'digest 2'" in message


def test_many_differences_are_counted():
    first, second = ({str(k): k + by for k in range(9)} for by in (0, 1))
    (message, _) = greeted(2, settings=[first, second])
    assert message.endswith("; and 4 more differences")


def test_other_code(monkeypatch):
    monkeypatch.setattr(greeting, "_digest_of_code", lambda: f"of thread {threading.get_ident()}")
    (message, _) = greeted(2)
    assert "rank 1 of 2 has another code.digest: 'of thread" in message


def test_the_digest_of_the_code_is_that_of_its_files(monkeypatch, tmp_path):
    (tmp_path / "distributed").mkdir()
    (tmp_path / "module.py").write_text("a = 1")
    monkeypatch.setattr(greeting, "__file__", str(tmp_path / "distributed" / "greeting.py"))
    before = greeting._digest_of_code.__wrapped__()
    (tmp_path / "module.py").write_text("a = 2")
    assert greeting._digest_of_code.__wrapped__() != before
