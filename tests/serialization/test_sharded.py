"""Sharded checkpoints: what several processes write comes back, in ranges of any kind, and in no other way."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from harness import of_every_dtype, same
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import archive, shard_index, sharded
from neon_optim.serialization.checkpoint.digests import PIECE
from neon_optim.serialization.checkpoint.share import Share, cut, share_out
from neon_optim.serialization.checkpoint.stored import (
    open_checkpoint,
    read_checkpoint,
    read_state,
    verify_checkpoint,
)

STATE = {"epoch": 3, "note": "é"}


def example() -> dict[str, np.ndarray]:
    return of_every_dtype((30, 50), 400)


def save(path, arrays, parts: int, state=STATE) -> str:
    """Through JSON, as between processes."""
    with sharded.begin(path, parts) as leading:
        ticket = json.loads(json.dumps(leading.ticket))
        receipts = [sharded.write_part(ticket, part, share_out(arrays, part, parts)) for part in range(parts)]
        return leading.commit(json.loads(json.dumps(receipts[::-1])), state)


def save_shares(path, shares: list[dict[str, Share]], state=STATE) -> None:
    with sharded.begin(path, len(shares)) as leading:
        leading.commit(receipts_of(leading, shares), state)


def receipts_of(leading, shares: list[dict[str, Share]]) -> list[dict]:
    return [sharded.write_part(leading.ticket, part, own) for part, own in enumerate(shares)]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.sharded")


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_round_trip_of_every_dtype(path, parts):
    arrays = example()
    assert save(path, arrays, parts) == path
    found = read_checkpoint(path)
    assert found.state == read_state(path) == STATE
    assert found.arrays.keys() == arrays.keys()
    assert all(same(found.arrays[name], arrays[name]) for name in arrays)
    assert found.dtypes["bfloat16/x"] == "BF16"
    assert verify_checkpoint(path) is None
    files = os.listdir(path)
    assert len(files) == parts + 1
    with open_checkpoint(path) as stored:
        assert stored.parts == parts
        assert stored.nbytes == sum(os.path.getsize(os.path.join(path, name)) for name in files)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_shares_are_read_in_any_ranges(tmp_path_factory, data):
    """Arrays of a few pieces of digests, cut anywhere, by any number of writers."""
    sizes = data.draw(
        st.lists(st.sampled_from([0, 1, 7, PIECE // 4, PIECE // 2 + 3]), min_size=1, max_size=3)
    )
    random = np.random.default_rng(0)
    arrays = {f"array{k}": random.random(size, np.float32) for k, size in enumerate(sizes)}
    parts = data.draw(st.integers(1, 4))
    path = str(tmp_path_factory.mktemp("sharded") / "a")
    shares: list[dict[str, Share]] = [{} for _ in range(parts)]
    for name, array in arrays.items():
        cuts = sorted(data.draw(st.lists(st.integers(0, array.size), min_size=parts - 1, max_size=parts - 1)))
        ranges = list(zip([0, *cuts], [*cuts, array.size], strict=True))
        for own, (start, stop) in zip(shares, data.draw(st.permutations(ranges)), strict=True):
            own[name] = Share(array[start:stop], array.shape, start)
    with sharded.begin(path, parts) as leading:
        receipts = [sharded.write_part(leading.ticket, part, own) for part, own in enumerate(shares)]
        leading.commit(receipts, {})
    with open_checkpoint(path) as stored:
        for name, array in arrays.items():
            for _ in range(3):
                start, stop = sorted(data.draw(st.tuples(*[st.integers(0, array.size)] * 2)))
                out = np.empty(stop - start, np.float32)
                assert stored.arrays[name].read(start, stop, out) is out
                assert same(out, array[start:stop])
                stored.arrays[name].check(start, stop)
    shutil.rmtree(path)


def test_an_ordinary_file_is_read_in_ranges_too(tmp_path):
    arrays = example()
    path = archive.write(tmp_path / "a.safetensors", arrays, STATE)
    with open_checkpoint(path) as stored:
        assert stored.state == STATE
        assert (stored.parts, stored.save) == (0, None)
        for name, array in arrays.items():
            assert same(stored.arrays[name].get(), array)
            assert same(
                stored.arrays[name].read(array.size // 3, array.size), array.reshape(-1)[array.size // 3 :]
            )


def test_what_an_ordinary_file_had_when_it_was_opened_is_what_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    archive.write(path, {"x": np.zeros(PIECE, np.float32)}, {})
    with open_checkpoint(path) as stored:
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\1")
        stored.arrays["x"].check(0, PIECE // 2)
        with pytest.raises(CheckpointError, match="'x' are damaged"):
            stored.arrays["x"].read(PIECE - 1)


def test_shares_are_as_many_bytes_for_each():
    random = np.random.default_rng(1)
    sizes = {f"layer{k}": (int(random.integers(1, 200_000)), 4) for k in range(20)}
    total = sum(size * 4 for size, _ in sizes.values())
    for parts in (1, 2, 3, 7, 64):
        ranges = [cut(sizes, part, parts) for part in range(parts)]
        for name, (size, _) in sizes.items():
            assert [found[name][0] for found in ranges[1:]] == [found[name][1] for found in ranges[:-1]]
            assert (ranges[0][name][0], ranges[-1][name][1]) == (0, size)
        for found in ranges:
            nbytes = sum((stop - start) * 4 for start, stop in found.values())
            assert abs(nbytes - total / parts) <= 2 * 64 * 4


# ---- what does not add up


X = np.arange(100, dtype=np.float32)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((0, 50), (51, 100), "no part holds elements 50 to 51 of array 'x'"),
        ((0, 50), (49, 100), "two parts hold elements 49 to 50 of array 'x'"),
        ((0, 100), (0, 100), "two parts hold elements 0 to 100 of array 'x'"),
        ((0, 100), (30, 40), "two parts hold elements 30 to 40 of array 'x'"),
        ((0, 10), (10, 99), "no part holds elements 99 to 100 of array 'x'"),
        ((1, 10), (10, 100), "no part holds elements 0 to 1 of array 'x'"),
        ((5, 5), (5, 5), "no part holds elements 0 to 100 of array 'x'"),
    ],
)
def test_gaps_and_overlaps(path, first, second, message):
    shares = [{"x": Share(X[slice(*part)], X.shape, part[0])} for part in (first, second)]
    with pytest.raises(CheckpointError, match=message):
        save_shares(path, shares)
    assert not os.path.exists(path), "nothing is left of a save that failed"


def test_parts_that_know_an_array_otherwise(path):
    other = [X.astype(np.float64), X.reshape(10, 10)]
    for array in other:
        shares = [{"x": Share(X[:50], X.shape, 0)}, {"x": Share(array.reshape(-1)[50:], array.shape, 50)}]
        with pytest.raises(CheckpointError, match="array 'x' is F"):
            save_shares(path, shares)


def test_a_share_beyond_the_end():
    with pytest.raises(CheckpointError, match="no process can hold those from 60 to 160"):
        Share(X, X.shape, 60)


def test_receipts_of_other_saves_and_missing_ones(path):
    save(path, {"x": X}, 2, {"old": 1})
    with sharded.begin(path, 2) as leading:
        old = receipts_of(leading, [share_out({"x": X}, part, 2) for part in range(2)])
    for wrong in (lambda new: old, lambda new: new[:1], lambda new: new[:1] * 2, lambda new: [*new, new[0]]):
        with sharded.begin(path, 2) as leading:
            new = receipts_of(leading, [share_out({"x": X}, part, 2) for part in range(2)])
            with pytest.raises(CheckpointError, match="needs a receipt of each"):
                leading.commit(wrong(new), {})
    assert read_state(path) == {"old": 1}
    assert len(os.listdir(path)) == 3


def test_a_part_that_only_its_writer_sees(path):
    """As on a disk that is not shared."""
    with sharded.begin(path, 2) as leading:
        receipts = receipts_of(leading, [share_out({"x": X}, part, 2) for part in range(2)])
        os.unlink(os.path.join(path, shard_index.part_file(leading.ticket["save"], 1, 2)))
        with pytest.raises(CheckpointError, match="all processes share"):
            leading.commit(receipts, {})
    with pytest.raises(CheckpointError, match="all processes share"):
        sharded.write_part({"path": path, "save": "0" * 16, "parts": 2}, 0, {})


@pytest.mark.parametrize("parts", [0, True, 10_000, "2"])
def test_numbers_of_parts(path, parts):
    with pytest.raises(CheckpointError, match="1 to 9,999"), sharded.begin(path, parts):
        pass


# ---- one folder, several saves


def test_a_save_replaces_the_one_before_it(path):
    save(path, {"x": X}, 3, {"step": 1})
    save(path, {"x": X + 1}, 2, {"step": 2})
    found = read_checkpoint(path)
    assert found.state == {"step": 2}
    assert same(found.arrays["x"], X + 1)
    assert len(os.listdir(path)) == 3


def test_the_old_one_is_whole_until_the_new_one_is(path):
    save(path, {"x": X}, 2, {"step": 1})
    with sharded.begin(path, 3) as leading:
        sharded.write_part(leading.ticket, 0, share_out({"x": X + 1}, 0, 3))
        assert same(read_checkpoint(path).arrays["x"], X)
    assert same(read_checkpoint(path).arrays["x"], X)
    assert len(os.listdir(path)) == 3


def test_one_process_leads_at_a_time(path):
    with sharded.begin(path, 1), pytest.raises(CheckpointError, match="another process saves there"):
        sharded.begin(path, 1).__enter__()


def test_leftovers_go_and_valid_parts_stay(path):
    save(path, {"x": X}, 2)
    valid = set(os.listdir(path))
    unfinished = [
        shard_index.part_file("ab" * 8, 0, 4),
        f".{shard_index.part_file('cd' * 8, 1, 4)}.{'0' * 16}.tmp",
    ]
    for name in [*unfinished, "notes.txt"]:
        with open(os.path.join(path, name), "wb") as file:
            file.write(b"half")
    sharded.sweep(path)
    assert set(os.listdir(path)) == {*valid, "notes.txt"}
    os.unlink(os.path.join(path, "notes.txt"))
    with open(os.path.join(path, shard_index.INDEX_FILE), "r+b") as file:
        file.write(b"\xff")
    sharded.sweep(path)
    assert set(os.listdir(path)) == valid, "where the index cannot be read, all stays"
    os.unlink(os.path.join(path, shard_index.INDEX_FILE))
    sharded.sweep(path)
    assert not os.path.exists(path)


def test_a_save_under_way_is_not_swept(path):
    with sharded.begin(path, 1) as leading:
        receipt = sharded.write_part(leading.ticket, 0, share_out({"x": X}, 0, 1))
        sharded.sweep(path)
        leading.commit([receipt], STATE)
    assert verify_checkpoint(path) is None


def test_deleted(path):
    save(path, {"x": X}, 2)
    sharded.delete(path)
    assert not os.path.exists(path)


def test_copied_and_renamed(path, tmp_path):
    save(path, {"x": X}, 2)
    copy = str(tmp_path / "elsewhere")
    shutil.copytree(path, copy)
    shutil.rmtree(path)
    assert same(read_checkpoint(copy).arrays["x"], X)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="there is a file"), sharded.begin(tmp_path / "file", 1):
        pass
