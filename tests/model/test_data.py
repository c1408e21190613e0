"""Minibatches, the split of the digits, and MNIST from files."""

from __future__ import annotations

import gzip
import struct
import sys

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.errors import DataError
from neon_optim.model import MNIST, ArrayIterator, Digits, datasets
from neon_optim.model.mnist import read_idx

X = np.arange(40.0).reshape(20, 2)
Y = np.arange(20) % 4


def test_digits_are_those_of_scikit_learn_and_read_without_it(monkeypatch):
    from sklearn.datasets import load_digits

    expected = load_digits(return_X_y=True)
    monkeypatch.delitem(sys.modules, "sklearn")
    found = datasets._read_digits()
    assert "sklearn" not in sys.modules
    for one, two in zip(found, expected, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def seen(data, epoch=0, start=0):
    """The first feature of every sample of an epoch, in order, and the sizes of the minibatches."""
    batches = [x.get()[0].copy() for x, _ in data.batches(epoch, start)]
    return np.concatenate(batches), [len(batch) for batch in batches]


def test_every_sample_comes_once_and_the_last_minibatch_is_smaller(be):
    values, sizes = seen(ArrayIterator(X, Y))
    assert sizes == [8, 8, 4]
    assert np.array_equal(values, X[:, 0])


def test_inputs_and_targets_belong_together(be):
    for x, t in ArrayIterator(X, Y, shuffle=True).batches(epoch=3):
        assert np.array_equal(x.get()[1], x.get()[0] + 1)
        assert np.array_equal(t.get().argmax(axis=0), (x.get()[0] / 2) % 4)
        assert np.all(t.get().sum(axis=0) == 1)


def test_the_order_is_a_function_of_seed_and_epoch(be):
    data = ArrayIterator(X, Y, shuffle=True)
    orders = [seen(data, epoch)[0] for epoch in (0, 1, 5)]
    assert not np.array_equal(orders[0], orders[1])
    assert all(np.array_equal(np.sort(order), X[:, 0]) for order in orders)
    gen_backend("cpu", rng_seed=1, batch_size=8)
    again = ArrayIterator(X, Y, shuffle=True)
    assert np.array_equal(seen(again, 5)[0], orders[2])  # without the epochs before
    assert not np.array_equal(seen(ArrayIterator(X, Y, shuffle=True, seed=2), 5)[0], orders[2])


def test_an_epoch_can_be_entered_in_the_middle(be):
    data = ArrayIterator(X, Y, shuffle=True)
    assert np.array_equal(seen(data, 2, start=1)[0], seen(data, 2)[0][8:])
    assert seen(ArrayIterator(X, Y), 2, start=2)[1] == [4]


def test_targets_that_are_no_classes(be):
    x, t = next(ArrayIterator(X).batches())
    assert np.array_equal(x.get(), t.get())
    targets = X * 2.0
    _, t = next(ArrayIterator(X, targets, make_onehot=False).batches())
    assert np.array_equal(t.get(), targets[:8].T)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": np.empty((0, 2)), "y": []}, "at least one sample"),
        ({"X": X, "y": Y[:5]}, "X has 20 samples, y has 5"),
        ({"X": np.where(X == 7, np.nan, X), "y": Y}, "NaN or an infinity, first in sample 3"),
        ({"X": X, "y": Y - 1}, "class numbers 0, 1, 2"),
        ({"X": X, "y": Y + 0.5}, "class numbers 0, 1, 2"),
        ({"X": X, "y": X}, "use make_onehot=False"),
        ({"X": X, "y": Y, "nclass": 3}, "the class 3, but nclass=3 allows 0 to 2"),
        ({"X": [["a", "b"]], "y": [0]}, "array of numbers"),
    ],
)
def test_arrays_that_do_not_fit(be, arguments, message):
    with pytest.raises(DataError, match=message):
        ArrayIterator(**arguments)


def test_the_batch_size_must_be_set():
    gen_backend("cpu")
    with pytest.raises(DataError, match="batch size is not set"):
        next(iter(ArrayIterator(X, Y)))


def test_digits_are_split_within_each_class(be):
    digits = Digits()
    train, valid = digits.train_iter, digits.valid_iter
    assert (train.ndata + valid.ndata, train.nin, train.nout) == (1797, 64, 10)
    counts = np.bincount(valid.labels) / np.bincount(np.concatenate([train.labels, valid.labels]))
    assert np.all(np.abs(counts - 0.2) < 0.005)
    both = {row.tobytes() for row in train.X} & {row.tobytes() for row in valid.X}
    assert len(both) == 0  # the digits have no doubles, so nothing is in both parts
    assert not np.array_equal(Digits(split_seed=1).valid_iter.labels, valid.labels)
    assert train.X.max() == 1.0


def write_idx(path, array, compress=False):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if compress else data)


def write_mnist(folder, compress):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    end = ".gz" if compress else ""
    for part, count in (("train", 30), ("t10k", 10)):
        images = random.randint(256, size=(count, 4, 4)).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{end}", images, compress)
        write_idx(
            folder / f"{part}-labels-idx1-ubyte{end}", (np.arange(count) % 10).astype(np.uint8), compress
        )


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found_and_read(be, tmp_path, monkeypatch, compress, below):
    write_mnist(tmp_path / below, compress)
    monkeypatch.setenv("NEON_OPTIM_DATA", str(tmp_path))
    for dataset in (MNIST(), MNIST(path=str(tmp_path))):
        assert (dataset.train_iter.ndata, dataset.valid_iter.ndata, dataset.train_iter.nin) == (30, 10, 16)
        assert 0.9 < dataset.train_iter.X.max() <= 1.0
    assert MNIST(sym_range=True).train_iter.X.min() < -0.9


def test_without_files_the_message_says_where_it_looked_and_what_else_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NEON_OPTIM_DATA", str(tmp_path / "there"))
    with pytest.raises(DataError) as error:
        MNIST().load()
    for part in (str(tmp_path / "there"), str(tmp_path / "home/nervana/data"), "--set dataset.name=digits"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file"),
        (b"\x89PNG\r\n", "no IDX file"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "cut off or damaged"),
        (b"\0\0\x08\x02\0\0", "cut off or damaged"),
    ],
)
def test_files_that_are_no_idx(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_damaged_gzip_file(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(bytes(1000))[:-5])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path)
