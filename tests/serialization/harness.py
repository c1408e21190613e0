"""Scripts of this folder in processes of their own, and values that several tests save."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np

HERE = pathlib.Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}

DTYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", ml_dtypes.bfloat16]

STATE: dict[str, Any] = {
    "written_by": "test",
    "epoch": 0,
    "optimizer": None,
    "parameters": {},
    "backend": None,
    "model": None,
}


def run_script(name: str, *arguments: object, flags: tuple[str, ...] = ()) -> Any:
    """The JSON value that a script prints."""
    done = subprocess.run(
        [sys.executable, *flags, HERE / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of_every_dtype(shape: tuple[int, ...], count: int) -> dict[str, np.ndarray]:
    """Arrays of every dtype that files hold; a scalar, an empty one, and one of so many elements with an odd name."""
    random = np.random.default_rng(0)
    arrays = {f"{np.dtype(d).name}/x": (random.random(shape) * 9).astype(d) for d in DTYPES}
    arrays["scalar"] = np.array(2.5, np.float32)
    arrays["nothing"] = np.zeros((0, 7), np.float16)
    arrays['quote"\\ é 日本'] = np.arange(count, dtype=np.int8)
    return arrays


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
