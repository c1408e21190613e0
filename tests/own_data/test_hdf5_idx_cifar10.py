"""HDF5 files, IDX files and CIFAR-10's as datasets, and what is said of those that cannot be used."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.data import Hdf5, Idx
from neon_optim.data.encoding import encoding_from_json
from neon_optim.data.starting_config import starting_config
from neon_optim.errors import DataError
from neon_optim.model import CIFAR10

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 12)).astype(np.uint8)
Y = np.arange(40) % 4


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=1, batch_size=4, engine="numpy")
    cleanup_backend()


# --- HDF5, as neon's HDF5Iterator has it ---


@pytest.fixture
def hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")

    def written(name="data.h5", attributes=(("lshape", (3, 2, 2)),), nclass=4, **arrays):
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in ({"input": X, "output": Y[:, None]} | arrays).items():
                if value is not None:
                    file[key] = value
            for key, value in dict(attributes).items():
                file["input"].attrs[key] = value
            if nclass is not None:
                file["output"].attrs["nclass"] = nclass
        return str(tmp_path / name)

    return written


def test_inputs_get_their_shape_and_classes_their_number(hdf5):
    data = Hdf5(hdf5(nclass=6))
    assert data.train_iter.lshape == (3, 2, 2)
    assert data.nclass == 6, "as many as the file says, in use or not"
    assert (data.train_iter.ndata, data.valid_iter.ndata) == (32, 8)
    both = np.concatenate([part[0].reshape(-1, 12) for part in data.load()])
    assert sorted(map(tuple, both)) == sorted(map(tuple, X.astype(np.float32)))


@pytest.mark.parametrize("place", ["dataset", "attribute"])
@pytest.mark.parametrize("mean", [np.arange(12.0)[:, None], np.array([10.0, 20.0, 30.0])])
def test_a_mean_of_features_or_channels_is_subtracted(hdf5, mean, place):
    attributes = {"lshape": (3, 2, 2)} | ({"mean": mean} if place == "attribute" else {})
    path = hdf5(attributes=attributes, mean=mean if place == "dataset" else None)
    encoding = Hdf5(path).encoding
    expected = X - (mean.ravel() if mean.size == 12 else np.repeat(mean, 4))
    np.testing.assert_array_equal(encoding.inputs(path).reshape(40, 12), expected.astype(np.float32))
    again = encoding_from_json(encoding.to_json())
    inputs, labels = again.samples(path)
    np.testing.assert_array_equal(inputs.reshape(40, 12), expected.astype(np.float32))
    assert labels.tolist() == Y.tolist()


def test_targets_that_are_no_class_numbers_are_numbers(hdf5):
    data = Hdf5(hdf5(nclass=None, output=RNG.normal(size=(40, 2))))
    assert (data.nclass, data.train_iter.nout) == (None, 2)


def test_another_file_validates(hdf5):
    data = Hdf5(hdf5(), validation=hdf5("other.h5", input=X[:5], output=Y[:5]))
    assert (data.train_iter.ndata, data.valid_iter.ndata) == (40, 5)


def test_a_config_to_begin_with(hdf5):
    text = starting_config(hdf5())
    assert "name: hdf5" in text
    assert "3 × 2 × 2 inputs, 4 classes; 32 samples to train on" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda h: Hdf5("nowhere.h5"), "nowhere.h5: there is no such file"),
        (lambda h: Hdf5(h(), inputs="inptu"), "there is no array 'inptu'; did you mean 'input'"),
        (lambda h: Hdf5(h(attributes={"lshape": (3, 3, 3)})), "lshape is (3, 3, 3), 27 numbers, but a sample has 12"),
        (lambda h: Hdf5(h(mean=np.zeros(5))), "mean has 5 numbers, but a sample has 12 in 3 channels"),
        (lambda h: Hdf5(h(nclass=3)), "output: there is a class 3, but nclass=3 allows 0 to 2"),
        (lambda h: Hdf5(h(output=Y[:9])), "not of the same number of samples"),
        (lambda h: Hdf5(h(output=np.stack([Y, Y], 1)), task="classification"), "a class for each sample is (samples,)"),
        (lambda h: Hdf5(h(), validation=h("o.h5", input=X[:, :6], attributes=())), "of the shape (samples, 3, 2, 2)"),
        (lambda h: Hdf5(h(nclass=None), validation=h("o.h5", output=Y + 1, nclass=None)), "4 is none of the classes"),
        (lambda h: Hdf5(h(input=np.where(X > 9, np.nan, X))), "input holds a NaN or an infinity, first in sample 0"),
    ],
)  # fmt: skip
def test_hdf5_files_that_are_refused(hdf5, make, message):
    with pytest.raises(DataError) as raised:
        _ = make(hdf5).train_iter
    assert message in str(raised.value)
    assert raised.value.problems, "it has a place in the config"


def test_a_file_that_is_no_hdf5(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no such thing")
    with pytest.raises(DataError, match=r"a\.h5 cannot be read: "):
        _ = Hdf5(str(tmp_path / "a.h5")).train_iter


def test_a_file_that_another_program_writes(hdf5, monkeypatch):
    path = hdf5()

    def locked(*arguments):
        raise BlockingIOError("Unable to synchronously open file (unable to lock file, errno = 11)")

    monkeypatch.setattr("h5py.File", locked)
    with pytest.raises(DataError, match="another program has it open for writing"):
        _ = Hdf5(path).train_iter


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(hdf5):
    path = hdf5()
    os.chmod(path, 0)
    with pytest.raises(DataError, match="Permission denied"):
        _ = Hdf5(path).train_iter


# --- IDX ---


def idx(path, array, kind=8, compress=False):
    data = b"\0\0" + bytes([kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data += array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if compress else data)
    return str(path)


@pytest.mark.parametrize("compress", [False, True])
def test_bytes_become_images_from_0_to_1(tmp_path, compress):
    end = ".gz" if compress else ""
    images = idx(tmp_path / f"images{end}", X.reshape(40, 3, 4), compress=compress)
    data = Idx(images, idx(tmp_path / f"labels{end}", Y.astype(np.uint8), compress=compress))
    assert (data.train_iter.lshape, data.nclass) == ((1, 3, 4), 4)
    both = np.concatenate([part[0].reshape(-1, 12) for part in data.load()])
    assert sorted(map(tuple, both)) == sorted(map(tuple, (X / 255).astype(np.float32)))


@pytest.mark.parametrize(("kind", "dtype"), [(9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
def test_numbers_of_every_kind(tmp_path, kind, dtype):
    values = RNG.integers(-100, 100, (40, 3)).astype(dtype)
    data = Idx(idx(tmp_path / "x", values, kind), idx(tmp_path / "y", Y.astype(np.uint8)))
    both = np.concatenate([part[0] for part in data.load()])
    assert sorted(map(tuple, both)) == sorted(map(tuple, values.astype(np.float32)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file: it starts with nothing"),
        (b"\x89PNG\r\n", "is no IDX file"),
        (b"\0\0\x08\x02\0\0", "is cut off within its head"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "is cut off: 3 of 5 bytes are there"),
    ],
)
def test_idx_files_that_are_refused(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError) as raised:
        _ = Idx(str(tmp_path / "x"), idx(tmp_path / "y", Y.astype(np.uint8))).train_iter
    assert message in str(raised.value)


def test_two_files_have_no_other_file_to_validate_with(tmp_path):
    files = [idx(tmp_path / name, Y.astype(np.uint8)) for name in "xy"]
    with pytest.raises(DataError, match="validation must be a share of the samples"):
        _ = Idx(*files, validation="other").valid_iter


# --- CIFAR-10 ---


@pytest.fixture
def cifar10(tmp_path):
    """Files of 20 images each, and all of them."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    records = RNG.integers(0, 256, (6, 20, 3_073)).astype(np.uint8)
    records[:, :, 0] %= 10
    for name, part in zip(names, records, strict=True):
        (folder / name).write_bytes(part.tobytes())
    return tmp_path, records


