"""Whatever the text, what comes out is a config or a ConfigError, soon."""

from __future__ import annotations

import pytest
from fuzz_configs import run


def test_a_few_hundred_made_configs() -> None:
    loaded, slowest, text = run(seed=0, count=400)
    assert 0 < loaded < 400  # both outcomes are met
    assert slowest < 0.5, text  # a loose bound: machines differ


@pytest.mark.slow
def test_a_few_thousand_made_configs() -> None:
    _, slowest, text = run(seed=1, count=5000)
    assert slowest < 0.5, text
