"""No damaged, mixed up or hostile sharded checkpoint is loaded, and refusing one costs neither time nor memory."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import time
import tracemalloc

import numpy as np
import pytest

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import archive, shard_index, sharded
from neon_optim.serialization.checkpoint.file_header import Entry
from neon_optim.serialization.checkpoint.share import Share, share_out
from neon_optim.serialization.checkpoint.stored import open_checkpoint, read_checkpoint, verify_checkpoint


def make(path, seed: int = 0, parts: int = 2) -> str:
    random = np.random.default_rng(seed)
    arrays = {
        "fc/W": random.random((40, 4)).astype("f4"),
        "fc/b": random.random((40, 4)).astype("f4"),
        "ok": np.array([True] * 9),
    }
    with sharded.begin(path, parts) as save:
        receipts = [sharded.write_part(save.ticket, k, share_out(arrays, k, parts)) for k in range(parts)]
        return save.commit(receipts, {"epoch": seed})


@pytest.fixture
def path(tmp_path):
    return make(tmp_path / "a.sharded")


def files(path) -> list[pathlib.Path]:
    return sorted(pathlib.Path(path).iterdir())


def refused(path, match: str | None = None) -> None:
    for read in (read_checkpoint, verify_checkpoint):
        with pytest.raises(CheckpointError, match=match):
            read(path)


def refused_file(path, file: pathlib.Path, raw: bytes) -> None:
    good = file.read_bytes()
    file.unlink()
    file.write_bytes(raw)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    file.unlink()
    file.write_bytes(good)


def test_flipped_bits_are_refused(path):
    for file in files(path):
        raw = file.read_bytes()
        for position in range(0, len(raw), 5):
            damaged = bytearray(raw)
            damaged[position] ^= 1 << position % 8
            refused_file(path, file, damaged)
    read_checkpoint(path)


def test_truncations_and_appended_bytes_are_refused(path):
    for file in files(path):
        raw = file.read_bytes()
        for length in [*range(0, len(raw), 37), len(raw) - 1]:
            refused_file(path, file, raw[:length])
        for more in (b"\0", b" ", raw):
            refused_file(path, file, raw + more)
    verify_checkpoint(path)


def test_parts_of_other_saves_and_in_other_places_are_refused(path, tmp_path):
    other = make(tmp_path / "other.sharded", seed=1)
    index, first, second = files(path)
    _, *strangers = files(other)
    for place, stranger in itertools.product((first, second), strangers):
        refused_file(path, place, stranger.read_bytes())
    refused_file(path, first, second.read_bytes())
    refused_file(path, index, files(other)[0].read_bytes())
    for file in (first, index):  # a file of another kind
        refused_file(path, file, pathlib.Path(archive.write(tmp_path / "c", {}, {})).read_bytes())
    refused_file(path, first, index.read_bytes())
    refused_file(path, index, first.read_bytes())


def test_the_same_arrays_saved_twice_are_not_mixed(path, tmp_path):
    again = make(tmp_path / "again.sharded")
    _, first, _ = files(path)
    _, other, _ = files(again)
    refused_file(path, first, other.read_bytes())


# ---- an index that somebody has made: the digests are right


def forged(path, change, state=None) -> None:
    """Write the index anew, its value changed; without a value, its text."""
    folder = os.fspath(path)
    contents = archive.read(shard_index.index_file(folder), kind="index")
    value = json.loads(contents.arrays["index"].tobytes())
    text = change(value)
    text = text if isinstance(text, str) else json.dumps(value, separators=(",", ":"))
    raw = np.frombuffer(text.encode(), np.uint8)
    entry = Entry("index", "U8", raw.shape, raw.nbytes)
    file = shard_index.index_file(folder)
    archive.write_tensors(file, [entry], [archive.pieces_of(raw)], state or contents.state, kind="index")


def set_at(*places):
    """A change of a value: ``set_at("parts", 0, 1, "x")`` sets ``value["parts"][0][1] = "x"``."""
    *way, last, new = places

    def change(value):
        for place in way:
            value = value[place]
        value[last] = new

    return change


HOSTILE = [
    (set_at("save", "../../../../etc/x"), "has no save"),
    (set_at("save", "0123456789ABCDEF"), "has no save"),
    (set_at("save", 5), "has no save"),
    (set_at("save", "0" * 16), "is missing"),
    (set_at("parts", []), "0 parts, 1 to 9,999"),
    (set_at("parts", [[0, "0" * 64, []]] * 10_000), "10,000 parts"),
    (set_at("parts", {"0": 1}), "more than 1 objects"),
    (set_at("parts", 0, 7), "malformed"),
    (set_at("parts", 0, 0, -1), "a part has the size -1"),
    (set_at("parts", 0, 0, True), "a part has the size"),
    (set_at("parts", 0, 0, 1e3), "a part has the size"),
    (set_at("parts", 0, 0, 123), "not the part that the index was written with"),
    (set_at("parts", 0, 1, "0" * 63), "and the digest"),
    (set_at("parts", 0, 1, "0" * 64), "not the part that the index was written with"),
    (set_at("parts", 0, 2, 0, [99, 0, 5]), "an array that there is not"),
    (set_at("parts", 0, 2, 0, [0, 0, 2**60]), "which has 160"),
    (set_at("parts", 0, 2, 0, [0, 0, 2**64]), "holds the range"),
    (set_at("parts", 0, 2, 0, [0, -5, 2]), "holds the range"),
    (set_at("parts", 0, 2, 0, [0, 5, 5]), "elements 5 to 5"),
    (set_at("parts", 0, 2, 0, [0, 0, 1, 2]), "malformed"),
    (set_at("parts", 0, 2, []), "no part holds elements 0 to"),
    (set_at("arrays", 0, 0, ""), "array names are strings"),
    (set_at("arrays", 0, 0, 7), "array names are strings"),
    (set_at("arrays", 2, 0, "z" * 465), "more than 464 characters"),
    (set_at("arrays", 1, 0, "fc/W"), "a name stands twice"),
    (set_at("arrays", 0, 0, "zz"), "not in order"),
    (set_at("arrays", 0, 1, "F128"), "unknown dtype"),
    (set_at("arrays", 0, 1, "U32"), "not the part that the index was written with"),
    (set_at("arrays", 0, 2, [2**40, 2**40]), "no array can have"),
    (set_at("arrays", 0, 2, [2**40]), "no part holds elements 160 to"),
    (set_at("arrays", 0, 2, [80, 2.0]), "no array can have"),
    (set_at("arrays", 0, 2, [-1, -160]), "no array can have"),
    (set_at("arrays", [["a", "F32", [1]]] * 32_769), "32,769 arrays"),
    (lambda value: value.update(more=1), "not spelled as it is written"),
    (lambda value: json.dumps(value), "not spelled as it is written"),
    (lambda value: json.dumps(value, separators=(",", ":")) + " ", "not spelled as it is written"),
    (lambda value: "[" * 100_000, "malformed|values"),
    (lambda value: "[" + "[]," * 3_000_000 + "[]]", "values"),
    (lambda value: '{"save":"0","save":"1"}', "the same key twice"),
    (lambda value: '{"save":NaN}', "NaN is not JSON"),
    (lambda value: "é", "not ASCII"),
    (lambda value: "", "malformed"),
    (lambda value: "5", "has no save"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_forged_indexes(path, change, message):
    forged(path, change)
    started = time.process_time()
    tracemalloc.start()
    try:
        refused(path, message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = os.path.getsize(shard_index.index_file(path))
    assert peak < 64_000_000 + 10 * size
    assert time.process_time() - started < 20


def test_a_forged_index_does_not_read_other_tensors_of_a_part(path):
    """Ranges of the two arrays exchanged: each part has the right size, and every range is held once."""

    def exchange(value):
        value["arrays"][0][0], value["arrays"][1][0] = "fc/A", "fc/B"

    forged(path, exchange)
    refused(path, "not the part that the index was written with")


def test_an_index_with_other_tensors(path):
    raw = np.zeros(4, np.uint8)
    for entries in ([], [Entry("other", "U8", (4,), 4)], [Entry("index", "F32", (1,), 4)]):
        file = shard_index.index_file(path)
        archive.write_tensors(file, entries, [archive.pieces_of(raw)][: len(entries)], {}, kind="index")
        refused(path, "an index has one tensor")


def test_a_huge_index_is_not_read(path):
    file = shard_index.index_file(path)
    with open(file, "r+b") as opened:
        opened.truncate(1 << 40)
    tracemalloc.start()
    refused(path, "too many for an index")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_part_without_its_list_of_digests(path):
    """And with a wrong one: what a range is held against is itself held against the header."""
    index = shard_index.read_index(path)
    _, first, _ = files(path)
    contents = archive.read(first, kind="part")
    for listed in (None, np.zeros((9, 32), np.uint8), contents.arrays[archive.PIECE_DIGESTS] ^ 1):
        values = {name: a for name, a in contents.arrays.items() if name != archive.PIECE_DIGESTS}
        if listed is not None:
            values[archive.PIECE_DIGESTS] = listed
        entries, buffers = archive.file_header.arrange(values)
        order = sorted(range(len(entries)), key=lambda k: entries[k].name == archive.PIECE_DIGESTS)
        write_as_part(first, [entries[k] for k in order], [buffers[k] for k in order], contents.state)
        resign(path, index, first)
        refused(path, "does not list|are damaged")


def write_as_part(file, entries, buffers, state) -> None:
    """A part without the list that is added to parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(archive.file_header.FORMATS, "checkpoint", "neon_optim.checkpoint.part")
        archive.write_tensors(file, entries, map(archive.pieces_of, buffers), state)


