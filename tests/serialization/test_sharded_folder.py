"""Sharded checkpoints in a manager's folder, in ``inspect`` and in ``convert``: as good as files."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from harness import STATE

from neon_optim.cli.app import cli
from neon_optim.errors import CheckpointError, CheckpointWarning
from neon_optim.serialization import CheckpointManager, inspect_checkpoint
from neon_optim.serialization.checkpoint import archive, shard_index, sharded
from neon_optim.serialization.checkpoint.inspection import diff_checkpoints
from neon_optim.serialization.checkpoint.share import share_out
from neon_optim.serialization.checkpoint.stored import read_checkpoint, read_state
from neon_optim.serialization.conversion import convert_checkpoint


def arrays(value: float = 0.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0).random((30, 20), np.float32)
    return {
        "fc/W": np.full((3, 2), value, np.float32),
        "conv/W": random,
        "steps": np.array(7),
        "none": random[:0],
    }


def save(manager: CheckpointManager, step: int, metric: float | None = None, parts: int = 2) -> str:
    with manager.begin(step, parts) as saving:
        receipts = [
            sharded.write_part(saving.ticket, part, share_out(arrays(step), part, parts))
            for part in range(parts)
        ]
        return saving.commit(receipts, STATE, metrics=None if metric is None else {"error": metric})


def value_of(path: str | None) -> float:
    assert path is not None
    return float(read_checkpoint(path).arrays["fc/W"][0, 0])


def damage(path: str) -> None:
    name = max(name for name in os.listdir(path) if name.startswith("part"))
    with open(os.path.join(path, name), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


# ---- a folder of checkpoints


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"keep_last": 2}, [5, 6]),
        ({"keep_every": 3}, [3, 6]),
        ({"keep_last": 1, "keep_best": ("error", "min")}, [2, 6]),
    ],
)
def test_retention_of_files_and_sharded_ones(tmp_path, options, kept):
    with CheckpointManager(tmp_path, **options) as manager:
        for step in range(1, 7):
            metric = abs(step - 2.0)
            if step % 2:
                manager.write(step, arrays(step), STATE, metrics={"error": metric})
            else:
                save(manager, step, metric)
        assert manager.steps() == kept
        assert value_of(manager.latest()) == 6
        if "keep_best" in options:
            assert value_of(manager.best()) == 2
    names = [f"step-{step:09d}.{'safetensors' if step % 2 else 'sharded'}" for step in kept]
    assert sorted(os.listdir(tmp_path)) == sorted([*names, ".lock"])


def test_latest_passes_over_a_damaged_one(tmp_path):
    with CheckpointManager(tmp_path) as manager:
        save(manager, 1)
        damage(save(manager, 2))
        with pytest.warns(CheckpointWarning, match=r"part-00001.*damaged"):
            assert value_of(manager.latest()) == 1
        assert manager.steps() == [1, 2], "what is damaged is not deleted"
        os.unlink(shard_index.index_file(manager.path(2)))
        assert manager.steps() == [1]
        assert value_of(manager.latest()) == 1


@pytest.mark.parametrize("first", ["file", "sharded"])
def test_a_step_has_one_checkpoint(tmp_path, first):
    with CheckpointManager(tmp_path) as manager:
        for kind in (first, "sharded" if first == "file" else "file"):
            path = save(manager, 3) if kind == "sharded" else manager.write(3, arrays(3), STATE)
            assert manager.path(3) == path
            assert manager.steps() == [3]
        assert sorted(os.listdir(tmp_path)) == sorted([".lock", os.path.basename(path)])


def test_a_step_that_has_both_is_its_file(tmp_path):
    """A save was killed before it could delete the other."""
    with CheckpointManager(tmp_path, keep_last=1) as manager:
        shards = save(manager, 3)
        archive.write(tmp_path / "step-000000003.safetensors", arrays(3.5), STATE)
        assert value_of(manager.latest()) == 3.5
        assert manager.steps() == [3]
        save(manager, 4)
        assert not os.path.exists(shards)
        assert sorted(os.listdir(tmp_path)) == [".lock", "step-000000004.sharded"]


def test_a_save_that_fails_leaves_what_was_there(tmp_path):
    with CheckpointManager(tmp_path, keep_last=1) as manager:
        save(manager, 1)
        for step in (1, 2):
            with manager.begin(step, parts=2) as saving:
                sharded.write_part(saving.ticket, 0, share_out(arrays(9), 0, 2))
            assert manager.steps() == [1]
            assert value_of(manager.latest()) == 1
        assert sorted(os.listdir(tmp_path)) == [".lock", "step-000000001.sharded"]


def test_what_a_killed_save_has_left_is_swept_by_the_next_run(tmp_path):
    script = (
        "import os, signal, sys, numpy as np\n"
        "from neon_optim.serialization import CheckpointManager\n"
        "from neon_optim.serialization.checkpoint.sharded import share_out, write_part\n"
        "with CheckpointManager(sys.argv[1]).begin(int(sys.argv[2]), parts=2) as save:\n"
        "    write_part(save.ticket, 0, share_out({'x': np.ones(9)}, 0, 2))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with CheckpointManager(tmp_path) as manager:
        save(manager, 1)
    for step, left in ((1, 4), (2, 3)):  # the second run begins with sweeping
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(step)], check=False)
        assert done.returncode == -9
        assert len(os.listdir(tmp_path / "step-000000001.sharded")) == left
    assert len(os.listdir(tmp_path / "step-000000002.sharded")) == 1
    reader = CheckpointManager(tmp_path)
    assert reader.steps() == [1]
    assert value_of(reader.latest()) == 1
    assert os.path.exists(tmp_path / "step-000000002.sharded"), "whoever reads deletes nothing"
    with CheckpointManager(tmp_path) as manager:
        save(manager, 3)
    assert len(os.listdir(tmp_path / "step-000000001.sharded")) == 3
    assert not os.path.exists(tmp_path / "step-000000002.sharded")


def test_one_manager_writes(tmp_path):
    with CheckpointManager(tmp_path) as manager:
        save(manager, 1)
        with pytest.raises(CheckpointError, match="is being written by another run"):
            save(CheckpointManager(tmp_path), 2)


def test_a_reader_of_a_folder_in_which_sharded_ones_vanish_and_are_saved_again(tmp_path):
    """No warning of a damaged one, ever: what is deleted or replaced while it is read is looked at again."""
    stop, found = threading.Event(), []

    def write() -> None:
        with CheckpointManager(tmp_path, keep_last=2) as manager:
            step = 0
            while not stop.is_set():
                step += 1
                for parts in (2, 3):  # each step twice
                    save(manager, step, parts=parts)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reader = CheckpointManager(tmp_path)
        while len(set(found)) < 8:
            path = reader.latest()
            if path is not None:
                found.append(path)
    finally:
        stop.set()
        writer.join()
    assert found == sorted(found)


# ---- inspect and convert


@pytest.fixture
def both(tmp_path) -> tuple[str, str]:
    """The same checkpoint as one file and in three parts."""
    file = archive.write(tmp_path / "a.safetensors", arrays(2), {**STATE, "epoch": 5})
    return file, convert_checkpoint(file, tmp_path / "a.sharded", to="sharded", parts=3)


def invoke(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_inspect(both):
    file, shards = map(inspect_checkpoint, both)
    assert file.arrays == shards.arrays
    assert (file.epoch, file.parts, shards.epoch, shards.parts) == (5, 0, 5, 3)
    assert shards.nbytes == sum(entry.stat().st_size for entry in os.scandir(both[1]))
    lines = invoke("inspect", both[1]).splitlines()
    assert "whole; format 1, written by test" in lines[0]
    assert lines[0].endswith(f"{shards.nbytes:,} bytes in 3 parts")
    assert lines[1:] == invoke("inspect", both[0]).splitlines()[1:]
    assert json.loads(invoke("inspect", "--json", both[1]))["parts"] == 3


def test_verify(both, tmp_path):
    assert invoke("inspect", "--verify", *both) == f"{both[0]}: whole\n{both[1]}: whole\n"
    damage(both[1])
    output = invoke("inspect", "--verify", *both, code=2)
    assert f"{both[0]}: whole" in output
    assert "part-00002-of-00003" in output
    assert "Traceback" not in output
    assert "damaged" in invoke("inspect", both[1], code=2)
    os.unlink(shard_index.index_file(both[1]))
    assert "a folder without 'index.safetensors'" in invoke("inspect", "--verify", both[1], code=2)


def test_a_folder_of_checkpoints_stands_for_the_newest(tmp_path):
    with CheckpointManager(tmp_path) as manager:
        manager.write(1, arrays(1), STATE)
        newest = save(manager, 2)
    assert invoke("inspect", tmp_path).startswith(f"{newest}: whole")
    assert invoke("inspect", "--verify", tmp_path).count(": whole") == 2


def test_diff(both, tmp_path):
    assert not diff_checkpoints(*both)
    assert invoke("inspect", "--diff", *both) == "no difference\n"
    with CheckpointManager(tmp_path / "run") as manager:
        other = save(manager, 3)
    found = diff_checkpoints(both[1], other)
    assert found.arrays == {"fc/W": {"elements": 6, "of": 6, "largest": 1.0}}
    assert found.state["epoch"] == (5, 0)


@pytest.mark.parametrize("parts", [1, 4])
def test_there_and_back_are_the_same_bytes(both, tmp_path, parts):
    again = convert_checkpoint(both[1], tmp_path / "again.sharded", to="sharded", parts=parts)
    assert len(os.listdir(again)) == parts + 1
    back = invoke("convert", again, tmp_path / "back.safetensors").strip()
    assert pathlib.Path(back).read_bytes() == pathlib.Path(both[0]).read_bytes()


def test_convert_says_what_is_missing(both, tmp_path):
    target = tmp_path / "new"
    assert "parts are given for to='sharded'" in invoke("convert", both[0], target, "--to", "sharded", code=2)
    assert "parts are given for to='sharded'" in invoke("convert", both[1], target, "--parts", "2", code=2)
    assert "1 to 9,999" in invoke("convert", both[0], target, "--to", "sharded", "--parts", "0", code=2)
    assert "exists already" in invoke("convert", both[0], both[1], "--to", "sharded", "--parts", "2", code=2)
    assert not target.exists()
    invoke("convert", both[0], both[1], "--to", "sharded", "--parts", "2", "--force")
    assert inspect_checkpoint(both[1]).parts == 2


def test_a_part_and_the_index_by_themselves(both):
    for name in os.listdir(both[1]):
        output = invoke("inspect", os.path.join(both[1], name), code=2)
        assert "of a sharded checkpoint: give the folder that it is in" in output


def test_parameters_for_torch(both, tmp_path):
    state = {**STATE, "parameters": {"fc/W": {"optimizer": None, "slots": []}}}
    file = archive.write(tmp_path / "b", arrays(2), state)
    shards = convert_checkpoint(file, tmp_path / "b.sharded", to="sharded", parts=2)
    targets = [tmp_path / "one", tmp_path / "other"]
    for source, target in zip((file, shards), targets, strict=True):
        convert_checkpoint(source, target, to="torch")
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_copied_without_a_part(both, tmp_path):
    copy = shutil.copytree(both[1], tmp_path / "copy.sharded")
    (part,) = pathlib.Path(copy).glob("part-00001-*")
    part.unlink()
    assert read_state(copy)["epoch"] == 5, "the index alone says this"
    output = invoke("inspect", copy, code=2)
    assert "part 1 of 3 is missing" in output
    assert "copied with all that is in its folder" in output


def test_a_file_of_neon_becomes_parts(tmp_path):
    source = pathlib.Path(__file__).parents[1] / "data" / "neon_mnist_mlp.p"
    file = convert_checkpoint(source, tmp_path / "a.safetensors")
    shards = convert_checkpoint(source, tmp_path / "a.sharded", to="sharded", parts=2)
    assert not diff_checkpoints(file, shards)
    for name, path in (("one", file), ("other", shards)):
        convert_checkpoint(path, tmp_path / name, to="neon")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
