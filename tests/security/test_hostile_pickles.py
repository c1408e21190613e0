"""Hostile pickles run no code: each would create a canary file if any of it ran."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import subprocess

import numpy as np
import pytest

from neon_optim.errors import CheckpointError
from neon_optim.serialization.neon.neon_pickle import read_neon_pickle

CANARY = "canary"
SHELL = f"touch {CANARY}"
PYTHON = f"open({CANARY!r}, 'w').close()"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """GLOBAL, a tuple of arguments, REDUCE."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def file(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


DTYPE = call("numpy", "dtype", text("f4"), b"K\x00", b"K\x01")
NDARRAY = b"cnumpy\nndarray\n"


def array(shape: bytes = b"K\x01\x85", dtype: bytes = DTYPE, raw: bytes = b"U\x04\0\0\0\0") -> bytes:
    head = b"cnumpy.core.multiarray\n_reconstruct\n" + NDARRAY + b"K\x00\x85" + b"U\x01b" + b"\x87R"
    return head + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def in_an_object_array(value: object) -> np.ndarray:
    found = np.empty(1, object)
    found[0] = value
    return found


def dumps(value: object, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)


def model(value: object) -> dict:
    return {"model": {"config": {"name": "a"}, "params": {"W": value}}, "epoch_index": 1}


