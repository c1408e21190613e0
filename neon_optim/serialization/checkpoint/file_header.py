"""The header of a checkpoint file: its bytes, and a reader that accepts nothing else.

The header is the safetensors one in a fixed spelling (ASCII JSON, no spaces, keys in a fixed order), so a
file is read by walking over it once; a header that JSON would accept but that is spelled in another way is
not ours. Every cap bounds the memory and the time that a hostile file can cost.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from neon_optim.errors import CheckpointError, shown

FORMAT_VERSION = 1
FORMAT_NAME = "neon_optim.checkpoint"

LENGTH_BYTES = 8
ALIGNMENT = 64
MAX_HEADER = 8 << 20
MAX_TENSORS = 32_768
MAX_NAME = 512
MAX_DIMENSIONS = 32
MAX_STATE = 4 << 20
MAX_STATE_VALUES = 100_000
MAX_STATE_DEPTH = 64
MAX_INT_BITS = 8192
NO_DIGEST = "0" * 64

#: Types of tensors, in the file's terms and in NumPy's; BF16 by its bits.
DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
_FILE_TYPES = {np.dtype(code).newbyteorder("="): name for name, code in DTYPES.items() if name != "BF16"}

_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_PREFIX = re.compile(
    r'\{"__metadata__":\{"format":"neon_optim\.checkpoint","format_version":"(0|[1-9][0-9]{0,8})","sha256":"([0-9a-f]{64})",'
)
_DIGESTS = re.compile(r'"tensor_sha256":"([0-9a-f ]*)","state":(?=")')
_ENTRY = re.compile(
    r',"((?:[^"\\]|\\.){1,6144})":'
    r'\{"dtype":"([A-Z0-9]{2,4})",'
    rf'"shape":\[((?:{_NUMBER}(?:,{_NUMBER}){{0,{MAX_DIMENSIONS - 1}}})?)\],'
    rf'"data_offsets":\[({_NUMBER}),({_NUMBER})\]\}}'
)
_END = re.compile(rf"\}} {{0,{ALIGNMENT - 1}}}\Z")
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')


class Entry(NamedTuple):
    """One tensor of a file: ``dtype`` in the file's terms (``'F32'``), ``nbytes`` of data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class Header(NamedTuple):
    """A verified header: tensors in the order of their data, a digest each, and the state as JSON text."""

    format_version: int
    entries: list[Entry]
    digests: list[str]
    state: str


# ---- writing


def arrange(arrays: Mapping[str, Any]) -> tuple[list[Entry], list[np.ndarray]]:
    """Tensors in the order of the file (wide types first, then by name), and the bytes of each (1-d uint8)."""
    if len(arrays) > MAX_TENSORS:
        raise CheckpointError(
            f"{len(arrays):,} arrays are too many for one file, at most {MAX_TENSORS:,} fit"
        )
    found = []
    for name, array in arrays.items():
        _check_name(name)
        dtype = file_type(array, name)
        plain = np.asarray(array, order="C")
        if dtype == "BF16":
            plain = plain.view(np.uint16)
        plain = plain.astype(DTYPES[dtype], order="C", copy=False)
        if plain.ndim > MAX_DIMENSIONS:
            raise CheckpointError(f"array {name!r} has {plain.ndim} dimensions, at most {MAX_DIMENSIONS} fit")
        found.append((Entry(name, dtype, plain.shape, plain.nbytes), plain))
    found.sort(key=lambda pair: (-np.dtype(DTYPES[pair[0].dtype]).itemsize, pair[0].name))
    return [entry for entry, _ in found], [plain.reshape(-1).view(np.uint8) for _, plain in found]


def file_type(array: Any, name: str) -> str:
    """The type of a NumPy array in the file's terms."""
    if not isinstance(array, np.ndarray | np.generic):
        raise CheckpointError(f"array {name!r} must be a NumPy array, received {shown(array)}")
    if array.dtype.name == "bfloat16":
        return "BF16"
    known = _FILE_TYPES.get(array.dtype.newbyteorder("=")) if array.dtype.kind in "biuf" else None
    if known is None:
        allowed = ", ".join(sorted({str(dtype) for dtype in _FILE_TYPES} | {"bfloat16"}))
        raise CheckpointError(
            f"array {name!r} has dtype {array.dtype}, which cannot be stored; allowed: {allowed}"
        )
    return known


