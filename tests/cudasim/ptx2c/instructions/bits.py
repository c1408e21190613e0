"""Logic, shifts and bit fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..parser import Instruction, PtxError
from ..types import WIDTH, c_type, is_signed, unsigned
from .registry import instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator

LOGIC = {"and": "&", "or": "|", "xor": "^"}


@instruction(*LOGIC)
def logic(f: FunctionTranslator, i: Instruction) -> str:
    a, b = (f.read(operand, i.type) for operand in i.operands[1:])
    return f.write(i.operands[0], f"({a} {LOGIC[i.opcode]} {b})", i.type)


@instruction("not")
def complement(f: FunctionTranslator, i: Instruction) -> str:
    operator = "!" if i.type == "pred" else f"({c_type(i.type)})~"
    return f.write(i.operands[0], f"{operator}{f.read(i.operands[1], i.type)}", i.type)


@instruction("cnot")
def is_zero(f: FunctionTranslator, i: Instruction) -> str:
    return f.write(i.operands[0], f"({f.read(i.operands[1], i.type)} == 0)", i.type)


@instruction("shl", "shr")
def shift(f: FunctionTranslator, i: Instruction) -> str:
    """PTX clamps the distance where C leaves it undefined."""
    width, distance = WIDTH[i.type], f.read(i.operands[2], "u32")
    if i.opcode == "shr" and is_signed(i.type):
        value = f"({f.read(i.operands[1], i.type)} >> (n >= {width} ? {width - 1} : n))"
        return f"u32 n = {distance}; {f.write(i.operands[0], value, i.type)}"
    operator = "<<" if i.opcode == "shl" else ">>"
    shifted = f"({unsigned(i.type)})((u64){f.read(i.operands[1], unsigned(i.type))} {operator} n)"
    return (
        f"u32 n = {distance}; {f.write(i.operands[0], f'(n >= {width} ? 0 : {shifted})', unsigned(i.type))}"
    )


@instruction("shf")
def funnel_shift(f: FunctionTranslator, i: Instruction) -> str:
    arguments = ", ".join(f.read(operand, "u32") for operand in i.operands[1:])
    return f.write(i.operands[0], f"shf_{i.one_of('l', 'r')}({arguments}, {int(i.has('wrap'))})", "u32")


@instruction("bfe")
def extract_field(f: FunctionTranslator, i: Instruction) -> str:
    value, *field = i.operands[1:]
    arguments = ", ".join([f.read(value, unsigned(i.type)), *(f.read(operand, "u32") for operand in field)])
    expression = f"({unsigned(i.type)})bfe({arguments}, {WIDTH[i.type]}, {int(is_signed(i.type))})"
    return f.write(i.operands[0], expression, unsigned(i.type))


@instruction("bfi")
def insert_field(f: FunctionTranslator, i: Instruction) -> str:
    wide = unsigned(i.type)
    types = (wide, wide, "u32", "u32")
    arguments = ", ".join(f.read(operand, t) for operand, t in zip(i.operands[1:], types, strict=True))
    return f.write(i.operands[0], f"({wide})bfi({arguments}, {WIDTH[i.type]})", wide)


@instruction("prmt", "lop3")
def by_table(f: FunctionTranslator, i: Instruction) -> str:
    if i.modifiers != ["b32"]:
        raise PtxError(f"{i.opcode} with a mode")
    arguments = ", ".join(f.read(operand, "u32") for operand in i.operands[1:])
    return f.write(i.operands[0], f"{i.opcode}({arguments})", "u32")


@instruction("popc", "clz", "brev")
def count_or_reverse(f: FunctionTranslator, i: Instruction) -> str:
    value, width = f.read(i.operands[1], unsigned(i.type)), WIDTH[i.type]
    if i.opcode == "brev":
        return f.write(i.operands[0], f"brev_{width}({value})", unsigned(i.type))
    function = "(u32)__builtin_popcountll" if i.opcode == "popc" else f"clz_{width}"
    return f.write(i.operands[0], f"{function}({value})", "u32")


@instruction("bfind")
def find_leading(f: FunctionTranslator, i: Instruction) -> str:
    extended = f"({'s' if is_signed(i.type) else 'u'}64){f.read(i.operands[1], i.type)}"
    flags = f"{WIDTH[i.type]}, {int(is_signed(i.type))}, {int(i.has('shiftamt'))}"
    return f.write(i.operands[0], f"bfind({extended}, {flags})", "u32")