ATTACKS = {
    **{f"os.system, protocol {n}": dumps(Evil(os.system, SHELL), n) for n in range(6)},
    "os.system in a model": dumps(model(Evil(os.system, SHELL))),
    "os.system as a key": dumps({Evil(os.system, SHELL): 1}),
    "os.popen": file(call("os", "popen", text(SHELL))),
    "posix.system": file(call("posix", "system", text(SHELL))),
    "nt.system": file(call("nt", "system", text(SHELL))),
    "subprocess.Popen": dumps(Evil(subprocess.Popen, ["touch", CANARY])),
    "subprocess.check_output": dumps(Evil(subprocess.check_output, ["touch", CANARY])),
    "builtins.eval": dumps(Evil(eval, PYTHON)),
    "builtins.exec": dumps(Evil(exec, PYTHON)),
    "__builtin__.eval": file(call("__builtin__", "eval", text(PYTHON))),
    "__builtin__.execfile": file(call("__builtin__", "execfile", text("x.py"))),
    "builtins.open": dumps(Evil(open, CANARY, "w")),
    "io.open": file(call("io", "open", text(CANARY), text("w"))),
    "builtins.getattr": dumps(Evil(getattr, "a", "upper")),
    "builtins.__import__": dumps(Evil(__import__, "os")),
    "importlib.import_module": file(call("importlib", "import_module", text("antigravity"))),
    "builtins.compile": dumps(Evil(compile, PYTHON, "a", "exec")),
    "builtins.bytearray of 2^40": file(call("builtins", "bytearray", b"\x8a\x06\0\0\0\0\0\1")),
    "code object": file(call("types", "CodeType")),
    "types.FunctionType": file(call("types", "FunctionType")),
    "functools.partial": file(call("functools", "partial", b"cos\nsystem\n")),
    "operator.attrgetter": file(call("operator", "attrgetter", text("system"))),
    "pickle.loads": dumps(Evil(pickle.loads, dumps(Evil(os.system, SHELL)))),
    "marshal.loads": file(call("marshal", "loads", text("x"))),
    "webbrowser.open": file(call("webbrowser", "open", text("http://x"))),
    "shutil.rmtree": file(call("shutil", "rmtree", text("."))),
    "pathlib write": file(call("pathlib", "Path", text(CANARY))),
    "numpy.load": file(call("numpy", "load", text("x.npy"))),
    "numpy.save": file(call("numpy", "save", text(CANARY), array())),
    "numpy.fromfile": file(call("numpy", "fromfile", text("/etc/passwd"))),
    "numpy.memmap": file(
        call("numpy", "memmap", text(CANARY), text("u1"), text("w+"), b"K\x00", b"K\x09\x85")
    ),
    "numpy.f2py": file(call("numpy.f2py", "compile", text("x"))),
    "numpy.testing runstring": file(call("numpy.testing._private.utils", "runstring", text(PYTHON), b"}")),
    "numpy.core.multiarray.fromfile": file(call("numpy.core.multiarray", "fromfile", text("/etc/passwd"))),
    "numpy.core.multiarray.tofile": file(call("numpy.core.multiarray", "ndarray.tofile", text(CANARY))),
    "dotted name below an allowed one": file(call("numpy", "ndarray.tofile", text(CANARY))),
    "dotted name, STACK_GLOBAL": file(text("numpy") + text("ndarray.tofile") + b"\x93)R", 4),
    "module and name joined differently": file(text("numpy.core") + text("multiarray.scalar") + b"\x93)R", 4),
    "STACK_GLOBAL os.system": file(text("os") + text("system") + b"\x93" + text(SHELL) + b"\x85R", 4),
    "STACK_GLOBAL of no text": file(b"K\x01K\x02\x93", 4),
    "INST os.system": b"(" + text(SHELL) + b"ios\nsystem\n.",
    "OBJ os.system": b"(cos\nsystem\n" + text(SHELL) + b"o.",
    "NEWOBJ": file(b"csubprocess\nPopen\n(lt\x81"),
    "NEWOBJ of an allowed name": file(NDARRAY + b"K\x09\x85\x81"),
    "NEWOBJ_EX": file(NDARRAY + b")}\x92", 4),
    "persistent id": b"Pos.system\n.",
    "persistent id, binary": file(text("os.system") + b"Q"),
    "extension registry": file(b"\x82\x01"),
    "out-of-band buffer": file(b"\x97", 5),
    "bytearray": file(b"\x96" + (4).to_bytes(8, "little") + b"abcd", 5),
    "a set": dumps({1, 2}, 4),
    "copyreg._reconstructor": file(call("copy_reg", "_reconstructor", NDARRAY, NDARRAY, b"N")),
    "object array": dumps(in_an_object_array([1])),
    "object array with os.system": dumps(model(in_an_object_array(Evil(os.system, SHELL)))),
    "object array, handmade": file(
        array(dtype=call("numpy", "dtype", text("O8"), b"K\x00", b"K\x01"), raw=b"]K\x01a")
    ),
    "plain dtype, contents a list": file(array(raw=b"]K\x01a")),
    "structured dtype": dumps(np.zeros(2, [("a", "f4")])),
    "text array": dumps(np.array(["a"])),
    "void array": dumps(np.zeros(2, "V4")),
    "datetime array": dumps(np.zeros(2, "M8[s]")),
    "masked array": dumps(np.ma.zeros(2)),
    "matrix": file(array().replace(NDARRAY, b"cnumpy.matrixlib.defmatrix\nmatrix\n")),
    "array of a subclass": file(array().replace(NDARRAY, b"cnumpy\nmemmap\n")),
    "dtype as the class of an array": file(array().replace(NDARRAY, b"cnumpy\ndtype\n")),
    "dtype of a callable": file(call("numpy", "dtype", b"cos\nsystem\n")),
    "dtype with a state of fields": file(DTYPE + b"(K\x03U\x01<N]}K\xffK\xffK\x00tb"),
    "dtype with a state too short": file(DTYPE + b"K\x01\x85b"),
    "dtype with a wrong byte order": file(DTYPE + b"(K\x03U\x01xNNNK\xffK\xffK\x00tb"),
    "encode into another codec": file(call("_codecs", "encode", text("x"), text("rot13"))),
    "encode with one argument": file(call("_codecs", "encode", text("x"))),
    "encode of a list": file(call("_codecs", "encode", b"]", text("latin1"))),
    "decode": file(call("_codecs", "decode", text("x"), text("zip"))),
    "codec lookup": file(call("_codecs", "register", b"cos\nsystem\n")),
    "scalar of an object dtype": file(
        call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("O")), b"N")
    ),
    "scalar of the wrong size": file(call("numpy.core.multiarray", "scalar", DTYPE, text("x"))),
    "scalar that calls": file(call("numpy.core.multiarray", "scalar", b"cos\nsystem\n", text(SHELL))),
    "REDUCE of data": file(text(SHELL) + text("x") + b"\x85R"),
    "REDUCE without a tuple": file(b"cnumpy\ndtype\n" + text("f4") + b"R"),
    "BUILD on a dict": file(b"}" + b"}" + text("__class__") + b"K\x01sb"),
    "BUILD on a function": file(b"c_codecs\nencode\n}" + text("__code__") + b"K\x01sb"),
    "BUILD twice": file(array() + b"(K\x01K\x01\x85" + DTYPE + b"\x89U\x04\0\0\0\0tb"),
    "APPEND to an array": file(array() + b"K\x01a"),
    "SETITEM on a class": file(NDARRAY + text("tofile") + b"K\x01s"),
    "array of a negative shape": file(array(shape=b"J\xff\xff\xff\xff\x85")),
    "array of an overflowing shape": file(
        array(shape=b"\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40\x86")
    ),
    "array larger than its data": file(array(shape=b"K\x09\x85")),
    "array smaller than its data": file(array(shape=b"K\x00\x85")),
    "array never finished": file(
        b"cnumpy.core.multiarray\n_reconstruct\n" + NDARRAY + b"K\x00\x85U\x01b\x87R"
    ),
    "a class as data": file(NDARRAY),
    "a list in itself": file(b"]q\x00h\x00a"),
    "bomb of references": file(
        b"]q\x00"
        + b"".join(b"(" + bytes([104, n]) * 10 + b"lq" + bytes([n + 1]) for n in range(30))
        + b"\x87"
    ),
    "memo of 2^31": file(b"]r\xff\xff\xff\x7f" + b"K\x01a" + b"j\xff\xff\xff\x7f"),
    "unknown memo": file(b"h\x09"),
    "text of 2^32 bytes": file(b"X\xff\xff\xff\xff"),
    "text of 2^63 bytes": file(b"\x8d" + b"\xff" * 7 + b"\x7f", 4),
    "bytes of 2^63 bytes": file(b"\x8e" + b"\xff" * 7 + b"\x7f", 4),
    "integer of 10^6 digits": b"L" + b"9" * 10**6 + b"L\n.",
    "depth 10^5": file(b"]" + b"]" * 10**5 + b"a" * 10**5),
    "many instructions": file(b"(" + b"N" * 1_200_000 + b"l"),
    "empty stack": b".",
    "mark only": b"(.",
    "pop below the mark": file(b"((ta"),
    "odd dict": file(b"(K\x01d"),
    "protocol 9": b"\x80\x09N.",
    "garbage": bytes(range(256)),
    "empty": b"",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "attack.p"
    path.write_bytes(ATTACKS[attack])
    with pytest.raises(CheckpointError) as caught:
        read_neon_pickle("attack.p")
    assert os.listdir(tmp_path) == ["attack.p"], "code of the file has run"
    assert "attack.p" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_name_that_was_asked_for_is_named(tmp_path):
    path = tmp_path / "attack.p"
    for attack, name in [
        ("os.system, protocol 2", "posix.system"),
        ("os.system, protocol 4", "posix.system"),
        ("builtins.eval", "__builtin__.eval"),
        ("numpy.memmap", "numpy.memmap"),
        ("dotted name below an allowed one", "numpy.ndarray.tofile"),
        ("INST os.system", "os system"),
    ]:
        path.write_bytes(ATTACKS[attack])
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            read_neon_pickle(path)


def test_the_canary_appears_where_pickle_itself_reads_the_file(tmp_path, monkeypatch):
    """Negative control: the attacks are real."""
    monkeypatch.chdir(tmp_path)
    worked = 0
    for attack in (
        "os.system, protocol 2",
        "subprocess.check_output",
        "builtins.exec",
        "numpy.memmap",
        "INST os.system",
    ):
        pathlib.Path(CANARY).unlink(missing_ok=True)
        pickle.load(io.BytesIO(ATTACKS[attack]))  # noqa: S301
        worked += pathlib.Path(CANARY).exists()
    assert worked == 5