def test_cifar10_is_found_and_read(cifar10, monkeypatch):
    folder, records = cifar10
    monkeypatch.setenv("NEON_OPTIM_DATA", str(folder))
    for data in (CIFAR10(), CIFAR10(str(folder / "cifar-10-batches-bin"))):
        assert (data.train_iter.ndata, data.valid_iter.ndata) == (100, 20)
        assert (data.train_iter.lshape, data.train_iter.nout) == ((3, 32, 32), 10)
    X, y = CIFAR10(normalize=False).load()[1]
    np.testing.assert_array_equal(X.reshape(20, -1), records[5, :, 1:])
    np.testing.assert_array_equal(y, records[5, :, 0])


def test_cifar10_that_is_not_there_or_damaged(cifar10):
    folder, _ = cifar10
    with pytest.raises(
        DataError, match=r"data_batch_1\.bin to data_batch_5\.bin, test_batch\.bin\) were not found"
    ):
        CIFAR10(str(folder / "nowhere")).load()
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test_batch\.bin is cut off or damaged"):
        CIFAR10(str(folder)).load()
    path.write_bytes(b"\x0b" * 3_073)
    with pytest.raises(DataError, match="image 0 is of the class 11; classes are 0 to 9"):
        CIFAR10(str(folder)).load()


def test_chunks_of_hdf5_are_read_as_a_whole(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        values = RNG.normal(size=(9_000, 40)).astype(np.float32)
        file.create_dataset("input", data=values, chunks=(250, 40), compression="gzip")
        file["output"] = np.arange(9_000) % 2
    data = Hdf5(str(tmp_path / "d.h5"), memory="1MiB").train_iter
    assert data.streams
    assert {last - first for first, last in data.samples._source._borders} == {1_000}  # of 250, and of 8
    assert sum(x.shape[1] for x, _ in data.batches()) == 7_200
