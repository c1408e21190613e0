"""Runs whose checkpoints are sharded: continued, used, continued with files again."""

from __future__ import annotations

import os
import shutil

import numpy as np
from runs import final_arrays, log_of

from neon_optim import load_run
from neon_optim.serialization.conversion import convert_checkpoint


def shard(folder, parts: int) -> list[str]:
    """Every checkpoint of a run, as so many processes would have written it."""
    made = []
    for path in sorted((folder / "checkpoints").glob("*.safetensors")):
        made.append(convert_checkpoint(path, path.with_suffix(".sharded"), to="sharded", parts=parts))
        path.unlink()
    return made


def test_a_run_goes_on_from_sharded_checkpoints_and_is_used(run, here):
    assert run("train", "model.yaml", "-s", "whole", "-e", "2")[0] == 0
    assert run("train", "model.yaml", "-s", "cut", "-e", "1")[0] == 0
    made = shard(here / "cut", 3)
    code, out, err = run("train", "model.yaml", "-s", "cut", "--resume", "-e", "2")
    assert code == 0, err
    assert "Resumed after 1 of 2 epochs (step 23) from cut/checkpoints/step-000000023.sharded" in out
    assert final_arrays(here / "cut") == final_arrays(here / "whole")
    assert log_of(here / "cut") == log_of(here / "whole")
    assert not os.path.exists(made[0]), "old ones are deleted, whatever they are"

    # settings and the model are found in a sharded checkpoint, too
    shutil.copytree(here / "whole", here / "other")
    made = shard(here / "other", 2)
    (here / "other" / "config.yaml").unlink()
    code, out, _ = run("train", "model.yaml", "-s", "other", "--resume", "-e", "2")
    assert code == 0
    assert "is finished" in out
    one, other, by_itself = load_run(here / "whole"), load_run(here / "other"), load_run(made[-1], "last")
    assert (one.epoch, one.step, dict(one.metrics)) == (other.epoch, other.step, dict(other.metrics))
    layers = zip(one.model.layers_to_optimize, other.model.layers_to_optimize, strict=True)
    assert all(a.W.get().tobytes() == b.W.get().tobytes() for a, b in layers)
    assert by_itself.path == made[-1]
    np.save("X.npy", np.linspace(0, 1, 3 * 64).reshape(3, 64))
    for place, answers in (("whole", "a.csv"), ("other", "b.csv"), (made[-1], "c.csv")):
        assert run("predict", place, "X.npy", "-o", answers)[0] == 0
    assert (here / "a.csv").read_bytes() == (here / "b.csv").read_bytes()
    assert (here / "c.csv").exists()
