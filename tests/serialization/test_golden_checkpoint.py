"""A file of each released format version, kept for ever, is read by this version."""

from __future__ import annotations

import hashlib
import json
import pathlib

import numpy as np
import pytest
import safetensors

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described.build import from_description
from neon_optim.serialization import inspect_checkpoint, load_checkpoint
from neon_optim.serialization.checkpoint import archive, file_header
from neon_optim.serialization.checkpoint.inspection import diff_checkpoints
from neon_optim.serialization.conversion import convert_checkpoint

DATA = pathlib.Path(__file__).parents[1] / "data"
VERSION_1 = DATA / "checkpoint_v1.safetensors"
VERSION_1_SHARDED = DATA / "checkpoint_v1.sharded"  # the same in three parts
DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "float16",
    "bfloat16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float64",
]


@pytest.fixture(autouse=True)
def _backend():
    gen_backend("cpu", rng_seed=5, batch_size=4)
    yield
    cleanup_backend()


def layers(value: float = 0.0) -> list:
    return [
        ((np.full(shape, value, np.float32), np.ones(shape, np.float32)), []) for shape in ((3, 2), (3, 1))
    ]


def test_every_version_has_its_file():
    assert file_header.FORMAT_VERSION == 1, "add a file of the new version, and a test like those below"
    assert VERSION_1.exists()
    assert VERSION_1_SHARDED.exists()


def test_version_1_goes_on_where_it_stopped():
    found = load_checkpoint(VERSION_1)
    assert (found.format_version, found.epoch, found.extra, found.step) == (
        1,
        2,
        {"note": "golden", "loss": [0.5, 1e-05]},
        3,
    )
    optimizer, params = from_description(found.description), layers()
    load_checkpoint(VERSION_1, optimizer=optimizer, layers=params, strict=False)
    assert (optimizer.t, optimizer.learning_rate) == (3, 0.01)
    # Adam with constant gradients 1/4 from 0.5 on: every step is the learning rate
    np.testing.assert_allclose(params[0][0][0], 0.5 - 3 * 0.01, rtol=1e-5)
    optimizer.optimize(params, epoch=2)
    np.testing.assert_allclose(params[1][0][0], 0.5 - 4 * 0.01, rtol=1e-5)


def test_version_1_holds_every_dtype():
    arrays = load_checkpoint(VERSION_1).arrays
    for name in DTYPES:
        array = arrays[f"dtypes/{name}"]
        assert (array.dtype.name, array.shape) == (name, (2, 2))
        expected = [[0.0, 1.0], [1.0, 0.0]] if name == "bool" else [[0.0, 1.0], [2.0, 3.0]]
        assert array.astype(float).tolist() == expected
    assert arrays["dtypes/scalar"].shape == ()
    assert arrays["dtypes/nothing"].shape == (0, 3)


def test_version_1_is_still_written_to_the_byte(tmp_path):
    contents = archive.read(VERSION_1)
    archive.write(tmp_path / "again", contents.arrays, contents.state)
    assert (tmp_path / "again").read_bytes() == VERSION_1.read_bytes()


def test_version_1_is_inspected():
    found = inspect_checkpoint(VERSION_1)
    assert found.written_by == "neon_optim 0.1.0"
    assert [array.name for array in found.arrays if array.name.startswith("parameter_0")] == [
        "parameter_0/W",
        "parameter_0/W/m",
        "parameter_0/W/v",
    ]


def test_a_reader_written_from_the_specification_alone():
    """docs/checkpoint-format.md in twenty lines, without any of our code."""
    raw = VERSION_1.read_bytes()
    size = 8 + int.from_bytes(raw[:8], "little")
    assert size % 64 == 0
    header = json.loads(raw[8:size])
    metadata = header.pop("__metadata__")
    assert (metadata["format"], metadata["format_version"]) == ("neon_optim.checkpoint", "1")
    unsigned = raw[:size].replace(metadata["sha256"].encode(), b"0" * 64, 1)
    assert hashlib.sha256(unsigned).hexdigest() == metadata["sha256"]
    position, mib = size, 1 << 20
    for digest, (name, entry) in zip(metadata["tensor_sha256"].split(" "), header.items(), strict=True):
        begin, end = (size + offset for offset in entry["data_offsets"])
        assert begin == position, name
        pieces = [raw[start : min(start + mib, end)] for start in range(begin, end, mib)]
        joined = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
        assert hashlib.sha256(joined).hexdigest() == digest
        position = end
    assert position == len(raw)
    begin, end = (size + offset for offset in header["parameter_0/W"]["data_offsets"])
    assert header["parameter_0/W"]["dtype"] == "F32"
    ours = load_checkpoint(VERSION_1).arrays["parameter_0/W"]
    assert (
        np.frombuffer(raw[begin:end], "<f4").reshape(header["parameter_0/W"]["shape"]).tolist()
        == ours.tolist()
    )
    assert json.loads(metadata["state"])["epoch"] == 2


def test_version_1_in_parts_is_the_same(tmp_path):
    assert not diff_checkpoints(VERSION_1, VERSION_1_SHARDED)
    assert inspect_checkpoint(VERSION_1_SHARDED).parts == 3
    assert (
        pathlib.Path(convert_checkpoint(VERSION_1_SHARDED, tmp_path / "one")).read_bytes()
        == VERSION_1.read_bytes()
    )


def test_a_reader_of_parts_written_from_the_specification_alone():
    """The arrays of a sharded checkpoint, with safetensors and hashlib for all else."""

    def opened(name: str) -> tuple[dict, dict, bytes]:
        raw = (VERSION_1_SHARDED / name).read_bytes()
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        return header, dict(safetensors.deserialize(raw)), raw

    header, tensors, _ = opened("index.safetensors")
    assert header["__metadata__"]["format"] == "neon_optim.checkpoint.index"
    assert json.loads(header["__metadata__"]["state"])["epoch"] == 2
    index = json.loads(bytes(tensors["index"]["data"]))
    found = {name: bytearray() for name, _, _ in index["arrays"]}
    for number, (nbytes, digest, ranges) in enumerate(index["parts"]):
        header, tensors, raw = opened(
            f"part-{number:05d}-of-{len(index['parts']):05d}-{index['save']}.safetensors"
        )
        metadata = header.pop("__metadata__")
        assert (metadata["format"], metadata["sha256"], len(raw)) == (
            "neon_optim.checkpoint.part",
            digest,
            nbytes,
        )
        names = [f"{index['arrays'][array][0]}[{start}:{stop}]" for array, start, stop in ranges]
        assert list(header) == [*names, "piece_sha256"]
        listed = bytes(tensors["piece_sha256"]["data"])
        for name, (array, _, _), own in zip(
            names, ranges, metadata["tensor_sha256"].split(" "), strict=False
        ):
            data = bytes(tensors[name]["data"])  # of less than 1 MiB: one piece
            assert hashlib.sha256(data).digest() == listed[:32]
            assert hashlib.sha256(listed[:32]).hexdigest() == own
            listed = listed[32:]
            found[index["arrays"][array][0]] += (
                data  # ranges of an array stand in the order of the parts here
            )
        assert listed == b""
    contents = archive.read(VERSION_1)
    assert {name: bytes(data) for name, data in found.items()} == {
        name: array.tobytes() for name, array in contents.arrays.items()
    }
    assert {name: (dtype, tuple(shape)) for name, dtype, shape in index["arrays"]} == {
        name: (contents.dtypes[name], array.shape) for name, array in contents.arrays.items()
    }
