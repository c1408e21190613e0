"""Exact resume: every optimizer × clipping × schedule × dtype × engine, stopped at every step, in a new process."""

from __future__ import annotations

import pathlib

import pytest
from harness import run_script
from resume_matrix import NEONS, STEPS, cases


def run(phase: str, folder: pathlib.Path, part: int, parts: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = run_script(
        "resume_matrix.py", phase, folder, part, parts, flags=("-W", "error")
    )
    return found


@pytest.mark.parametrize(
    ("part", "parts"), [(0, 61), *[pytest.param(part, 4, marks=pytest.mark.slow) for part in range(4)]]
)
def test_a_run_continued_in_a_new_process_ends_with_the_same_bits(tmp_path, part, parts):
    pytest.importorskip("numba")  # half of the matrix is on its engine
    saved = run("save", tmp_path, part, parts)
    resumed = run("resume", tmp_path, part, parts)
    assert saved.keys() == resumed.keys()
    for case, (final,) in saved.items():
        *continued, cold = resumed[case]
        assert continued == [final] * (STEPS - 1), case
        assert cold != final, f"{case}: the last step alone gives another result"
    # what one engine saved goes on on another one; some of the newer rules use pow or exp, which differ by an ulp
    for case, digests in run("cross", tmp_path, part, parts).items():
        if case.split("/")[0] in NEONS:
            assert digests[:-1] == [saved[case][0]] * (STEPS - 1), case


def test_size_of_the_matrix():
    assert len(cases()) * (STEPS - 1) >= 2000
    assert {case[0] for case in cases()} >= set(NEONS)
