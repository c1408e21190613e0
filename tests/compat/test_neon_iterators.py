"""neon's iterators: minibatches of arrays and of HDF5 files, filled up at the end, in tensors that stay the same."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.data import (
    ArrayIterator,
    HDF5Iterator,
    HDF5IteratorAutoencoder,
    HDF5IteratorOneHot,
)
from neon_optim.compat.neon.data.aeon_shim import AeonDataLoader
from neon_optim.compat.neon.data.dataloader_transformers import (
    BGRMeanSubtract,
    DataLoaderTransformer,
    DumpImage,
    OneHot,
    PixelWiseOneHot,
    Retuple,
    TypeCast,
    ValueNormalize,
)
from neon_optim.errors import DataError


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", batch_size=4)
    cleanup_backend()


X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10) % 3


def columns(data):
    return [(x.get().T.tolist(), t.get().T.tolist()) for x, t in data]


def test_minibatches_are_filled_up_from_the_start_and_go_on_there():
    data = ArrayIterator(X, Y, nclass=3)
    first = columns(data)
    order = [*range(10), 0, 1]
    assert [x for x, _ in first] == [X[order[at : at + 4]].tolist() for at in (0, 4, 8)]
    assert [t for _, t in first] == [np.eye(3)[Y[order[at : at + 4]]].tolist() for at in (0, 4, 8)]
    assert data.nbatches == 2
    assert [x for x, _ in columns(data)] == [X[2:6].tolist(), X[6:].tolist()]
    data.reset()
    assert data.nbatches == 3
    assert columns(data) == first


def test_the_tensors_of_a_minibatch_stay_the_same():
    pairs = [(id(x), id(t)) for x, t in ArrayIterator(X, Y, nclass=3)]
    assert len(set(pairs)) == 1


def test_targets():
    own = next(iter(ArrayIterator(X)))
    assert own[0] is own[1]
    values = next(iter(ArrayIterator(X, X[:, :1], make_onehot=False)))[1]
    assert values.get().tolist() == [[0.0, 2.0, 4.0, 6.0]]


def test_several_inputs():
    data = ArrayIterator([X, X + 1], Y, nclass=3, lshape=(1, 1, 2))
    assert data.shape == [(1, 1, 2)] * 2
    (a, b), _ = next(iter(data))
    assert np.array_equal(a.get() + 1, b.get())


def test_shapes():
    assert ArrayIterator(X).shape == 2
    assert ArrayIterator(X, lshape=(1, 2, 1)).lshape == (1, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"X": X[:3]}, "a minibatch has 4 samples, the data only 3"),
        ({"X": X, "y": Y[:9], "nclass": 3}, "the same number of samples"),
        ({"X": X, "y": Y}, "nclass="),
        ({"X": X, "y": Y, "nclass": 2}, "integers from 0 to nclass - 1 = 1, received 0 to 2"),
        ({"X": X, "y": Y + 0.5, "nclass": 3}, "make_onehot=False"),
        ({"X": X, "lshape": (3, 1, 1)}, "has 3 elements, but a sample has 2 features"),
    ],
)
def test_arrays_that_do_not_fit(arguments, said):
    with pytest.raises(DataError, match=said):
        ArrayIterator(**arguments)


# ---- HDF5

IMAGES = np.arange(6 * 8, dtype=np.float32).reshape(6, 8)


@pytest.fixture
def h5(tmp_path):
    h5py = pytest.importorskip("h5py")

    def write(output=None, nclass=None, mean=None, lshape=(2, 2, 2), samples=6):
        path = tmp_path / f"data{len(list(tmp_path.iterdir()))}.h5"
        with h5py.File(path, "w") as file:
            inputs = file.create_dataset("input", data=IMAGES[:samples])
            if lshape:
                inputs.attrs["lshape"] = lshape
            if output is not None:
                made = file.create_dataset("output", data=output)
                if nclass:
                    made.attrs["nclass"] = nclass
            if mean is not None:
                file.create_dataset("mean", data=mean)
        return str(path)

    return write


def test_an_hdf5_file(h5):
    targets = np.arange(12.0).reshape(6, 2)
    data = HDF5Iterator(h5(targets))
    assert (data.shape, data.ndata, data.nbatches) == ((2, 2, 2), 6, 2)
    order = [0, 1, 2, 3], [4, 5, 0, 1]
    assert columns(data) == [(IMAGES[rows].tolist(), targets[rows].tolist()) for rows in map(list, order)]
    assert data.nbatches == 1
    data.reset()
    assert next(iter(data))[0].get().T.tolist() == IMAGES[:4].tolist()
    data.cleanup()


def test_class_numbers_in_hdf5(h5):
    data = HDF5IteratorOneHot(h5(np.array([[0], [2], [1], [1], [0], [2]]), nclass=3))
    assert next(iter(data))[1].get().T.tolist() == np.eye(3)[[0, 2, 1, 1]].tolist()
    with pytest.raises(DataError, match="nclass"):
        HDF5IteratorOneHot(h5(np.zeros((6, 1))))


def test_inputs_of_hdf5_as_targets(h5):
    assert all(x is t for x, t in HDF5IteratorAutoencoder(h5()))
    assert next(iter(HDF5Iterator(h5())))[1] is None


@pytest.mark.parametrize("mean", [np.array([1.0, 10.0]), np.repeat([1.0, 10.0], 4).reshape(2, 4)])
def test_a_mean_is_taken_off(h5, mean):
    x = next(iter(HDF5Iterator(h5(mean=mean))))[0].get().T
    assert np.array_equal(x, IMAGES[:4] - np.repeat([1.0, 10.0], 4).astype(np.float32))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lshape": None}, "lshape"),
        ({"samples": 3}, "only 3"),
        ({"mean": np.zeros(3)}, "'mean' has 3 elements"),
    ],
)
def test_an_hdf5_file_that_does_not_fit(h5, options, said):
    with pytest.raises(DataError, match=said):
        HDF5Iterator(h5(**options)).allocate()


def test_no_hdf5_file(tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(DataError, match="is not there"):
        HDF5Iterator(str(tmp_path / "none.h5"))
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        HDF5Iterator(str(tmp_path / "text.h5"))


# ---- loaders of aeon


class Loader:
    """As aeon's: pairs (name, array) for each part of a minibatch."""

    ndata = 10
    axes_info = [("image", [("channels", 3), ("height", 1), ("width", 2)]), ("label", [("number", 1)])]
    config = {"etl": [{"type": "image"}, {"type": "label"}]}

    def __init__(self, config=None):
        self.asked = config

    def __iter__(self):
        image = np.arange(24, dtype=np.uint8).reshape(4, 3, 1, 2)
        label = np.array([[0], [1], [2], [1]], np.int32)
        yield (("image", image), ("label", label))

    def reset(self):
        self.was_reset = True


