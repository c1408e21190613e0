"""Reads the data in a pickle: numbers, text, containers and NumPy arrays. It cannot do anything else.

A pickle is a program for a stack machine. This is such a machine for the instructions that build plain data;
it never imports what the file names and never calls it: the five NumPy and codec names of genuine files are
known here as symbols, and every other name is refused.

Why not ``pickle.Unpickler`` with ``find_class``: it takes extension codes past ``find_class``, builds objects and
grows its memo to any size, so pickletools would have to look at every opcode first. That refuses the same hostile
files in about 70 lines less, but two parsers must then agree on every byte, values left on the stack and items set in
lists pass, and there would be an unpickler in the package, where now no module imports one.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from neon_optim.errors import CheckpointError, shown

MAX_VALUES = 1_000_000
MAX_DEPTH = 100
_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_LATIN1 = {"latin1", "latin-1", "iso-8859-1"}


class _Mark:
    """Where a group of values begins on the stack."""


class _Symbol:
    """A name in the file that we know; what :meth:`_Machine.reduce` does with it stands there."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Pending:
    """A dtype or an array whose state is still to come."""

    def __init__(self, dtype: np.dtype | None = None) -> None:
        self.dtype = dtype
        self.array: np.ndarray | None = None


_MARK = _Mark()
_SYMBOLS = {
    **{
        f"{module}.{name}": _Symbol(name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    },
    "numpy.ndarray": _Symbol("ndarray"),
    "numpy.dtype": _Symbol("dtype"),
    "_codecs.encode": _Symbol("encode"),
}


def read_pickle_data(data: bytes, file: str, *, max_values: int = MAX_VALUES) -> Any:
    """The value that a pickle builds, if it is plain data.

    That is None, bool, int, float, str, bytes, list, tuple, dict (with keys of str or int) and NumPy arrays of plain
    numbers, nested as they like.

    Text of Python 2 is read as latin-1.

    Args:
        data: the pickle, protocol 0 to 5.
        file: how errors name it.
        max_values: most numbers, texts and containers, and instructions, that it may have.

    Raises:
        CheckpointError: a name other than the NumPy constructors, an instruction that builds other objects,
        or damage.

    Example:
        >>> import pickle
        >>> read_pickle_data(pickle.dumps({"epoch_index": 13, "rate": [0.1]}, protocol=2), "a.p")
        {'epoch_index': 13, 'rate': [0.1]}
        >>> read_pickle_data(pickle.dumps(eval), "b.p")
        Traceback (most recent call last):
        neon_optim.errors.CheckpointError: b.p: refused: it asks for 'builtins.eval', ...
    """
    machine = _Machine(file, max_values)
    try:
        for count, (name, argument) in enumerate(_instructions(data)):
            if count > max_values:
                machine.fail(f"more than {max_values:,} instructions")
            machine.run(name, argument)
        return machine.result()
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"{file}: no pickle that can be read, or damaged: {error}") from None


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each instruction, as ``pickletools.genops`` gives them; but the text of Python 2 is latin-1
    in protocol 0 too, where that takes ASCII alone."""
    stream = io.BytesIO(data)
    name = ""
    while name != "STOP":
        code = stream.read(1)
        opcode = pickletools.code2op.get(code.decode("latin-1"))  # type: ignore[attr-defined]
        if opcode is None:
            raise ValueError(f"the instruction {code!r} is unknown" if code else "it ends before its STOP")
        name, argument = opcode.name, None
        if name == "STRING":
            text = pickletools.read_stringnl(stream, decode=False)
            argument = codecs.escape_decode(text)[0].decode("latin-1")
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
        yield name, argument


class _Machine:
    def __init__(self, file: str, max_values: int) -> None:
        self.file = file
        self.max_values = max_values
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.values = 0

    def fail(self, reason: str) -> NoReturn:
        raise CheckpointError(f"{self.file}: refused: {reason}")

    def run(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = [self.pop() for _ in range(count)]
            stack.append(tuple(reversed(items)))
        elif name in _GROUPS:
            items = self.pop_group()
            stack.append(_GROUPS[name](items) if name != "DICT" else self.store({}, items))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "APPEND":
            item = self.pop()
            self.top(list).append(item)
        elif name == "APPENDS":
            items = self.pop_group()
            self.top(list).extend(items)
        elif name == "SETITEM":
            value, key = self.pop(), self.pop()
            self.store(self.top(dict), [key, value])
        elif name == "SETITEMS":
            items = self.pop_group()
            self.store(self.top(dict), items)
        elif name == "GLOBAL":
            stack.append(self.symbol(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            stack.append(self.symbol(module, attribute))
        elif name == "REDUCE":
            arguments, function = self.pop(), self.pop()
            stack.append(self.reduce(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            self.build(self.top(_Pending), state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            named = f" of {argument!r}" if isinstance(argument, str) else ""
            self.fail(f"the instruction {name}{named} builds objects that are no plain data")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing on the stack")
        return value

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            self.fail(f"it changes a {type(self.stack[-1]).__name__} in a way that no genuine file does")
        return self.stack[-1]

    def pop_group(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                group = self.stack[place + 1 :]
                del self.stack[place:]
                return group
        raise ValueError("the start of a group is missing")

    def store(self, target: dict, items: list[Any]) -> dict:
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                self.fail(f"the dict key {shown(key)} is neither text nor an integer")
            target[key] = value
        return target

    def symbol(self, module: Any, name: Any) -> _Symbol:
        found = _SYMBOLS.get(f"{module}.{name}")
        if found is None or not isinstance(module, str) or "." in name:
            allowed = (
                "numpy.ndarray, numpy.dtype, numpy.core.multiarray._reconstruct and .scalar, _codecs.encode"
            )
            self.fail(f"it asks for {f'{module}.{name}'[:100]!r}, and only these are allowed: {allowed}")
        return found

    def reduce(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Symbol) or not isinstance(arguments, tuple):
            self.fail(
                f"it calls {shown(function) if not isinstance(function, _Symbol) else function.name} unusually"
            )
        if function.name == "encode" and len(arguments) == 2 and arguments[1] in _LATIN1:
            return _bytes(arguments[0])
        if function.name == "dtype" and arguments:
            return _Pending(self.dtype(arguments))
        if (
            function.name == "_reconstruct"
            and len(arguments) == 3
            and arguments[0] is _SYMBOLS["numpy.ndarray"]
        ):
            return _Pending()
        if function.name == "scalar" and len(arguments) == 2 and isinstance(arguments[0], _Pending):
            dtype, raw = arguments[0].dtype, _bytes(arguments[1])
            if dtype is not None and len(raw) == dtype.itemsize:
                return np.frombuffer(raw, dtype)[0].item()
        return self.fail(f"it calls {function.name} with {shown(arguments)}")

    def dtype(self, arguments: tuple) -> np.dtype:
        code = _text(arguments[0])
        match = _DTYPE.fullmatch(code)
        if match is None:
            self.fail(f"it holds an array of dtype {code[:40]!r}; only plain numbers are allowed")
        return np.dtype(code)

    def build(self, target: _Pending, state: Any) -> None:
        if not isinstance(state, tuple):
            self.fail(f"the state {shown(state)} is no tuple")
        if target.dtype is not None:
            # (version, byte order, subdtype, names, fields, itemsize, alignment, flags)
            if (
                len(state) != 8
                or any(part is not None for part in state[2:5])
                or _text(state[1]) not in "<>|="
            ):
                self.fail(f"the dtype state {shown(state)} is not that of plain numbers")
            target.dtype = target.dtype.newbyteorder(_text(state[1]))  # type: ignore[arg-type]
            return
        if len(state) != 5 or target.array is not None or not isinstance(state[2], _Pending):
            self.fail(f"the array state {shown(state)} is not one that NumPy writes")
        _, shape, pending, fortran, raw = state
        dtype = pending.dtype
        if dtype is None or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            self.fail(f"an array of shape {shown(shape)} without a dtype of plain numbers")
        if not isinstance(raw, bytes | str):
            self.fail(f"the contents of an array are a {type(raw).__name__}, not bytes: an array of objects")
        raw = _bytes(raw)
        if len(raw) != math.prod(shape) * dtype.itemsize:
            self.fail(f"an array of shape {shown(shape)} and dtype {dtype} has {len(raw):,} bytes of data")
        array = np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
        target.array = np.array(array, dtype.newbyteorder("="), order="C")

    def result(self) -> Any:
        if len(self.stack) != 1:
            raise ValueError(f"{len(self.stack)} values are left on the stack")
        return self.plain(self.stack[0], 0)

    def plain(self, value: Any, depth: int) -> Any:
        """A copy with the arrays in their places; references in circles and bombs of references end here."""
        self.values += 1
        if depth > MAX_DEPTH or self.values > self.max_values:
            self.fail(
                f"it is nested deeper than {MAX_DEPTH} levels or has more than {self.max_values:,} values"
            )
        if isinstance(value, dict):
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.plain(item, depth + 1) for item in value]
        if isinstance(value, tuple):
            return tuple([self.plain(item, depth + 1) for item in value])
        if isinstance(value, _Pending) and value.array is not None:
            return value.array
        if isinstance(value, _Pending | _Symbol | _Mark):
            self.fail("it holds a function, a class or an unfinished array where data belong")
        return value


def _bytes(value: Any) -> bytes:
    """Bytes as they are; the text of Python 2 by its bytes."""
    if isinstance(value, bytes):
        return value
    return str.encode(value, "latin-1")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


_PUSHES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NEW: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GROUPS: dict[str, Callable[[Any], Any]] = {"TUPLE": tuple, "LIST": list, "DICT": dict}
