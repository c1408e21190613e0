"""The file format: what goes in comes out, equal state gives equal bytes, any safetensors reader opens it."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from harness import DTYPES, of_every_dtype, same
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import archive, file_header


def example() -> dict[str, np.ndarray]:
    return of_every_dtype((3, 5), 4)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.safetensors")


def test_round_trip_of_every_dtype(path):
    arrays, state = (
        example(),
        {"epoch": 3, "rate": 1e-05, "none": None, "nested": {"list": [1, -2.5, "ü", True]}},
    )
    assert archive.write(path, arrays, state) == path
    found = archive.read(path)
    assert found.state == state
    assert found.format_version == file_header.FORMAT_VERSION == 1
    assert found.arrays.keys() == arrays.keys()
    assert all(same(found.arrays[name], arrays[name]) for name in arrays)
    assert all(array.flags.writeable and array.flags.aligned for array in found.arrays.values())
    assert archive.verify(path) is None
    assert archive.read_state(path) == state


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**128), 2**128)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ARRAYS = hnp.arrays(
    dtype=st.sampled_from([np.dtype(d) for d in DTYPES[:-1]] + [np.dtype(">f4"), np.dtype(">i8")]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=20), ARRAYS, max_size=5),
    st.dictionaries(st.text(), JSON, max_size=4),
)
def test_round_trip_property(tmp_path_factory, arrays, state):
    path = str(tmp_path_factory.mktemp("c") / "x")
    archive.write(path, arrays, state)
    found = archive.read(path)
    assert found.state == state
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert same(found.arrays[name], array.astype(array.dtype.newbyteorder("=")))
    with open(path, "rb") as file:
        theirs = dict(safetensors.deserialize(file.read()))
    assert {n: bytes(t["data"]) for n, t in theirs.items()} == {
        n: a.tobytes() for n, a in found.arrays.items()
    }


def test_memory_order_and_byte_order_do_not_show(path, tmp_path):
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    variants = [plain, np.asfortranarray(plain), plain.astype(">f4"), np.repeat(plain, 2, axis=1)[:, ::2]]
    files = []
    for variant in variants:
        archive.write(path, {"x": variant}, {})
        with open(path, "rb") as file:
            files.append(file.read())
    assert files == files[:1] * len(files)
    assert same(archive.read(path).arrays["x"], plain)


def test_the_same_state_gives_the_same_bytes(path):
    arrays = example()
    archive.write(path, arrays, {"a": 1, "b": {"c": 2, "d": 3}})
    with open(path, "rb") as file:
        first = file.read()
    archive.write(path, dict(reversed(arrays.items())), {"b": {"d": 3, "c": 2}, "a": 1})
    with open(path, "rb") as file:
        assert file.read() == first


def test_safetensors_reads_the_file_and_finds_the_data_aligned(path):
    arrays = example()
    archive.write(path, arrays, {"epoch": 3})
    with safetensors.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["state"]) == {"epoch": 3}
        assert set(file.keys()) == set(arrays)
        for name in arrays.keys() - {"bfloat16/x"}:
            assert same(file.get_tensor(name), arrays[name])
    with open(path, "rb") as file:
        assert (8 + int.from_bytes(file.read(8), "little")) % 64 == 0


def test_layout_of_the_data_is_that_of_safetensors(path, tmp_path):
    arrays = {name: array for name, array in example().items() if array.dtype != ml_dtypes.bfloat16}
    archive.write(path, arrays, {})
    with open(path, "rb") as file:
        ours = file.read()
    theirs = safetensors.numpy.save(arrays)

    def data(raw: bytes) -> bytes:
        return raw[8 + int.from_bytes(raw[:8], "little") :]

    assert len(data(ours)) == len(data(theirs))
    assert safetensors.numpy.load(ours).keys() == safetensors.numpy.load(theirs).keys()


def test_files_of_safetensors_itself_are_refused_with_the_reason(path):
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path, metadata={"format": "np"})
    with pytest.raises(CheckpointError, match="safetensors file of another program"):
        archive.read(path)


def test_bfloat16_without_ml_dtypes_is_handed_out_as_bits(path, monkeypatch):
    array = np.array([1.0, -2.5], ml_dtypes.bfloat16)
    archive.write(path, {"x": array, "y": np.array([1, 2], np.uint16)}, {})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    found = archive.read(path)
    assert found.dtypes == {"x": "BF16", "y": "U16"}
    assert same(found.arrays["x"], array.view(np.uint16))


@pytest.mark.parametrize(
    ("arrays", "state", "message"),
    [
        ({"x": np.array([object()])}, {}, "dtype object"),
        ({"x": np.zeros(2, "c8")}, {}, "dtype complex64"),
        ({"x": np.array(["a"])}, {}, "dtype <U1"),
        ({"x": np.zeros(2, "M8[s]")}, {}, "dtype datetime64"),
        ({"x": np.zeros(2, [("a", "f4")])}, {}, "cannot be stored"),
        ({"x": np.zeros(2, np.longdouble)}, {}, "cannot be stored"),
        ({"x": [1, 2]}, {}, "must be a NumPy array, received"),
        ({"": np.zeros(2)}, {}, "1 to 512 characters"),
        ({"__metadata__": np.zeros(2)}, {}, "1 to 512 characters"),
        ({"n" * 513: np.zeros(2)}, {}, "1 to 512 characters"),
        ({"\udc80": np.zeros(2)}, {}, "no valid text"),
        ({3: np.zeros(2)}, {}, "received 3"),
        ({str(i): np.zeros(0) for i in range(40_000)}, {}, "40,000 arrays"),
        ({}, {"a": {"b": [0, float("nan")]}}, r"state\.a\.b\[1\] is nan"),
        ({}, {"a": float("-inf")}, r"state\.a is -inf"),
        ({}, {"a": {1: 2}}, r"state\.a has the key 1"),
        ({}, {"a": np.float32(1)}, r"state\.a is a float32.*\.item\(\)"),
        ({}, {"a": np.zeros(2)}, r"state\.a is a ndarray"),
        ({}, {"a": {1, 2}}, r"state\.a is a set"),
        ({}, {"a": "\ud800"}, "no valid text"),
        ({}, {"a": "x" * (5 << 20)}, "keep long series as arrays"),
        ({}, {"a": [0] * 300_000}, "keep long series as arrays"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, arrays, state, message):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(CheckpointError, match=message):
        archive.write(tmp_path / "x", arrays, state)
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_endless_nesting_is_refused(path):
    state: dict = {}
    state["a"] = state
    with pytest.raises(CheckpointError, match="nested more than 64 levels"):
        archive.write(path, {}, state)


def test_newer_format_is_refused_and_an_older_one_migrated(path, monkeypatch):
    monkeypatch.setattr(file_header, "FORMAT_VERSION", 3)
    archive.write(path, {"x": np.ones(2)}, {"epoch": 1})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"written by format 3, this is 1"):
        archive.read(path)

    archive.write(path, {"x": np.ones(2)}, {"epoch": 1})
    for module in (file_header, archive):
        monkeypatch.setattr(module, "FORMAT_VERSION", 3)
    with pytest.raises(CheckpointError, match="format version 1 was never released"):
        archive.read(path)
    monkeypatch.setitem(
        archive.MIGRATIONS, 1, lambda arrays, state: ({"y": arrays["x"]}, {**state, "two": 2})
    )
    monkeypatch.setitem(archive.MIGRATIONS, 2, lambda arrays, state: (arrays, {**state, "three": 3}))
    found = archive.read(path)
    assert found.format_version == 1
    assert found.state == {"epoch": 1, "two": 2, "three": 3}
    assert same(found.arrays["y"], np.ones(2))


@pytest.mark.parametrize("name", ["missing", "folder", "pipe", "empty", "nul\0l", "text", "a" * 300])
def test_what_cannot_be_read(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("learning_rate: 0.1\n" * 9)
    for read in (archive.read, archive.verify, archive.read_state):
        with pytest.raises(CheckpointError, match=name[:3]):
            read(os.path.join(tmp_path, name))


def _npz(path) -> None:
    np.savez(path, x=np.ones(3))


def _theirs(header: int):
    """A safetensors file of another program, with a header of that many bytes."""

    def write(path) -> None:
        text = b'{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'.ljust(header)
        path.write_bytes(len(text).to_bytes(8, "little") + text)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: path.write_text("optimizer: {type: Adam}\nepochs: 3 # drei Überläufe\n" * 99),
            "YAML config",
        ),
        (lambda path: path.write_text("a: 1"), "YAML config"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)), "a pickle: .*neon-optim convert"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 0)), "a pickle: .*neon-optim convert"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "a pickle: .*neon-optim convert"),
        (lambda path: path.write_bytes(gzip.compress(b"x")), "compressed file"),
        (_npz, "file of NumPy .*save its arrays with safetensors"),
        (lambda path: path.write_bytes(b"\x93NUMPY\1\0v\0" + b" " * 99), "file of NumPy"),
        (
            lambda path: safetensors.numpy.save_file({"x": np.ones(2)}, path),
            "another program.*neon-optim convert",
        ),
        *((_theirs(size), "another program") for size in (64, 128, 384, 640, 0x6428)),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(bytes(999)), "unknown kind, or damaged"),
    ],
)
def test_another_kind_of_file_is_named_with_what_to_do(tmp_path, write, message):
    path = tmp_path / "x.npz"
    write(path)
    for read in (archive.read, archive.verify, archive.read_state):
        with pytest.raises(
            CheckpointError, match=f"not a checkpoint of this package but .*{message}"
        ) as caught:
            read(path)
        assert "bytes" not in str(caught.value), "no number that was read out of text"


def test_a_truncated_checkpoint_is_no_other_kind(tmp_path):
    archive.write(tmp_path / "x", example(), {})
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"truncated or damaged: .*the file has 500"):
        archive.read(tmp_path / "x")


def test_a_header_with_as_much_as_fits(path):
    arrays = {f"{'n' * 90}{k}": np.zeros([1] * 6, np.int8) for k in range(file_header.MAX_TENSORS)}
    state = {str(k): [[[]]] for k in range(20_000)}
    archive.write(path, arrays, state)
    found = archive.read(path)
    assert found.arrays.keys() == arrays.keys()
    assert found.state == state