def resign(path, index, file: pathlib.Path) -> None:
    """Let the index name a part as it is now."""
    digest = archive.file_header.decode_header(header_of(file), file.stat().st_size, "", "part").sha256

    def change(value):
        value["parts"][0][:2] = [file.stat().st_size, digest]

    forged(path, change)


def header_of(file: pathlib.Path) -> bytes:
    raw = file.read_bytes()
    return raw[: 8 + int.from_bytes(raw[:8], "little")]


def test_bools_that_are_none(path, tmp_path):
    target = tmp_path / "b.sharded"
    with sharded.begin(target, 1) as save:
        values = np.frombuffer(b"\1\2\0", np.bool_)
        save.commit([sharded.write_part(save.ticket, 0, {"x": Share(values, (3,), 0)})], {})
    with pytest.raises(CheckpointError, match="bytes other than 0 and 1"):
        read_checkpoint(target)
    with open_checkpoint(target) as stored, pytest.raises(CheckpointError, match="bytes other than 0 and 1"):
        stored.arrays["x"].check()


@pytest.mark.parametrize("which", [0, 1])
def test_pipes_folders_and_links_in_the_place_of_files(path, which):
    file = files(path)[which]
    good = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    refused(path, "not a regular file")
    file.unlink()
    file.mkdir()
    refused(path)
    file.rmdir()
    file.symlink_to("/etc/passwd")
    refused(path, "not a part|not an index")
    file.unlink()
    file.symlink_to(file.name)
    refused(path)
    file.unlink()
    file.write_bytes(good)
    verify_checkpoint(path)


def test_many_parts_that_are_not_there(tmp_path):
    """One look at each is all it costs."""
    path = make(tmp_path / "a.sharded", parts=1)

    def change(value):
        value["parts"] += [[1, "0" * 64, []]] * 9_998

    forged(path, change)
    started = time.process_time()
    refused(path, "part 0 of 9999 is missing")
    assert time.process_time() - started < 5


def test_what_is_beside_the_parts_is_never_touched(path, tmp_path):
    """Names that sweep knows are those that are computed; links are deleted, not followed."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"x")
    link = pathlib.Path(path) / shard_index.part_file("ab" * 8, 0, 2)
    link.symlink_to(precious)
    strangers = ["part-1.safetensors", "notes", "part-00000-of-00002-0123456789abcdeg.safetensors"]
    for name in strangers:
        (pathlib.Path(path) / name).write_bytes(b"x")
    sharded.sweep(path)
    assert not link.is_symlink()
    assert precious.read_bytes() == b"x"
    assert set(strangers) < set(os.listdir(path))
    with pytest.raises(OSError, match="not empty"):
        sharded.delete(path)
    assert sorted(os.listdir(path)) == sorted(strangers)
    shutil.rmtree(path)
