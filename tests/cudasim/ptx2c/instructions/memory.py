"""Loads, stores, atomics, moves and address conversions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..parser import Instruction, PtxError, split_operands
from ..types import FLOATS, WIDTH, c_type, unsigned
from .registry import instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator


def _access(f: FunctionTranslator, i: Instruction, operand: str) -> tuple[str, str, int]:
    """C pointer, C type of an element in memory and its bytes."""
    size = WIDTH[i.type] // 8
    pointer = f.address(operand, i.space, size * i.lanes, f"{i.opcode}.{i.space or 'generic'}")
    return pointer, i.type if i.type in FLOATS else unsigned(i.type), size


def _then_yield(f: FunctionTranslator, i: Instruction) -> str:
    """Volatile shared accesses keep the lanes of a warp in step."""
    if i.has("volatile") and i.space in ("shared", ""):
        f.waits = True
        return " t->services->yield(t);"
    return ""


@instruction("ld", "ldu")
def load(f: FunctionTranslator, i: Instruction) -> str:
    pointer, c, size = _access(f, i, i.operands[1])
    targets = split_operands(i.operands[0].strip("{} "))
    values = " ".join(f"{c} v{k} = load_{c}(p + {k * size});" for k in range(len(targets)))
    stores = " ".join(f.write(target, f"({c_type(i.type)})v{k}", i.type) for k, target in enumerate(targets))
    return f"const u8 *p = {pointer}; {values} {stores}{_then_yield(f, i)}"


@instruction("st")
def store(f: FunctionTranslator, i: Instruction) -> str:
    pointer, c, size = _access(f, i, i.operands[0])
    values = split_operands(i.operands[1].strip("{} "))
    stores = " ".join(f"store_{c}(p + {k * size}, {f.read(v, i.type)});" for k, v in enumerate(values))
    return f"u8 *p = {pointer}; {stores}{_then_yield(f, i)}"


@instruction("atom", "red")
def atomic(f: FunctionTranslator, i: Instruction) -> str:
    operation = i.one_of("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
    target, address, *values = ["_", *i.operands] if i.opcode == "red" else i.operands
    if i.type in FLOATS and operation != "add":
        raise PtxError("only add for floats")
    type_ = i.type if i.type in FLOATS or operation in ("min", "max") else unsigned(i.type)
    c = c_type(type_)
    pointer = f.address(address, i.space, WIDTH[type_] // 8, "atomic")
    arguments = ", ".join(f.read(value, type_) for value in values)
    return f.write(target, f"atom_{operation}_{c}({pointer}, {arguments})", type_)


@instruction("mov")
def move(f: FunctionTranslator, i: Instruction) -> str:
    target, source = i.operands
    if target.startswith("{"):
        parts = split_operands(target.strip("{} "))
        width = WIDTH[i.type] // len(parts)
        writes = " ".join(
            f.write(p, f"(u{width})(v >> {k * width})", f"b{width}") for k, p in enumerate(parts)
        )
        return f"{unsigned(i.type)} v = {f.read(source, f'b{WIDTH[i.type]}')}; {writes}"
    if source.startswith("{"):
        parts = split_operands(source.strip("{} "))
        width = WIDTH[i.type] // len(parts)
        joined = " | ".join(
            f"({unsigned(i.type)}){f.read(p, f'b{width}')} << {k * width}" for k, p in enumerate(parts)
        )
        return f.write(target, joined, f"b{WIDTH[i.type]}")
    return f.write(target, f.read(source, i.type), i.type)


@instruction("cvta")
def convert_address(f: FunctionTranslator, i: Instruction) -> str:
    address = f.read(i.operands[1], "u64")
    if i.space == "shared":
        to_shared = f"{address} - (u64)t->shared"
        address = to_shared if i.has("to") else f"(u64)t->shared + (u32)({address})"
    return f.write(i.operands[0], address, "u64")
