"""Archives of arrays and folders of images as data."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.data import Images, Npy, Npz
from neon_optim.data.encoding import encoding_from_json
from neon_optim.errors import DataError

X = np.random.default_rng(0).normal(3.0, 2.0, (20, 4))
WORDS = np.array(["no", "yes"] * 10)


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=1, batch_size=4, engine="numpy")
    cleanup_backend()


@pytest.fixture
def archive(tmp_path):
    def saved(name="data.npz", **arrays):
        np.savez(tmp_path / name, **({"X": X, "y": WORDS} | arrays))
        return str(tmp_path / name)

    return saved


def test_arrays_are_taken_as_they_are(archive):
    data = Npz(archive())
    assert data.encoding.target.labels == ("no", "yes")
    both = np.concatenate([X for X, _ in data.load()])
    assert sorted(map(tuple, both)) == sorted(map(tuple, X.astype(np.float32)))


def test_or_standardized_by_the_samples_to_train_on(archive):
    data = Npz(archive(), standardize=True)
    np.testing.assert_allclose(data.load()[0][0].mean(axis=0), 0, atol=1e-6)  # float32 of float64 sums
    again = encoding_from_json(data.encoding.to_json())
    np.testing.assert_array_equal(again.inputs(X), data.encoding.inputs(archive()))


def test_several_numbers_are_a_target(archive):
    y = np.column_stack([X[:, 0], 10 * X[:, 1]])
    data = Npz(archive(y=y))
    assert data.train_iter.nout == 2
    target = data.encoding.target
    answers = target.answers(target.encoded(y))
    np.testing.assert_allclose(answers["prediction_1"], y[:, 1], rtol=1e-6)


def test_two_files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "t.npy", WORDS)
    data = Npy(str(tmp_path / "x.npy"), str(tmp_path / "t.npy"))
    assert (data.train_iter.ndata, data.nclass) == (16, 2)


def test_images_of_more_axes_keep_their_shape(archive):
    data = Npz(archive(X=X.reshape(20, 1, 2, 2)))
    assert data.train_iter.lshape == (1, 2, 2)
    assert data.encoding.shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: Npz("nowhere.npz"), "there is no such file"),
        (lambda a: Npz(a(), inputs="Z"), "there is no array 'Z'; it holds X, y"),
        (lambda a: Npz(a(y=WORDS[:3])), "not of the same number of samples"),
        (lambda a: Npz(a(X=X[:0], y=WORDS[:0])), "there is no sample"),
        (lambda a: Npz(a(X=WORDS)), "inputs must be numbers"),
        (
            lambda a: Npz(a(y=WORDS.astype(bytes))),
            "targets must be numbers or words (str), received an array of |S3",
        ),
        (lambda a: Npz(a(y=np.arange(20).astype("M8[D]"))), "targets must be numbers or words (str)"),
        (lambda a: Npz(a(y=np.ones((20, 2, 2), complex))), "received an array of complex128"),
        (lambda a: Npz(a(y=np.ones(20, int))), "all samples are of one class, 1"),
        (
            lambda a: Npz(a(), validation=a("o.npz", y=np.array(["maybe"] * 20))),
            "'maybe' is none of the classes",
        ),
        (lambda a: Npz(a(), validation=a("o.npz", X=X[:, :3])), "must be numbers of the shape (samples, 4)"),
        (lambda a: Npz(a(y=np.array([{}] * 20, object))), "Python objects, which could run code"),
        (lambda a: Npy(a(), a()), "is no .npy file but an archive of X, y"),
        (lambda a: Npz(a(X=np.where(X > 5, np.nan, X))), "holds a NaN or an infinity"),
    ],
)
def test_what_is_refused(archive, make, message):
    with pytest.raises(DataError) as raised:
        _ = make(archive).train_iter
    assert message in str(raised.value)


def test_a_file_that_is_cut_off(archive, tmp_path):
    whole = (tmp_path / "data.npz", archive())[0].read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(DataError):
            _ = Npz(str(tmp_path / "cut.npz")).train_iter


def test_arrays_in_the_order_of_fortran(archive):
    data = Npz(archive(X=np.asfortranarray(X)))
    both = np.concatenate([X for X, _ in data.load()])
    assert sorted(map(tuple, both)) == sorted(map(tuple, X.astype(np.float32)))


@pytest.fixture
def pictures(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for name, shade in (("dark", 50), ("light", 200)):
        (tmp_path / "p" / name).mkdir(parents=True)
        for k in range(10):
            pixels = np.full((6 + k % 2, 8), shade + k, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "p" / name / f"{k}.png")
    return tmp_path / "p"


def test_a_folder_for_each_class(pictures):
    data = Images(str(pictures))
    assert data.encoding.target.labels == ("dark", "light")
    assert data.encoding.shape == (1, 6, 8)
    assert (data.train_iter.ndata, data.valid_iter.ndata) == (16, 4)
    one = data.encoding.inputs(str(pictures / "dark" / "0.png"))
    np.testing.assert_array_equal(one, np.full((1, 1, 6, 8), np.float32(50) / np.float32(255)))
    again = encoding_from_json(data.encoding.to_json())
    X, y = again.samples(str(pictures))
    assert X.shape == (20, 1, 6, 8)
    assert y.tolist() == [0] * 10 + [1] * 10


def test_images_in_colours(pictures):
    assert Images(str(pictures), color="rgb", height=4, width=5).encoding.shape == (3, 4, 5)


def test_images_that_are_more_than_memory_are_read_each_time(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for k in range(12):
            pixels = rng.integers(0, 256, (150, 200, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.bmp")
    small, large = (Images(str(tmp_path), memory=memory) for memory in ("1MiB", "1GB"))
    assert small.train_iter.streams
    assert not large.train_iter.streams
    assert small.train_iter.digest() == large.train_iter.digest()
    for name in ("train_iter", "valid_iter"):
        assert sorted_samples(getattr(small, name)) == sorted_samples(getattr(large, name))
    (tmp_path / "a" / "3.bmp").unlink()
    with pytest.raises(DataError, match=r"3\.bmp: there is no such file"):
        sorted_samples(small.train_iter) + sorted_samples(small.valid_iter)


def sorted_samples(data):
    return sorted(x.get()[:, k].tobytes() for x, _ in data.batches(1) for k in range(x.shape[1]))


def test_damaged_images_are_all_listed(pictures):
    for name in ("dark/1.png", "light/7.png"):
        (pictures / name).write_bytes((pictures / name).read_bytes()[:45])
    with pytest.raises(DataError) as raised:
        _ = Images(str(pictures), height=6, width=8).train_iter
    assert "dark/1.png" in str(raised.value)
    assert "light/7.png" in str(raised.value)


@pytest.mark.parametrize("what", ["nowhere", "empty", "without"])
def test_folders_that_hold_none(tmp_path, what):
    (tmp_path / "empty").mkdir()
    (tmp_path / "without" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match=r"there is no such folder|no folders in it|no images in class"):
        _ = Images(str(tmp_path / what)).train_iter
