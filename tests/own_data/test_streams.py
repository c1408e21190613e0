"""Data that is larger than memory: the same samples, splits and encodings, in an order that can be entered anywhere."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from stopping import StopAt

from neon_optim import cleanup_backend, gen_backend
from neon_optim.data import Csv, Hdf5, Npy, Npz, Parquet
from neon_optim.data.learning import Chosen, Moments, Split, chunks_of
from neon_optim.data.spool import Spool
from neon_optim.errors import DataError
from neon_optim.model import Affine, ArrayIterator, CrossEntropyMulti, Gaussian, Model, Softmax
from neon_optim.model.datasets import stratified_split
from neon_optim.model.sample_iterator import SampleIterator
from neon_optim.optimizers import Adam
from neon_optim.serialization import load_checkpoint, save_checkpoint

COUNT, FEATURES, ROWS = 6_000, 100, 36_000
SMALL = "1MiB"
"""Of the data below, 2 MB or more, windows of a quarter of it are in memory."""


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=1, batch_size=256, engine="numpy")
    cleanup_backend()


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(3, 2, (COUNT, FEATURES)).astype(np.float32), rng.integers(0, 3, COUNT)


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    """The same samples in files of each kind."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    path, (X, y) = tmp_path_factory.mktemp("streams"), arrays
    np.save(path / "x.npy", X)
    np.save(path / "y.npy", y)
    np.savez(path / "plain.npz", X=X, y=y)
    np.savez_compressed(path / "packed.npz", X=X, y=y)
    rng, words = np.random.default_rng(1), np.array([f"word {k}" for k in range(40)])
    table = {f"c{k}": rng.normal(k, 2, ROWS) for k in range(8)}
    table |= {f"w{k}": words[rng.integers(0, 40, ROWS)] for k in range(8)}
    table["label"] = words[rng.integers(0, 3, ROWS)]
    parquet.write_table(pa.table(table), path / "t.parquet", row_group_size=10_000)
    arrow_csv.write_csv(pa.table(table), path / "t.csv")
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "d.h5", "w") as file:
        file["input"], file["output"] = X, y[:, None]
        file["output"].attrs["nclass"] = 3
    return path


SOURCES = {
    "npy": lambda f, **more: Npy(f / "x.npy", f / "y.npy", **more),
    "npz": lambda f, **more: Npz(f / "plain.npz", **more),
    "packed npz": lambda f, **more: Npz(f / "packed.npz", **more),
    "standardized npz": lambda f, **more: Npz(f / "plain.npz", standardize=True, **more),
    "hdf5": lambda f, **more: Hdf5(f / "d.h5", **more),
    "csv": lambda f, **more: Csv(f / "t.csv", "label", **more),
    "parquet": lambda f, **more: Parquet(f / "t.parquet", "label", **more),
    "regression": lambda f, **more: Parquet(f / "t.parquet", "c3", **more),
}


def made(name, folder, **more):
    class Path:
        def __truediv__(self, file):
            return str(folder / file)

    return SOURCES[name](Path(), **more)


def minibatches(data, epoch=0, start=0):
    return [(x.get().copy(), t.get().copy()) for x, t in data.batches(epoch, start)]


def rows_of(batches):
    """Samples with their targets, as sorted bytes."""
    return sorted(row.tobytes() for batch in batches for row in np.concatenate(batch).T)


@pytest.mark.parametrize("name", SOURCES)
def test_whatever_memory_there_is_the_samples_are_the_same(name, folder):
    small, large = made(name, folder, memory=SMALL), made(name, folder)
    assert small.train_iter.streams
    assert not large.train_iter.streams
    assert small.encoding.to_json() == large.encoding.to_json(), (
        "exactly: no sum depends on the size of blocks"
    )
    for part in ("train_iter", "valid_iter"):
        one, other = getattr(small, part), getattr(large, part)
        assert one.ndata == other.ndata
        assert one.digest() == other.digest()
        assert rows_of(minibatches(one)) == rows_of(minibatches(other))