def encode_header(entries: Sequence[Entry], digests: Sequence[str], state: str) -> bytes:
    """Length and header, with the header's own digest filled in; its size does not depend on the digests."""
    parts = [
        f'{{"__metadata__":{{"format":"{FORMAT_NAME}","format_version":"{FORMAT_VERSION}","sha256":"{NO_DIGEST}",'
        f'"tensor_sha256":"{" ".join(digests)}","state":{json.dumps(state)}}}'
    ]
    position = 0
    for entry in entries:
        end = position + entry.nbytes
        shape = ",".join(map(str, entry.shape))
        parts.append(
            f',{json.dumps(entry.name)}:{{"dtype":"{entry.dtype}","shape":[{shape}],"data_offsets":[{position},{end}]}}'
        )
        position = end
    parts.append("}")
    header = "".join(parts).encode("ascii")
    header += b" " * (-(LENGTH_BYTES + len(header)) % ALIGNMENT)
    if len(header) > MAX_HEADER:
        raise CheckpointError(
            f"the names and the JSON state take {len(header):,} bytes, at most {MAX_HEADER:,} fit; "
            "keep long series as arrays"
        )
    raw = len(header).to_bytes(LENGTH_BYTES, "little") + header
    start, stop = _digest_place(raw)
    return raw[:start] + hashlib.sha256(raw).hexdigest().encode("ascii") + raw[stop:]


def encode_state(state: Mapping[str, Any]) -> str:
    """JSON text of ``state``, the same for equal values; but for tuples, nothing that JSON would change."""
    count = _check_json(state, "state", 0)
    text = json.dumps(state, allow_nan=False, sort_keys=True, separators=(",", ":"))
    if count > MAX_STATE_VALUES or len(text) > MAX_STATE:
        raise CheckpointError(
            f"the JSON state has {count:,} values in {len(text):,} bytes, at most {MAX_STATE_VALUES:,} "
            f"values in {MAX_STATE:,} bytes fit; keep long series as arrays"
        )
    return text


def _check_json(value: Any, path: str, depth: int) -> int:
    """Number of values in ``value``; an error names the path to the first one that JSON cannot hold."""
    if depth > MAX_STATE_DEPTH:
        raise CheckpointError(f"{path[:80]}… is nested more than {MAX_STATE_DEPTH} levels deep")
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        raise CheckpointError(f"{path} is an integer of {value.bit_length():,} bits")
    if value is None or isinstance(value, int):
        return 1
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CheckpointError(f"{path} is {value}: JSON holds finite numbers only; use null or a string")
        return 1
    if isinstance(value, str):
        if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
            raise CheckpointError(f"{path} is no valid text: {ascii(value)[:80]}")
        return 1
    if isinstance(value, list | tuple):
        return 1 + sum(_check_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise CheckpointError(f"{path} has the key {shown(key)}: keys must be strings")
            _check_json(key, f"a key of {path}", depth)
        return 1 + sum(_check_json(item, f"{path}.{key}", depth + 1) for key, item in value.items())
    hint = "; convert it with .item() or .tolist()" if isinstance(value, np.generic | np.ndarray) else ""
    raise CheckpointError(f"{path} is a {type(value).__name__}, which JSON cannot hold: {shown(value)}{hint}")


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or name == "__metadata__":
        raise CheckpointError(
            f"array names are strings of 1 to {MAX_NAME} characters, received {shown(name)}"
        )
    _check_json(name, "an array name", 0)


# ---- reading


def header_length(prefix: bytes, size: int, file: str) -> int:
    """Length of the header of a file of ``size`` bytes, checked before anything is allocated for it."""
    if len(prefix) < LENGTH_BYTES:
        raise CheckpointError(
            f"{file}: not a checkpoint: the file has {size} bytes" + (" (empty)" if not size else "")
        )
    length = int.from_bytes(prefix, "little")
    if length > size - LENGTH_BYTES:
        raise CheckpointError(
            f"{file}: truncated, or not a checkpoint: its header should take {length:,} bytes, "
            f"the file has {size:,}"
        )
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{file}: not a checkpoint: a header of {length:,} bytes, at most {MAX_HEADER:,} allowed"
        )
    return length


def decode_header(raw: bytes, size: int, file: str) -> Header:
    """Check and take apart ``raw`` (length and header) of a file of ``size`` bytes."""
    try:
        text = raw[LENGTH_BYTES:].decode("ascii")
    except UnicodeDecodeError:
        raise CheckpointError(f"{file}: damaged, or not a checkpoint: its header is not ASCII") from None
    prefix = _PREFIX.match(text)
    if prefix is None:
        kind = (
            "a safetensors file of another program, or damaged"
            if text.startswith('{"')
            else "damaged, or another kind"
        )
        raise CheckpointError(
            f"{file}: not a checkpoint of this package ({kind}): the header starts {shown(text[:40])}"
        )
    _check_digest(raw, prefix[2], file)
    version = int(prefix[1])
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: written by format {version}, this is {FORMAT_VERSION}: a newer neon_optim reads it"
        )
    digests = _DIGESTS.match(text, prefix.end())
    if digests is None:
        _malformed(file, text, prefix.end())
    try:
        state, position = json.JSONDecoder().raw_decode(text, digests.end())
    except (ValueError, RecursionError):
        _malformed(file, text, digests.end())
    if text[position : position + 1] != "}":
        _malformed(file, text, position)
    entries = _decode_entries(text, position + 1, size - len(raw), file)
    found = digests[1].split(" ") if digests[1] else []
    if len(found) != len(entries) or any(len(digest) != len(NO_DIGEST) for digest in found):
        raise CheckpointError(
            f"{file}: {len(found)} digests for {len(entries)} tensors, or of the wrong length"
        )
    return Header(version, entries, found, state)


