"""neon's stock datasets: read from the files that neon keeps, safely, and never fetched."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from neon_optim.compat.neon.data import CIFAR10, DUMMY, MNIST, Dataset
from neon_optim.compat.neon.data.convert_manifest import convert_manifest
from neon_optim.compat.neon.data.indexer import Indexer
from neon_optim.errors import DataError

RNG = np.random.RandomState(0)
TRAIN = RNG.randint(0, 256, (12, 28, 28)).astype(np.uint8), np.arange(12) % 10
TEST = RNG.randint(0, 256, (4, 28, 28)).astype(np.uint8), np.arange(4)


@pytest.fixture
def mnist(tmp_path):
    with gzip.open(tmp_path / "mnist.pkl.gz", "wb") as file:
        pickle.dump((TRAIN, TEST), file, protocol=2)
    return str(tmp_path)


def test_mnist_is_read_from_neons_own_file(mnist):
    (X, y), (X_test, y_test), nclass = MNIST(path=mnist).load_data()
    assert (X.shape, X_test.shape, nclass) == ((12, 784), (4, 784), 10)
    assert np.array_equal(X, TRAIN[0].reshape(12, 784) / 255.0)
    assert np.array_equal(y, TRAIN[1])
    assert np.array_equal(y_test, TEST[1])


def test_pixels_of_mnist(mnist):
    raw = MNIST(path=mnist, normalize=False).load_data()[0][0]
    assert np.array_equal(raw, TRAIN[0].reshape(12, 784))
    symmetric = MNIST(path=mnist, sym_range=True).load_data()[0][0]
    assert np.array_equal(symmetric, raw / 255.0 * 2.0 - 1.0)
    small = MNIST(path=mnist, size=8, normalize=False).load_data()[0][0]
    assert np.array_equal(small.reshape(12, 8, 8), TRAIN[0][:, :8, :8])
    large = MNIST(path=mnist, size=32, normalize=False).load_data()[0][0].reshape(12, 32, 32)
    assert np.array_equal(large[:, :28, :28], TRAIN[0])
    assert not large[:, 28:].any()
    assert not large[:, :, 28:].any()


def test_a_share_of_mnist(mnist):
    (X, y), (X_test, _), _ = MNIST(path=mnist, subset_pct=50).load_data()
    assert (len(X), len(y), len(X_test)) == (6, 6, 2)


def test_shuffled_samples_keep_their_labels(mnist):
    X, y = MNIST(path=mnist, normalize=False, shuffle=True).load_data()[0]
    assert not np.array_equal(y, TRAIN[1])
    place = {image.tobytes(): label for image, label in zip(TRAIN[0], TRAIN[1], strict=True)}
    assert [place[row.tobytes()] for row in X] == y.tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps(print, protocol=2), "asks for '__builtin__.print'"),
        (pickle.dumps((TRAIN, TEST), protocol=2)[:-50], "cannot be read"),
        (pickle.dumps(((np.zeros((3, 2)), np.zeros(3)),) * 2, protocol=2), "not MNIST"),
    ],
)
def test_a_file_that_is_no_mnist(tmp_path, content, said):
    with gzip.open(tmp_path / "mnist.pkl.gz", "wb") as file:
        file.write(content)
    with pytest.raises(DataError, match=said):
        MNIST(path=str(tmp_path)).load_data()


def test_nothing_is_downloaded(tmp_path):
    with pytest.raises(DataError) as told:
        MNIST(path=str(tmp_path / "new")).train_iter  # noqa: B018
    assert str(tmp_path / "new" / "mnist.pkl.gz") in str(told.value)
    assert "https://s3.amazonaws.com/img-datasets/mnist.pkl.gz (15.3 MB)" in str(told.value)
    with pytest.raises(DataError, match=r"kriz/cifar-10-python\.tar\.gz"):
        CIFAR10(path=str(tmp_path)).load_data()


def batch(seed, count=4):
    rng = np.random.RandomState(seed)
    data = rng.randint(0, 256, (count, 3072)).astype(np.uint8)
    return {
        "batch_label": "one",
        "labels": rng.randint(0, 10, count).tolist(),
        "data": data,
        "filenames": ["a"],
    }


BATCHES = {**{f"data_batch_{n}": batch(n) for n in range(1, 6)}, "test_batch": batch(0)}


def tar_of(folder, batches):
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, content in batches.items():
            raw = pickle.dumps(content, protocol=2)
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))


@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar10_is_read_from_the_archive_or_from_its_folder(tmp_path, unpacked):
    tar_of(tmp_path, BATCHES)
    if unpacked:
        (tmp_path / "cifar-10-batches-py").mkdir()
        for name, content in BATCHES.items():
            (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol=2))
        (tmp_path / "cifar-10-python.tar.gz").unlink()
    (X, y), (X_test, y_test), nclass = CIFAR10(path=str(tmp_path)).load_data()
    assert (X.shape, y.shape, X_test.shape, y_test.shape, nclass) == (
        (20, 3072),
        (20, 1),
        (4, 3072),
        (4, 1),
        10,
    )
    assert np.array_equal(X[4:8], BATCHES["data_batch_2"]["data"] / 255.0)
    assert y[4:8, 0].tolist() == BATCHES["data_batch_2"]["labels"]
    assert unpacked != (tmp_path / "cifar-10-python.tar.gz").exists()


def test_an_archive_without_a_batch(tmp_path):
    tar_of(tmp_path, {name: BATCHES[name] for name in ("data_batch_1", "test_batch")})
    with pytest.raises(DataError, match="lacks data_batch_2, data_batch_3"):
        CIFAR10(path=str(tmp_path)).load_data()


def test_contrast_normalization():
    X = np.array([[1.0, 3.0], [5.0, 5.0]])
    assert CIFAR10.global_contrast_normalize(X, scale=2.0) == pytest.approx(
        np.array([[-(2**0.5), 2**0.5], [0.0, 0.0]])
    )


def test_whitening_and_its_cache(tmp_path):
    rng = np.random.RandomState(1)
    train, test = rng.randn(50, 5) @ rng.randn(5, 5) * 10, rng.randn(8, 5)
    cache = str(tmp_path / "zca.pkl")
    white, white_test = CIFAR10.zca_whiten(train, test, cache=cache)
    assert np.cov(white.T) == pytest.approx(np.eye(5), abs=0.1)
    again = CIFAR10.zca_whiten(np.zeros((1, 5)), test, cache=cache)
    assert np.array_equal(again[1], white_test)
    with open(cache, "rb") as file:
        assert len(pickle.load(file)) == 2  # noqa: S301 - neon reads it so


def test_a_zip_is_unpacked_beside_itself(tmp_path):
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("texts/a.txt", "words")
    data = Dataset("texts.zip", "http://x.y", 10, path=str(tmp_path))
    assert data.load_zip("texts.zip", 10) == str(tmp_path / "texts")
    assert (tmp_path / "texts" / "a.txt").read_text() == "words"
    with pytest.raises(DataError, match=r"fetch|Fetch http://x\.y/other\.txt"):
        data.load_zip("other.txt", 10)


def test_the_parts_of_a_dataset():
    class Two(Dataset):
        def gen_iterators(self):
            return {"train": [1], "valid": [2]}

    data = Two("f", "u", 1)
    assert (data.train_iter, data.valid_iter) == ([1], [2])
    with pytest.raises(DataError, match="no part 'test', only train, valid"):
        data.test_iter  # noqa: B018
    with pytest.raises(DataError, match="subset_pct"):
        Two("f", "u", 1, subset_pct=0)


def test_random_images():
    (X, y), _, nclass = DUMMY(batch_size=2).load_data()
    assert (X.shape, y.shape, nclass) == ((2, 3 * 224 * 224), (2, 1), 1000)


def test_a_manifest_between_tabs(tmp_path):
    old = tmp_path / "old.csv"
    old.write_text("a.jpg,1.txt\nb.jpg,2.txt\n")
    convert_manifest(str(old), str(tmp_path / "new.tsv"))
    assert (tmp_path / "new.tsv").read_text() == "@FILE\tFILE\na.jpg\t1.txt\nb.jpg\t2.txt\n"
    convert_manifest(str(old))
    assert old.read_text() == (tmp_path / "new.tsv").read_text()


def test_an_index_of_folders(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}1.png").touch()
    index = tmp_path / "index.csv"
    Indexer(str(tmp_path), str(index), "*.png").run()
    assert index.read_text() == "filename,label1\ncat/cat1.png,0\ndog/dog1.png,1\n"
