"""No damaged, foreign or hostile checkpoint is loaded, and refusing one costs neither time nor memory."""

from __future__ import annotations

import hashlib
import json
import time
import tracemalloc

import numpy as np
import pytest

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import archive, file_header, training_state


def make(path, seed: int = 0) -> bytes:
    random = np.random.default_rng(seed)
    arrays = {
        "fc/W": random.random((2, 3)).astype("f4"),
        "fc/b": random.random((2, 3)).astype("f4"),
        "ok": np.array([True]),
    }
    archive.write(path, arrays, {"epoch": seed})
    return path.read_bytes()


def put(path, raw: bytes) -> None:
    """Write a new file: to empty an old one first makes ext4 wait for the disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)


def refused(path, raw: bytes) -> None:
    put(path, raw)
    for read in (archive.read, archive.verify):
        with pytest.raises(CheckpointError):
            read(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_every_flipped_bit_is_refused(path):
    raw = make(path)
    for position in range(len(raw)):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[position] ^= 1 << bit
            put(path, damaged)
            with pytest.raises(CheckpointError):
                archive.read(path)
    put(path, raw)
    archive.read(path)


def test_every_truncation_and_every_appended_byte_is_refused(path):
    raw = make(path)
    for length in range(len(raw)):
        refused(path, raw[:length])
    for byte in range(256):
        refused(path, raw + bytes([byte]))
    refused(path, raw + raw)


def test_swapped_tensors_and_blocks_of_another_file_are_refused(path):
    raw, other = make(path, 0), make(path, 1)
    start = 8 + int.from_bytes(raw[:8], "little")
    assert len(raw) == len(other)
    assert raw[start:] != other[start:]
    first, second, rest = raw[start : start + 24], raw[start + 24 : start + 48], raw[start + 48 :]
    refused(path, raw[:start] + second + first + rest)  # data swapped
    refused(
        path, raw.replace(b"fc/W", b"fc/?").replace(b"fc/b", b"fc/W").replace(b"fc/?", b"fc/b")
    )  # names swapped
    refused(path, raw[:start] + other[start:])
    refused(path, other[:start] + raw[start:])
    for position in range(0, len(raw), 8):
        if raw[position : position + 8] != other[position : position + 8]:
            refused(path, raw[:position] + other[position : position + 8] + raw[position + 8 :])


def test_a_large_file_is_refused_for_one_bit(path):
    archive.write(path, {"x": np.zeros(3 << 20, np.uint8)}, {})
    raw = bytearray(path.read_bytes())
    raw[-(1 << 20)] ^= 4
    refused(path, bytes(raw))


# ---- headers that are well signed and hostile


def sign(body: str, data: bytes = b"") -> bytes:
    """A file whose header digest is right: ``body`` holds SIGNATURE where it belongs."""
    header = body.replace("SIGNATURE", file_header.NO_DIGEST, 1).encode("utf-8", "surrogatepass")
    raw = len(header).to_bytes(8, "little") + header
    return raw.replace(file_header.NO_DIGEST.encode(), hashlib.sha256(raw).hexdigest().encode(), 1) + data


def header(
    entries: str = "", *, state: str = '"{}"', count: int | None = None, version: str = "1", tail: str = "}"
) -> str:
    count = entries.count("dtype") if count is None else count
    digests = " ".join([hashlib.sha256(hashlib.sha256(b"\0" * 4).digest()).hexdigest()] * count)
    return (
        f'{{"__metadata__":{{"format":"neon_optim.checkpoint","format_version":"{version}","sha256":"SIGNATURE",'
        f'"tensor_sha256":"{digests}","state":{state}}}{entries}{tail}'
    )


def entry(name='"x"', dtype='"U8"', shape="[4]", offsets="[0,4]") -> str:
    return f',{name}:{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}'


def many(count: int, nbytes: int = 0) -> str:
    return "".join(
        entry(f'"{i}"', shape=f"[{nbytes}]", offsets=f"[{i * nbytes},{(i + 1) * nbytes}]")
        for i in range(count)
    )


FOUR = b"\0" * 4


def nested(depth: int) -> str:
    return json.dumps('{"a":' * depth + "1" + "}" * depth)


HOSTILE = {
    "length 2^63": (2**63).to_bytes(8, "little") + b"{}",
    "length 2^64-1": b"\xff" * 8 + b"{}" * 8,
    "length 0": bytes(8),
    "length one above the file": (3).to_bytes(8, "little") + b"{}",
    "not JSON": (4).to_bytes(8, "little") + b"\x80\x04N.",
    "header above the cap": (9 << 20).to_bytes(8, "little") + b" " * (9 << 20),
    "10^6 entries": (lambda body: len(body).to_bytes(8, "little") + body)(many(10**6).encode()),
    "as many entries as fit": sign(header(many(140_000), count=0)),
    "wide digests": sign(header(count=100_000)),
    "overlapping ranges": sign(header(entry() + entry('"y"', offsets="[2,6]")), b"\0" * 6),
    "the same range twice": sign(header(entry() + entry('"y"')), FOUR),
    "a hole": sign(header(entry() + entry('"y"', offsets="[8,12]")), b"\0" * 12),
    "a hole at the start": sign(header(entry(offsets="[4,8]")), b"\0" * 8),
    "missing range": sign(header(entry().replace(',"data_offsets":[0,4]', "")), FOUR),
    "range backwards": sign(header(entry(offsets="[4,0]")), FOUR),
    "data missing": sign(header(entry())),
    "data behind": sign(header(entry()), FOUR * 2),
    "no tensors, but data": sign(header(), FOUR),
    "negative shape": sign(header(entry(shape="[-4]")), FOUR),
    "two negatives": sign(header(entry(shape="[-2,-2]")), FOUR),
    "negative offset": sign(header(entry(offsets="[-4,0]")), FOUR),
    "overflowing shape": sign(header(entry(shape="[4294967296,4294967296,1]", offsets="[0,0]"))),
    "overflow to the right size": sign(header(entry(shape="[9223372036854775808,2,4]", offsets="[0,0]"))),
    "overflow beside a zero": sign(
        header(entry(shape="[4611686018427387904,0,4611686018427387904]", offsets="[0,0]"))
    ),
    "huge shape": sign(header(entry(shape="[9000000000000000000]", offsets="[0,9000000000000000000]"))),
    "shape of floats": sign(header(entry(shape="[4.0]")), FOUR),
    "shape of 10^5 dimensions": sign(
        header(entry(shape=f"[{','.join(['1'] * 10**5)}]", offsets="[0,1]")), b"\0"
    ),
    "shape is a number": sign(header(entry(shape="4")), FOUR),
    "leading zeros": sign(header(entry(shape="[04]")), FOUR),
    "unknown dtype": sign(header(entry(dtype='"F99"')), FOUR),
    "object dtype": sign(header(entry(dtype='"O"')), FOUR),
    "dtype is a number": sign(header(entry(dtype="3")), FOUR),
    "bool that is 2": sign(
        header(entry(dtype='"BOOL"')).replace(
            hashlib.sha256(hashlib.sha256(FOUR).digest()).hexdigest(),
            hashlib.sha256(hashlib.sha256(b"\2" * 4).digest()).hexdigest(),
        ),
        b"\2" * 4,
    ),
    "NaN as a shape": sign(header(entry(shape="[NaN]")), FOUR),
    "NaN in the state": sign(header(state=json.dumps('{"a":NaN}'))),
    "infinity in the state": sign(header(state=json.dumps('{"a":-Infinity}'))),
    "1e999 in the state": sign(header(state=json.dumps('{"a":1e999}'))),
    "an int of 10^5 digits": sign(header(state=json.dumps('{"a":' + "9" * 10**5 + "}"))),
    "depth 1,000 in the state": sign(header(state=nested(1000))),
    "depth 300,000 in the state": sign(header(state=json.dumps("[" * 300_000))),
    "depth 1,000 in the header": sign(header(tail=',"x":' + "[" * 1000 + "]" * 1000 + "}")),
    "duplicate keys in the state": sign(header(state=json.dumps('{"a":1,"a":2}'))),
    "duplicate tensors": sign(header(entry() + entry(offsets="[4,8]")), FOUR * 2),
    "duplicate tensors, one escaped": sign(header(entry() + entry('"\\u0078"', offsets="[4,8]")), FOUR * 2),
    "duplicate dtype": sign(header(entry().replace('"shape"', '"dtype":"U8","shape"'), count=1), FOUR),
    "duplicate metadata": sign(header(tail=',"__metadata__":{}}')),
    "tensor called __metadata__": sign(header(entry('"__metadata__"')), FOUR),
    "state is a list": sign(header(state='"[]"')),
    "state is no string": sign(header(state="{}")),
    "state is no JSON": sign(header(state='"{"')),
    "state is not closed": sign(header(state='"{}', tail="")),
    "state of 10^6 values": sign(header(state=json.dumps('{"a":[' + "[]," * 10**6 + "1]}"))),
    "state of many small dicts": sign(header(state=json.dumps('{"a":[' + "{}," * 400_000 + "1]}"))),
    "state of many strings": sign(header(state=json.dumps('{"a":[' + '"b",' * 400_000 + "1]}"))),
    "state of escapes": sign(header(state='"' + '\\"' * 2_000_000 + '"')),
    "name of escapes": sign(header(entry('"' + "\\n" * 3_000_000 + '"')), FOUR),
    "name too long": sign(header(entry('"' + "n" * 5000 + '"')), FOUR),
    "empty name": sign(header(entry('""')), FOUR),
    "name with a bad escape": sign(header(entry('"\\x41"')), FOUR),
    "name that is half a character": sign(header(entry('"\\ud800"')), FOUR),
    "name with a control character": sign(header(entry('"a\tb\\u0000"')), FOUR),
    "digest missing": sign(header(entry(), count=0), FOUR),
    "digest too many": sign(header(entry(), count=2), FOUR),
    "digest not hexadecimal": sign(header(entry()).replace('"tensor_sha256":"', '"tensor_sha256":"zz'), FOUR),
    "spaces inside": sign(header(entry().replace(":[4]", ": [4]")), FOUR),
    "text behind the header": sign(header(entry(), tail="} x"), FOUR),
    "a megabyte of padding": sign(header(entry(), tail="}" + " " * (1 << 20)), FOUR),
    "non-ASCII header": sign(header(entry('"é"')), FOUR),
    "newer format": sign(header(entry(), version="2"), FOUR),
    "format 0": sign(header(entry(), version="0"), FOUR),
    "format of 10^4 digits": sign(header(entry(), version="1" * 10**4), FOUR),
    "negative format": sign(header(entry(), version="-1"), FOUR),
}


def test_the_signed_headers_of_this_module_are_accepted_where_they_are_sound(path):
    put(path, sign(header(entry()), FOUR))
    assert archive.read(path).arrays["x"].tolist() == [0, 0, 0, 0]
    put(path, sign(header(state=nested(60))))
    assert "a" in archive.read(path).state


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_header(path, case):
    put(path, HOSTILE[case])
    tracemalloc.start()
    try:
        start = time.process_time()
        with pytest.raises(CheckpointError) as caught:
            archive.read(path)
        seconds = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 1 * 4, "tracing memory makes it up to four times slower"
    assert peak < 64 << 20
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    start = time.process_time()
    with pytest.raises(CheckpointError):
        archive.read(path)
    assert time.process_time() - start < 1


def test_the_header_digest_alone_would_not_stop_these(path):
    """Negative control: the same headers, unsound only in their layout, do carry a right digest."""
    for case in ("overlapping ranges", "a hole", "duplicate tensors", "unknown dtype"):
        raw = HOSTILE[case]
        length = 8 + int.from_bytes(raw[:8], "little")
        start = raw.index(b'"sha256":"') + 10
        unsigned = raw[:start] + file_header.NO_DIGEST.encode() + raw[start + 64 : length]
        assert hashlib.sha256(unsigned).hexdigest().encode() == raw[start : start + 64]


def resign(raw: bytes) -> bytes:
    """``raw`` with the right length and digest of its header again."""
    size = 8 + int.from_bytes(raw[:8], "little")
    start = raw.index(b'"sha256":"') + 10
    unsigned = raw[:start] + file_header.NO_DIGEST.encode() + raw[start + 64 : size]
    return (
        unsigned[:start] + hashlib.sha256(unsigned).hexdigest().encode() + unsigned[start + 64 :] + raw[size:]
    )


TOKENS = [*b'{}[]",:0123456789-.eE\\ntf ', *(2**k for k in range(8))]


def test_mutated_headers_with_right_digests_are_loaded_or_refused(path):
    """Whatever a header says, CheckpointError is all that comes out of it."""
    whole = make(path)
    size = 8 + int.from_bytes(whole[:8], "little")
    random = np.random.default_rng(0)
    prefix = whole.index(b'"tensor_sha256"')
    outcomes = {True: 0, False: 0}
    for _ in range(1500):
        mutated = bytearray(whole)
        for _change in range(random.integers(1, 4)):
            place = int(random.integers(prefix, size))
            change = random.integers(4)
            if change == 0:
                mutated[place] = TOKENS[random.integers(len(TOKENS))]
            elif change == 1:
                mutated[place] ^= 1 << int(random.integers(7))
            elif change == 2:
                other = int(random.integers(prefix, size))
                mutated[place], mutated[other] = mutated[other], mutated[place]
            else:
                count = int(random.integers(1, 20))
                mutated[place : place + count] = bytes(reversed(mutated[place : place + count]))
        put(path, resign(bytes(mutated)))
        try:
            contents = archive.read(path)
            training_state.parse(contents.state, "file")
            outcomes[True] += 1
        except CheckpointError:
            outcomes[False] += 1
    assert outcomes[False] > 1000