def _check_digest(raw: bytes, expected: str, file: str) -> None:
    start, stop = _digest_place(raw)
    digest = hashlib.sha256(memoryview(raw)[:start])
    digest.update(NO_DIGEST.encode("ascii"))
    digest.update(memoryview(raw)[stop:])
    if digest.hexdigest() != expected:
        raise CheckpointError(
            f"{file}: the header is damaged: its SHA-256 is {digest.hexdigest()[:16]}…, it was written with "
            f"{expected[:16]}…. Use an older checkpoint."
        )


def _digest_place(raw: bytes) -> tuple[int, int]:
    """Where the header's own digest stands; for hashing, 64 zeros take its place."""
    key = b'"sha256":"'
    start = raw.index(key) + len(key)
    return start, start + len(NO_DIGEST)


def _decode_entries(text: str, position: int, data_size: int, file: str) -> list[Entry]:
    entries: list[Entry] = []
    names: set[str] = set()
    offset = 0
    while (match := _ENTRY.match(text, position)) is not None:
        if len(entries) == MAX_TENSORS:
            raise CheckpointError(f"{file}: more than {MAX_TENSORS:,} tensors")
        name, dtype, dimensions, begin, end = match.groups()
        if "\\" in name:
            name = _unescape(name, file)
        if len(name) > MAX_NAME or name == "__metadata__" or name in names:
            raise CheckpointError(f"{file}: tensor name {shown(name)} is too long, reserved, or stands twice")
        names.add(name)
        if dtype not in DTYPES:
            raise CheckpointError(f"{file}: tensor {name!r} has the unknown dtype {dtype!r}")
        shape = tuple(map(int, dimensions.split(","))) if dimensions else ()
        nbytes = np.dtype(DTYPES[dtype]).itemsize * math.prod(shape)
        limit = math.prod(length for length in shape if length) * 8
        if limit > np.iinfo(np.intp).max or (int(begin), int(end)) != (offset, offset + nbytes):
            raise CheckpointError(
                f"{file}: tensor {name!r} of dtype {dtype} and shape {shown(shape)} should take the bytes "
                f"{offset} to {offset + nbytes}, the header says {begin} to {end}"
            )
        offset += nbytes
        entries.append(Entry(name, dtype, shape, nbytes))
        position = match.end()
    if _END.match(text, position) is None:
        _malformed(file, text, position)
    if offset != data_size:
        kind = "truncated" if offset > data_size else "followed by other bytes"
        raise CheckpointError(
            f"{file}: {kind}: the tensors take {offset:,} bytes, the file has {data_size:,} for them"
        )
    return entries


def _unescape(name: str, file: str) -> str:
    try:
        decoded = json.loads(f'"{name}"')
        decoded.encode("utf-8")
    except ValueError:
        raise CheckpointError(f"{file}: tensor name {shown(name)} is no valid text") from None
    return str(decoded)


def _malformed(file: str, text: str, position: int) -> NoReturn:
    received = shown(text[position : position + 40])
    raise CheckpointError(f"{file}: the header is malformed at byte {LENGTH_BYTES + position}: {received}")


def raw_bytes(data: Any) -> np.ndarray:
    """A writable array of the bytes in ``data``."""
    return np.frombuffer(data, np.uint8).copy()


def as_array(raw: np.ndarray, entry: Entry) -> np.ndarray:
    """The bytes ``raw`` as an array of the machine's byte order; bfloat16 without ml_dtypes stays uint16."""
    plain = raw.view(DTYPES[entry.dtype]).reshape(entry.shape)
    plain = plain.astype(plain.dtype.newbyteorder("="), copy=False)
    if entry.dtype == "BF16":
        try:
            import ml_dtypes
        except ImportError:
            return plain
        return plain.view(ml_dtypes.bfloat16)
    return plain


def decode_state(text: str, file: str) -> dict[str, Any]:
    """The JSON object in ``text``: no key twice, no number that is not finite, bounded size and depth."""
    if len(text) > MAX_STATE:
        raise CheckpointError(f"{file}: its JSON state is too large: {len(text):,} characters")
    _check_json_size(text, file)
    try:
        state = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: its JSON state is malformed: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: its JSON state is no object but {shown(state)}")
    return state


def _check_json_size(text: str, file: str) -> None:
    """Bound depth and number of values before anything is built from ``text``."""
    depth = 0
    for count, match in enumerate(_JSON_TOKEN.finditer(text)):
        token = match[0]
        depth += 1 if token in "[{" else -1 if token in "]}" else 0
        if depth > MAX_STATE_DEPTH + 1:
            raise CheckpointError(f"{file}: its JSON state is nested more than {MAX_STATE_DEPTH} levels deep")
        if count > 5 * MAX_STATE_VALUES:  # a value has at most two strings, two brackets and a comma
            raise CheckpointError(f"{file}: its JSON state has more than {MAX_STATE_VALUES:,} values")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is out of range")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found
