"""What neon shows of a run and of the machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.util import display_information as shows


@pytest.fixture
def shown(monkeypatch):
    texts = []
    monkeypatch.setattr(logger, "display", texts.append)
    return texts


def test_the_numbers_of_a_run(shown):
    args = SimpleNamespace(backend="cpu", batch_size=64, epochs=2)
    shows.display_model_params(args, {"optimizer": {"type": "Adam", "config": {"learning_rate": 0.1}}})
    lines = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in shown[0].splitlines()[2:-1])
    }
    assert lines == {
        "backend": "cpu",
        "batch size": "64",
        "epochs": "2",
        "optimizer type": "Adam",
        "learning rate": "0.1",
        "momentum coef": "UNKNOWN",
    }


def test_the_machine(shown):
    shows.display_cpu_information()
    shows.display_platform_information()
    assert "cores: " in shown[0]
    assert "python version: 3." in shown[1]