@pytest.fixture
def aeon(monkeypatch):
    module = types.ModuleType("aeon")
    module.DataLoader = Loader
    monkeypatch.setitem(sys.modules, "aeon", module)


def test_without_aeon(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    with pytest.raises(DataError, match=r"aeon, which is not installed.*ArrayIterator"):
        AeonDataLoader({})


def test_with_aeon(aeon):
    assert isinstance(AeonDataLoader({}, adapter=False), Loader)
    data = AeonDataLoader({"x": 1})
    assert (data.asked, data.shape, data.nbatches, data.shapes()) == (
        {"x": 1},
        (3, 1, 2),
        3,
        ((3, 1, 2), (1,)),
    )
    image, label = next(iter(data))
    assert np.array_equal(image.get().T, np.arange(24).reshape(4, 6))
    assert label.get().tolist() == [[0, 1, 2, 1]]
    data.reset()
    assert data.was_reset


def test_transformers(aeon):
    loaded = AeonDataLoader({})
    data = Retuple(OneHot(TypeCast(loaded, index=0, dtype=np.float32), index=1, nclasses=3))
    image, label = next(iter(data))
    assert image.dtype == np.float32
    assert label.get().T.tolist() == np.eye(3)[[0, 1, 2, 1]].tolist()
    less = next(iter(BGRMeanSubtract(TypeCast(loaded, 0, np.float32), 0, pixel_mean=[1, 2, 3])))[0]
    assert np.array_equal(less.get().T, np.arange(24.0).reshape(4, 6) - [1, 1, 2, 2, 3, 3])
    scaled = next(iter(ValueNormalize(TypeCast(loaded, 0, np.float32), 0, [0, 10], [-1, 1])))[0]
    assert np.allclose(scaled.get().T, np.arange(24).reshape(4, 6) / 5 - 1)
    planes = next(iter(PixelWiseOneHot(loaded, 1, nclasses=3)))[1]
    assert planes.get().reshape(3, 4).T.tolist() == np.eye(3)[[0, 1, 2, 1]].tolist()


def test_a_transformer_of_ones_own(aeon):
    class Nothing(DataLoaderTransformer):
        def transform(self, t):
            return None

    with pytest.raises(DataError, match=r"transform\(\) of Nothing returned None"):
        list(Nothing(AeonDataLoader({}), index=0))


def test_an_image_of_each_minibatch(aeon, tmp_path):
    image = pytest.importorskip("PIL.Image")
    list(DumpImage(AeonDataLoader({}), 0, image_index=1, outshape=(3, 1, 2), output_directory=str(tmp_path)))
    (file,) = tmp_path.iterdir()
    assert np.asarray(image.open(file)).tolist() == [[[10, 8, 6], [11, 9, 7]]]
