"""The header of a checkpoint file: its bytes, and a reader that accepts nothing else.

The header is the safetensors one in a fixed spelling (ASCII JSON, no spaces, keys in a fixed order). The
reader takes names, types and shapes out of it and has the writer spell them again: a header that differs in a
byte is not ours. Every cap bounds the memory and the time that a hostile file can cost.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from neon_optim.errors import CheckpointError, shown
from neon_optim.serialization.checkpoint.file_kind import HEAD_BYTES, advice, kind_of

FORMAT_VERSION = 1

#: Formats of files with this header, by their kind (`file_kind`): whole checkpoints, and what sharded ones are made of.
FORMATS = {
    "checkpoint": "neon_optim.checkpoint",
    "part": "neon_optim.checkpoint.part",
    "index": "neon_optim.checkpoint.index",
}

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
_MOST_ELEMENTS = np.iinfo(np.intp).max // 8

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

_PREFIX = re.compile(
    r'\{"__metadata__":\{"format":"neon_optim\.checkpoint(?:\.part|\.index)?",'
    r'"format_version":"(0|[1-9][0-9]{0,8})","sha256":"([0-9a-f]{64})",'
)
_DIGEST = re.compile("[0-9a-f]{64}")


class Entry(NamedTuple):
    """One tensor of a file: ``dtype`` in the file's terms (``'F32'``), ``nbytes`` of data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class Header(NamedTuple):
    """A verified header: tensors in the order of their data, a digest each, the state as JSON text, its own digest."""

    format_version: int
    entries: list[Entry]
    digests: list[str]
    state: str
    sha256: str


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
    found.sort(key=lambda pair: (-itemsize(pair[0].dtype), pair[0].name))
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


def encode_header(
    entries: Sequence[Entry], digests: Sequence[str], state: str, kind: str = "checkpoint"
) -> bytes:
    """Length and header, with the header's own digest filled in; its size does not depend on the digests."""
    header = _spell(entries, digests, state, FORMAT_VERSION, kind).encode("ascii")
    header += b" " * (-(LENGTH_BYTES + len(header)) % ALIGNMENT)
    if len(header) > MAX_HEADER:
        raise CheckpointError(
            f"the names and the JSON state take {len(header):,} bytes, at most {MAX_HEADER:,} fit; "
            "keep long series as arrays"
        )
    raw = len(header).to_bytes(LENGTH_BYTES, "little") + header
    return raw.replace(NO_DIGEST.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)


def digest_of(header: bytes) -> str:
    """The digest that an encoded header holds of itself."""
    found = _PREFIX.match(header[LENGTH_BYTES : LENGTH_BYTES + HEAD_BYTES].decode("ascii"))
    assert found is not None
    return found[2]


def _spell(entries: Sequence[Entry], digests: Sequence[str], state: str, version: int, kind: str) -> str:
    """The header without padding, with zeros in the place of its own digest."""
    parts = [
        f'{{"__metadata__":{{"format":"{FORMATS[kind]}","format_version":"{version}","sha256":"{NO_DIGEST}",'
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
    return "".join([*parts, "}"])


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


def _check_name(name: Any, file: str = "") -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or name == "__metadata__":
        raise CheckpointError(
            f"{file}array names are strings of 1 to {MAX_NAME} characters, received {shown(name)}"
        )
    _check_json(name, f"{file}an array name", 0)


# ---- reading


def header_length(head: bytes, size: int, file: str, kind: str = "checkpoint") -> int:
    """Length of the header of a file of ``size`` bytes, checked before anything is allocated for it."""
    if kind_of(head) != kind:
        due = "checkpoint of this package" if kind == "checkpoint" else f"{kind} of a sharded checkpoint"
        raise CheckpointError(f"{file}: not a{'n' if kind == 'index' else ''} {due} but {advice(head)}")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > min(size - LENGTH_BYTES, MAX_HEADER):
        raise CheckpointError(
            f"{file}: truncated or damaged: its header should take {length:,} bytes, at most {MAX_HEADER:,} are "
            f"allowed, and the file has {size:,}. Use an older checkpoint."
        )
    return length


def decode_header(raw: bytes, size: int, file: str, kind: str = "checkpoint") -> Header:
    """Check and take apart ``raw`` (length and header) of a file of ``size`` bytes."""
    try:
        text = raw[LENGTH_BYTES:].decode("ascii")
    except UnicodeDecodeError:
        raise CheckpointError(f"{file}: damaged, or not a checkpoint: its header is not ASCII") from None
    prefix = _PREFIX.match(text)
    if prefix is None:
        raise CheckpointError(
            f"{file}: damaged, or not a checkpoint: the header starts {shown(text[:120], 130)}"
        )
    version, signature = int(prefix[1]), prefix[2]
    digest = hashlib.sha256(raw.replace(signature.encode(), NO_DIGEST.encode(), 1)).hexdigest()
    if digest != signature:
        raise CheckpointError(
            f"{file}: the header is damaged: its SHA-256 is {digest[:16]}…, it was written with "
            f"{signature[:16]}…. Use an older checkpoint."
        )
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: written by format {version}, this is {FORMAT_VERSION}: a newer neon_optim reads it"
        )
    fields = parse_json(text, f"{file}: the header", MAX_TENSORS + 2, 20 * MAX_TENSORS, 3)
    metadata = fields.pop("__metadata__")
    state, digests = metadata.get("state"), metadata.get("tensor_sha256")
    if not isinstance(state, str) or not isinstance(digests, str):
        raise CheckpointError(f"{file}: the header is malformed: it has no text of a state, or no digests")
    entries = [_entry(name, field, file) for name, field in fields.items()]
    found = digests.split(" ") if digests else []
    if len(found) != len(entries) or not all(map(_DIGEST.fullmatch, found)):
        raise CheckpointError(f"{file}: {len(found)} digests for {len(entries)} tensors, or no digests")
    text = text.replace(signature, NO_DIGEST, 1)
    spelled = _spell(entries, found, state, version, kind)
    if text.rstrip(" ") != spelled or len(text) - len(spelled) >= ALIGNMENT:
        pairs = enumerate(itertools.zip_longest(text, spelled))
        place = next(k for k, (theirs, ours) in pairs if theirs != ours)
        theirs, ours = (shown(each[max(place - 20, 0) : place + 20]) for each in (text, spelled))
        raise CheckpointError(f"{file}: the header is malformed: {theirs} where {ours} is due")
    if (due := sum(entry.nbytes for entry in entries)) != size - len(raw):
        kind = "truncated" if due > size - len(raw) else "followed by other bytes"
        raise CheckpointError(
            f"{file}: {kind}: the tensors take {due:,} bytes, the file has {size - len(raw):,} for them"
        )
    return Header(version, entries, found, state, signature)


