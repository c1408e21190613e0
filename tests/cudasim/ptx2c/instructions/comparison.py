"""Comparison and selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..parser import Instruction, PtxError
from ..types import FLOATS, HALVES, c_type, unsigned
from .bits import LOGIC
from .registry import instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator

ORDERED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNSIGNED = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
UNORDERED = {f"{name}u": operator for name, operator in ORDERED.items()}
COMPARISONS = (*ORDERED, *UNSIGNED, *UNORDERED, "num", "nan")


def compare(f: FunctionTranslator, i: Instruction, a: str, b: str) -> str:
    """A C condition for the comparison in the modifiers of ``i``."""
    name = i.one_of(*COMPARISONS)
    if i.type in HALVES:
        a, b = (f"f32_of_{i.type}({f.read(operand, 'b16')})" for operand in (a, b))
    elif i.type not in FLOATS:
        type_ = unsigned(i.type) if name in UNSIGNED else i.type
        return f"({f.read(a, type_)} {(ORDERED | UNSIGNED)[name]} {f.read(b, type_)})"
    else:
        a, b = f.read(a, i.type), f.read(b, i.type)
    unordered = f"({a} != {a} || {b} != {b})"
    if name in ("num", "nan"):
        return unordered if name == "nan" else f"!{unordered}"
    if name in UNORDERED:
        return f"({unordered} || {a} {UNORDERED[name]} {b})"
    return f"(!{unordered} && {a} {ORDERED[name]} {b})"


@instruction("setp")
def set_predicate(f: FunctionTranslator, i: Instruction) -> str:
    targets = [name.strip() for name in i.operands[0].split("|")]
    code = f"u8 c = {compare(f, i, i.operands[1], i.operands[2])}; "
    combined = "{}"
    if len(i.operands) > 3:
        code += f"u8 z = {f.read(i.operands[3], 'pred')}; "
        combined = f"({{}} {LOGIC[i.one_of(*LOGIC)]} z)"
    writes = [f.write(targets[0], combined.format("c"), "pred")]
    writes += [f.write(target, combined.format("(!c)"), "pred") for target in targets[1:]]
    return code + " ".join(writes)


@instruction("set")
def set_value(f: FunctionTranslator, i: Instruction) -> str:
    if len(i.operands) > 3:
        raise PtxError("set with a predicate")
    result = i.types[-2]
    truth = {"f32": "1.f"}.get(result, f"({c_type(result)})-1")
    return f.write(i.operands[0], f"({compare(f, i, i.operands[1], i.operands[2])} ? {truth} : 0)", result)


@instruction("selp")
def select(f: FunctionTranslator, i: Instruction) -> str:
    a, b = (f.read(operand, i.type) for operand in i.operands[1:3])
    return f.write(i.operands[0], f"({f.read(i.operands[3], 'pred')} ? {a} : {b})", i.type)


@instruction("slct")
def select_by_sign(f: FunctionTranslator, i: Instruction) -> str:
    result, by = i.types[-2:]
    a, b = (f.read(operand, result) for operand in i.operands[1:3])
    return f.write(i.operands[0], f"({f.read(i.operands[3], by)} >= 0 ? {a} : {b})", result)
