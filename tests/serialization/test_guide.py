"""The examples of docs/checkpoints.md run and give what they show."""

from __future__ import annotations

import doctest
import pathlib

from neon_optim import cleanup_backend

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "checkpoints.md"


def test_examples(tmp_path):
    results = doctest.testfile(str(GUIDE), module_relative=False, globs={"folder": str(tmp_path)})
    cleanup_backend()
    assert results.attempted > 10
    assert results.failed == 0