def _entry(name: str, fields: Any, file: str) -> Entry:
    fields = fields if isinstance(fields, dict) else {}
    return entry_of(name, fields.get("dtype"), fields.get("shape"), file)


def entry_of(name: Any, dtype: Any, shape: Any, file: str) -> Entry:
    """A tensor by what a file says of it, checked: its name, its type and the list of its sizes."""
    _check_name(name, f"{file}: ")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{file}: tensor {name!r} has the unknown dtype {shown(dtype)}")
    sizes: list[Any] = shape if isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS else [None]
    if not all(type(n) is int and n >= 0 for n in sizes) or math.prod(n or 1 for n in sizes) > _MOST_ELEMENTS:
        raise CheckpointError(
            f"{file}: tensor {name!r} has the shape {shown(shape)}, which no array can have"
        )
    return Entry(name, dtype, tuple(sizes), itemsize(dtype) * math.prod(sizes))


def itemsize(dtype: str) -> int:
    """Bytes of an element of a type in the file's terms."""
    return np.dtype(DTYPES[dtype]).itemsize


def numpy_type(dtype: str) -> np.dtype:
    """The NumPy type of arrays that are read from a type in the file's terms."""
    return as_array(np.empty(0, np.uint8), Entry("", dtype, (0,), 0), "").dtype


def as_array(raw: np.ndarray, entry: Entry, file: str) -> np.ndarray:
    """The bytes ``raw`` as an array of the machine's byte order; bfloat16 without ml_dtypes stays uint16."""
    if entry.dtype == "BOOL" and raw.max(initial=0) > 1:
        raise CheckpointError(f"{file}: tensor {entry.name!r} is bool but holds bytes other than 0 and 1")
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
    state = parse_json(
        text, f"{file}: its JSON state", MAX_STATE_VALUES, MAX_STATE_VALUES, MAX_STATE_DEPTH + 1
    )
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: its JSON state is no object but {shown(state)}")
    return state


def parse_json(text: str, what: str, objects: int, values: int, depth: int) -> Any:
    """The JSON value in ``text``; its numbers of objects and values and its depth are bounded before it is built."""
    outside = re.sub('"[^"]*"', "", text.replace("\\\\", "").replace('\\"', ""))  # of strings
    if outside.count("{") > objects or sum(map(outside.count, ",[{")) > 2 * values:  # a bracket, a comma each
        raise CheckpointError(f"{what} has more than {objects:,} objects or {values:,} values")
    brackets = re.sub(r"[^][{}]+", "", outside)
    for _ in range(depth):
        brackets = re.sub(r"\[\]|\{\}", "", brackets)
    if brackets:
        raise CheckpointError(f"{what} is malformed, or nested more than {depth} levels deep")
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except ValueError as error:
        raise CheckpointError(f"{what} is malformed: {error}") from None


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
