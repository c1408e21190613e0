"""neon.util: files of plain data, folders, and searching in what a model is saved as."""

from __future__ import annotations

import gzip
import os
import pickle

import numpy as np
import pytest

from neon_optim.compat.neon.util import compat, persist, shelver
from neon_optim.compat.neon.util.modeldesc import ModelDescription
from neon_optim.errors import CheckpointError

VALUE = {"W": np.eye(2, dtype=np.float32), "names": ["a", ("b", 1)], "rate": 0.5, "none": None}


def same(mine, theirs):
    assert (mine["W"] == theirs["W"]).all()
    assert mine["W"].dtype == np.float32
    assert {**mine, "W": 0} == {**theirs, "W": 0}


def test_what_is_saved_is_a_pickle_that_anybody_reads(tmp_path):
    path = str(tmp_path / "below" / "value.pkl")
    persist.save_obj({**VALUE, "rate": np.float32(0.5)}, path)
    same(persist.load_obj(path), VALUE)
    with open(path, "rb") as file:
        same(pickle.load(file), VALUE)  # noqa: S301 (our own file)
    persist.save_obj(VALUE, None)


@pytest.mark.parametrize("opened", [open, gzip.open])
def test_pickles_of_python_are_read(tmp_path, opened):
    path = tmp_path / "value.pkl"
    with opened(path, "wb") as file:
        pickle.dump(VALUE, file, protocol=2)
    same(persist.load_obj(str(path)), VALUE)
    with opened(path, "rb") as file:
        same(persist.load_obj(file), VALUE)


def test_nothing_in_a_file_is_run(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(os.getcwd, protocol=2))
    for read in (persist.load_obj, compat.pickle_load):
        with pytest.raises(CheckpointError, match="refused"):
            read(str(path))


def test_what_is_no_data_is_not_saved(tmp_path):
    path = tmp_path / "value.pkl"
    path.write_bytes(b"before")
    with pytest.raises(CheckpointError, match="a object cannot be written"):
        persist.save_obj({"thing": object()}, str(path))
    assert path.read_bytes() == b"before"


def test_pickle_by_neons_name(tmp_path):
    with open(tmp_path / "vocab.pkl", "wb") as file:
        compat.pickle.dump([{"a": 1}, VALUE["W"]], file, -1)
    with open(tmp_path / "vocab.pkl", "rb") as file:
        words, weights = compat.pickle.load(file)
    assert words == compat.pickle.loads(compat.pickle.dumps({"a": 1}))
    assert (weights == VALUE["W"]).all()
    assert compat.PY3
    assert list(compat.xrange(2)) == [0, 1]


def test_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("NEON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NEON_DATA_CACHE_DIR", str(tmp_path / "data"))
    assert persist.get_cache_dir(["a", "b"]) == str(tmp_path / "cache" / "a" / "b")
    assert persist.get_data_cache_dir("/nowhere", "c") == str(tmp_path / "data" / "c")
    assert persist.get_data_cache_or_nothing("d/") == f"{tmp_path}/data/d/"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c", "cache", "d", "data"]
    monkeypatch.delenv("NEON_DATA_CACHE_DIR")
    assert persist.get_data_cache_dir(str(tmp_path / "own")) == str(tmp_path / "own")
    assert persist.get_data_cache_or_nothing("d/") == ""
    monkeypatch.delenv("NEON_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert persist.get_cache_dir() == str(tmp_path / "xdg" / "neon")


def test_a_dict_in_a_file(tmp_path):
    path = str(tmp_path / "tuned")
    with shelver.atomic_shelve(path) as tuned:
        tuned["key"] = (1, 2)
    with pytest.raises(ZeroDivisionError), shelver.atomic_shelve(path) as tuned:
        tuned["key"] = 1 / (tuned.clear() or 0)
    with shelver.atomic_shelve(path) as tuned:
        assert tuned == {"key": (1, 2)}


def described(*, weights, inner="deep"):
    layer = {
        "type": "neon.layers.layer.Linear",
        "config": {"nout": 2, "name": "conv_1"},
        "params": {"W": weights},
    }
    below = {"type": "neon.layers.layer.Bias", "config": {"name": inner}}
    branch = {"type": "neon.layers.container.Sequential", "config": {"name": "path", "layers": [below]}}
    config = {"name": "model", "layers": [layer, branch]}
    return {"neon_version": "2.6.0", "model": {"type": "neon.layers.container.Sequential", "config": config}}


def test_searching_in_a_description(tmp_path):
    path = str(tmp_path / "model.pkl")
    persist.save_obj(described(weights=np.ones(2)), path)
    model = ModelDescription(path)
    assert model.version == "2.6.0"
    assert model.layers() == ["conv_1", "path", "deep"]
    assert model.layers(regex="conv") == ["conv_1"]
    assert model.getlayer("deep")["type"] == "neon.layers.layer.Bias"
    assert model.getlayer("none") is None
    assert model == ModelDescription(described(weights=np.ones(2), inner="called otherwise"))
    assert model != ModelDescription(described(weights=np.zeros(2)))