@pytest.mark.parametrize("name", ["npy", "csv"])
def test_an_epoch_is_entered_at_any_minibatch(name, folder):
    data = made(name, folder, memory=SMALL).train_iter
    assert len(data._windows(0)) > 3
    whole = minibatches(data, 2)
    for start in (1, 9, len(whole) - 1):
        for one, other in zip(minibatches(data, 2, start), whole[start:], strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
    again = minibatches(made(name, folder, memory=SMALL).train_iter, 2)
    assert all((a[0] == b[0]).all() for a, b in zip(whole, again, strict=True)), "it depends on nothing else"
    assert any((a[0] != b[0]).any() for a, b in zip(whole, minibatches(data, 3), strict=True))


def test_minibatches_mix_samples_of_many_places(tmp_path):
    """Data that is sorted by class: each minibatch of an epoch has all of them, or nearly."""
    y = np.repeat(np.arange(4), 15_000)
    np.savez(tmp_path / "sorted.npz", X=np.ones((len(y), 500), np.float16), y=y)
    data = Npz(str(tmp_path / "sorted.npz"), memory="32MiB").train_iter
    assert data.streams
    shares = np.array([t.sum(axis=1) / t.shape[1] for _, t in minibatches(data)[:-1]])
    assert shares.max() < 0.8


def test_one_window_has_the_order_of_arrays_in_memory(folder):
    data = made("npy", folder)
    X, y = data.load()[0]
    arrays = ArrayIterator(X, y, nclass=3, shuffle=True)
    for one, other in zip(minibatches(data.train_iter, 4), minibatches(arrays, 4), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_minibatches_may_be_larger_than_windows(folder, be):
    be.bsz = 1_000
    data = made("npy", folder, memory=SMALL).train_iter
    sizes = [x.shape[1] for x, _ in data.batches()]
    assert sizes == [1_000] * 4 + [data.ndata - 4_000]


def test_validation_keeps_the_order_of_the_data(folder, arrays):
    data = made("npy", folder, memory=SMALL)
    X = np.concatenate([x.T for x, _ in minibatches(data.valid_iter)])
    order = {row.tobytes(): k for k, row in enumerate(arrays[0])}
    places = [order[row.tobytes()] for row in X]
    assert places == sorted(places)


# --- what goes wrong on the way ---


def test_a_file_that_changes_between_two_epochs(arrays, tmp_path):
    np.save(tmp_path / "x.npy", arrays[0])
    np.save(tmp_path / "y.npy", arrays[1])
    data = Npy(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), memory=SMALL).train_iter
    minibatches(data)
    with open(tmp_path / "x.npy", "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    os.utime(tmp_path / "x.npy", (1, 1))
    with pytest.raises(DataError, match=r"x\.npy has changed while it was trained on"):
        minibatches(data, 1)


def test_a_file_that_is_deleted_is_read_to_the_end(arrays, tmp_path):
    np.savez(tmp_path / "d.npz", X=arrays[0], y=arrays[1])
    data = Npz(str(tmp_path / "d.npz"), memory=SMALL).train_iter
    before = rows_of(minibatches(data))
    os.remove(tmp_path / "d.npz")
    assert rows_of(minibatches(data, 1)) == before


def test_a_damaged_archive_is_refused(arrays, tmp_path):
    np.savez(tmp_path / "d.npz", X=arrays[0], y=arrays[1])
    with open(tmp_path / "d.npz", "r+b") as file:
        file.seek(50_000)
        file.write(b"\x01")
    with pytest.raises(DataError, match="X is damaged: its checksum is another"):
        _ = Npz(str(tmp_path / "d.npz"), memory=SMALL).train_iter


def test_a_full_disk(monkeypatch, folder):
    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neon_optim.data.spool.os.write", full)
    with pytest.raises(
        DataError, match=r"the disk has no room for a temporary copy in .*TMPDIR names another"
    ):
        _ = made("csv", folder, memory=SMALL).train_iter


# --- the parts ---


@pytest.mark.parametrize("share", [0.01, 0.2, 0.999])
@pytest.mark.parametrize("count", [1, 5, 100, 70_000])
def test_a_split_that_needs_no_list_of_the_samples(count, share):
    labels = np.random.default_rng(2).integers(0, 3, count)
    split = Split({int(k): int((labels == k).sum()) for k in np.unique(labels)}, share, 7)
    chosen = np.concatenate([split.of_next(part) for part in np.array_split(labels, 7)])
    assert np.flatnonzero(chosen).tolist() == stratified_split(labels, share, 7)[1].tolist()
    assert split.chosen == chosen.sum()


def test_moments_of_chunks():
    X = np.random.default_rng(3).normal(1e3, 2, (100_000, 3))
    X[::7, 1] = np.nan
    moments = Moments(3)
    for first, last in chunks_of(*X.shape):
        moments.add(X[first:last])
    np.testing.assert_allclose(moments.mean, np.nanmean(X, axis=0), rtol=1e-14)  # sums of 1e5 float64
    np.testing.assert_allclose(moments.deviation, np.nanstd(X, axis=0), rtol=1e-12)


def test_rows_on_disk_are_those_in_memory(monkeypatch):
    monkeypatch.setattr("neon_optim.data.spool.rows_of_chunk", lambda columns: 64)
    rows = np.random.default_rng(4).normal(size=(1_000, 3))
    held, stored = Spool((3,), float, 1 << 20, "rows"), Spool((3,), float, 6_000, "rows")
    for spool in (held, stored):
        for part in np.array_split(rows, 9):
            spool.append(part)
    assert (held.on_disk, stored.on_disk) == (False, True)
    for first, last in ((0, 64), (13, 700), (640, 1_000), (5, 5)):
        np.testing.assert_array_equal(held.read(first, last), rows[first:last])
        np.testing.assert_array_equal(stored.read(first, last), rows[first:last])
    assert held.digest() == stored.digest()


def test_bits_of_chosen_rows():
    chosen, bits = np.random.default_rng(5).random(1_003) < 0.3, Chosen()
    for part in (chosen[:400], chosen[400:]):
        bits.add(part)
    np.testing.assert_array_equal(bits.of(16, 1_003), chosen[16:])
    np.testing.assert_array_equal(bits.of(8, 21), chosen[8:21])


def test_a_source_of_one_block_is_held(folder):
    data = made("csv", folder).train_iter
    assert isinstance(data, SampleIterator)
    first = minibatches(data)
    assert data._held is data.samples.held
    assert all((a[0] == b[0]).all() for a, b in zip(first, minibatches(data), strict=True))


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(folder, tmp_path):
    """Stopped in the midst of a window, and read anew."""

    def trained(stops):
        path = tmp_path / "stopped.safetensors"
        for k, stop in enumerate([*stops, None]):
            gen_backend("cpu", rng_seed=3, batch_size=256, engine="numpy")
            data = made("standardized npz", folder, memory=SMALL).train_iter
            model = Model([Affine(3, Gaussian(scale=0.01), activation=Softmax())])
            optimizer, cost = Adam(learning_rate=0.01), CrossEntropyMulti()
            if k:
                model.initialize(data, cost)
                load_checkpoint(path, optimizer=optimizer, layers=model.layers_to_optimize, model=model)
            model.fit(data, cost, optimizer, 2, callbacks=[StopAt(stop)])
            if stop is not None:
                save_checkpoint(path, optimizer=optimizer, layers=model.layers_to_optimize, model=model)
        return [param.get() for (param, _), _ in model.get_params()]

    for one, other in zip(trained([]), trained([10, 27]), strict=True):
        np.testing.assert_array_equal(one, other)


_GROWTH = """
import resource, sys
import numpy as np
from neon_optim import gen_backend
from neon_optim.data import Csv, Npy
gen_backend("cpu", rng_seed=1, batch_size=64, engine="numpy")
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def passed(data):
    return sum(x.shape[1] for _ in range(2) for part in (data.train_iter, data.valid_iter) for x, _ in part.batches())
small, large, memory = sys.argv[1:]
make = (lambda path: Csv(path, "y", memory=memory)) if small.endswith("csv") else (
    lambda path: Npy(path, path.replace("x.npy", "y.npy"), memory=memory))
passed(make(small))
before = most()
data = make(large)
assert data.train_iter.streams and data.valid_iter.ndata
samples = passed(data)
print(samples // 2, most() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "csv"])
def test_memory_does_not_grow_with_the_data(kind, tmp_path):
    """400 MB and more through 64 MB; what a process takes for the libraries is there before."""
    counts = {"small": 50_000, "large": 500_000}
    for name, count in counts.items():
        rng, y = np.random.default_rng(0), np.arange(count) % 3
        if kind == "npy":
            file = np.lib.format.open_memmap(tmp_path / f"{name}x.npy", "w+", np.float32, (count, 250))
            for at in range(0, count, 10_000):
                file[at : at + 10_000] = rng.normal(size=(10_000, 250))
            np.save(tmp_path / f"{name}y.npy", y)
            continue
        pa, arrow_csv = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.csv")
        columns = {f"c{k}": rng.normal(size=count) for k in range(40)}
        arrow_csv.write_csv(pa.table(columns | {"y": y}), tmp_path / f"{name}x.csv")
    files = [str(tmp_path / f"{name}x.{kind}") for name in counts]
    found = subprocess.run(
        [sys.executable, "-c", _GROWTH, *files, "64MB"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    samples, growth = map(int, found.stdout.split())
    assert samples == counts["large"]
    assert growth < 64e6
