"""What kind of file somebody has given, by its first bytes, and what to do with one that is no checkpoint."""

from __future__ import annotations

import re

HEAD_BYTES = 400

#: Kinds of files: how they start, and what an error says of one that is not ours.
_KINDS = {
    "checkpoint": (
        rb'.{8}\{"__metadata__":\{"format":"neon_optim\.checkpoint",',
        "a whole checkpoint in one file",
    ),
    "part": (
        rb'.{8}\{"__metadata__":\{"format":"neon_optim\.checkpoint\.part",',
        "a part of a sharded checkpoint: give the folder that it is in",
    ),
    "index": (
        rb'.{8}\{"__metadata__":\{"format":"neon_optim\.checkpoint\.index",',
        "the index of a sharded checkpoint: give the folder that it is in",
    ),
    "safetensors": (
        rb".{4}\0{4}\{",
        "a safetensors file of another program or of `neon-optim convert --to torch`, or damaged: "
        "`neon-optim convert` makes a checkpoint of the parameters in one",
    ),
    "gzip": (
        rb"\x1f\x8b",
        "a compressed file (gzip): `neon-optim convert` makes a checkpoint of one that neon wrote",
    ),
    "pickle": (
        rb"\x80[\x00-\x05]|\(d|\}q",
        "a pickle: `neon-optim convert` makes a checkpoint of one that neon wrote",
    ),
    "arrays": (
        rb"PK\x03\x04|\x93NUMPY",
        "a file of NumPy (.npy, .npz) or torch.save: load it there and save its arrays with safetensors, which "
        "`neon-optim convert` reads",
    ),
    "text": (
        rb"[\t\n\f\r -~\x80-\xff]+\Z",
        "text, such as a YAML config: `neon-optim train` takes one; checkpoints are in the folder of its run",
    ),
    "empty": (rb"\Z", "an empty file"),
    "unknown": (rb"", "of an unknown kind, or damaged: use an older checkpoint if it was one"),
}


def kind_of(head: bytes) -> str:
    """What starts with ``head``: 'checkpoint', 'part', 'index', 'safetensors' (another program's), 'gzip', 'text', …

    >>> kind_of(b"epochs: 3")
    'text'
    """
    return next(kind for kind, (start, _) in _KINDS.items() if re.match(start, head, re.DOTALL))


def advice(head: bytes) -> str:
    """What an error says of a file that is no checkpoint."""
    return _KINDS[kind_of(head)][1]
