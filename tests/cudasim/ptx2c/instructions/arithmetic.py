"""Arithmetic on integers and floats, the carry chain, and the approximate functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..parser import Instruction, PtxError
from ..types import FLOATS, WIDTH, c_type, is_signed, unsigned
from .registry import instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
WIDER = {16: "32", 32: "64", 64: "128"}


def read_float(f: FunctionTranslator, i: Instruction, operand: str) -> str:
    value = f.read(operand, i.type)
    return f"ftz({value})" if i.has("ftz") and i.type == "f32" else value


def write_float(f: FunctionTranslator, i: Instruction, expression: str) -> str:
    if i.has("ftz") and i.type == "f32":
        expression = f"ftz({expression})"
    if i.has("sat"):
        expression = f"saturate_{i.type}({expression})"
    return f.write(i.operands[0], expression, i.type)


def _directed(i: Instruction, name: str, arguments: Sequence[str]) -> str:
    """A call of the runtime's ``directed_*``, which all take three operands and the mode."""
    padded = [*arguments, "0", "0"][:3]
    return f"directed_{name}_{i.type}({', '.join(padded)}, {i.rounding})"


def _float_operation(f: FunctionTranslator, i: Instruction) -> str:
    if i.type not in FLOATS:
        raise PtxError(f"arithmetic on {i.type}")
    a, b = (read_float(f, i, operand) for operand in i.operands[1:])
    expression = _directed(i, i.opcode, (a, b)) if i.rounding else f"({a} {OPERATORS[i.opcode]} {b})"
    return write_float(f, i, expression)


def _with_carry(f: FunctionTranslator, i: Instruction, expression: str, width: int) -> str:
    """Writes the low ``width`` bits of a double-width sum; with .cc the carry is kept."""
    carry = f"CARRY = (u32)(r >> {width}) & 1; " if i.has("cc") else ""
    return f"u{WIDER[width]} r = {expression}; {carry}{f.write(i.operands[0], f'(u{width})r', f'u{width}')}"


@instruction("add", "sub")
def add(f: FunctionTranslator, i: Instruction) -> str:
    if not i.type.startswith(("u", "s", "b")) or i.type == "bf16":
        return _float_operation(f, i)
    operator, width = OPERATORS[i.opcode], WIDTH[i.type]
    if i.has("sat"):
        a, b = (f.read(operand, "s32") for operand in i.operands[1:])
        return f.write(
            i.operands[0], f"(s32)clamp_integer((s128){a} {operator} {b}, INT32_MIN, INT32_MAX)", "s32"
        )
    a, b = (f.read(operand, unsigned(i.type)) for operand in i.operands[1:])
    if i.has("cc"):
        return _with_carry(f, i, f"(u{WIDER[width]}){a} {operator} {b}", width)
    return f.write(i.operands[0], f"({unsigned(i.type)})({a} {operator} {b})", unsigned(i.type))


@instruction("addc", "subc")
def add_with_carry(f: FunctionTranslator, i: Instruction) -> str:
    operator, width = OPERATORS[i.opcode[:3]], WIDTH[i.type]
    a, b = (f.read(operand, f"u{width}") for operand in i.operands[1:])
    return _with_carry(f, i, f"(u{WIDER[width]}){a} {operator} {b} {operator} CARRY", width)


def _product(f: FunctionTranslator, i: Instruction) -> tuple[str, str]:
    """Expression and PTX type of an integer product: its low half, its high half, or all of it."""
    width, sign = WIDTH[i.type], "s" if is_signed(i.type) else "u"
    a, b = (f.read(operand, f"{sign}{width}") for operand in i.operands[1:3])
    wide = f"{sign}{WIDER[width]}"
    if i.has("wide"):
        return f"(({wide}){a} * ({wide}){b})", wide
    if i.has("hi"):
        return f"((u{width})((({wide}){a} * ({wide}){b}) >> {width}))", f"u{width}"
    return f"((u{width})((u64){a} * (u64){b}))", f"u{width}"


@instruction("mul")
def multiply(f: FunctionTranslator, i: Instruction) -> str:
    if i.type in FLOATS:
        return _float_operation(f, i)
    expression, type_ = _product(f, i)
    return f.write(i.operands[0], expression, type_)


@instruction("mad", "madc")
def multiply_add(f: FunctionTranslator, i: Instruction) -> str:
    if i.type in FLOATS:
        return fused_multiply_add(f, i)
    expression, type_ = _product(f, i)
    width = WIDTH[type_]
    c = f.read(i.operands[3], f"u{width}")
    if i.opcode == "madc" or i.has("cc"):
        carry = " + CARRY" if i.opcode == "madc" else ""
        return _with_carry(f, i, f"(u{WIDER[width]})(u{width}){expression} + {c}{carry}", width)
    return f.write(i.operands[0], f"(u{width})((u{width}){expression} + {c})", f"u{width}")


@instruction("fma")
def fused_multiply_add(f: FunctionTranslator, i: Instruction) -> str:
    arguments = [read_float(f, i, operand) for operand in i.operands[1:]]
    plain = f"{'fmaf' if i.type == 'f32' else 'fma'}({', '.join(arguments)})"
    return write_float(f, i, _directed(i, "fma", arguments) if i.rounding else plain)


@instruction("div", "rem")
def divide(f: FunctionTranslator, i: Instruction) -> str:
    if i.type in FLOATS:
        return _float_operation(f, i)
    c = c_type(i.type)
    a, b = (f.read(operand, i.type) for operand in i.operands[1:])
    by_zero, operator = (f"({c})-1", "/") if i.opcode == "div" else ("a", "%")
    by_minus_one = f"({c})(0 - (u64)a)" if i.opcode == "div" else "0"  # C leaves INT_MIN / -1 undefined
    special = f" : b == ({c})-1 ? {by_minus_one}" if is_signed(i.type) else ""
    expression = f"({c})(b == 0 ? {by_zero}{special} : a {operator} b)"
    return f"{c} a = {a}, b = {b}; {f.write(i.operands[0], expression, i.type)}"


@instruction("abs", "neg")
def sign(f: FunctionTranslator, i: Instruction) -> str:
    value = f.read(i.operands[1], i.type)
    if i.type in FLOATS:
        magnitude = f"fabs{'f' if i.type == 'f32' else ''}({value})"
        return write_float(f, i, magnitude if i.opcode == "abs" else f"(-{value})")
    c = c_type(i.type)
    negated = f"({c})(0 - (u64){value})"
    return f.write(
        i.operands[0], negated if i.opcode == "neg" else f"({value} < 0 ? {negated} : {value})", i.type
    )


@instruction("min", "max")
def extremum(f: FunctionTranslator, i: Instruction) -> str:
    if i.type in FLOATS:
        a, b = (read_float(f, i, operand) for operand in i.operands[1:])
        return f.write(
            i.operands[0], f"{i.opcode}_{'nan_' if i.has('NaN') else ''}{i.type}({a}, {b})", i.type
        )
    if i.type == "bf16":
        raise PtxError("arithmetic on bf16")
    a, b = (f.read(operand, i.type) for operand in i.operands[1:])
    comparison = "<" if i.opcode == "min" else ">"
    c = c_type(i.type)
    return f"{c} a = {a}, b = {b}; {f.write(i.operands[0], f'(a {comparison} b ? a : b)', i.type)}"


@instruction("sqrt", "rcp", "rsqrt")
def root_or_reciprocal(f: FunctionTranslator, i: Instruction) -> str:
    value = read_float(f, i, i.operands[1])
    root = f"{'sqrtf' if i.type == 'f32' else 'sqrt'}({value})"
    one = f"({i.type})1"
    if i.rounding:
        directed = {"sqrt": ("sqrt", (value,)), "rcp": ("div", (one, value))}
        return write_float(f, i, _directed(i, *directed[i.opcode]))
    return write_float(
        f, i, {"sqrt": root, "rcp": f"({one} / {value})", "rsqrt": f"({one} / {root})"}[i.opcode]
    )


@instruction("ex2", "lg2", "sin", "cos", "tanh")
def approximation(f: FunctionTranslator, i: Instruction) -> str:
    """The host's functions: more exact than the hardware's, whose last bits nothing may rely on."""
    if i.type != "f32":
        raise PtxError(f"approximation in {i.type}")
    function = {"ex2": "exp2f", "lg2": "log2f", "sin": "sinf", "cos": "cosf", "tanh": "tanhf"}[i.opcode]
    return write_float(f, i, f"{function}({read_float(f, i, i.operands[1])})")


@instruction("copysign")
def copy_sign(f: FunctionTranslator, i: Instruction) -> str:
    sign_source, magnitude = (f.read(operand, i.type) for operand in i.operands[1:])
    return f.write(
        i.operands[0], f"copysign{'f' if i.type == 'f32' else ''}({magnitude}, {sign_source})", i.type
    )


@instruction("testp")
def test_property(f: FunctionTranslator, i: Instruction) -> str:
    value = f.read(i.operands[1], i.type)
    tests = {
        "finite": "isfinite",
        "infinite": "isinf",
        "number": "!isnan",
        "notanumber": "isnan",
        "normal": "isnormal",
        "subnormal": "FP_SUBNORMAL == fpclassify",
    }
    return f.write(i.operands[0], f"({tests[i.one_of(*tests)]}({value}))", "pred")


@instruction("sad")
def sum_of_absolute_differences(f: FunctionTranslator, i: Instruction) -> str:
    c = c_type(i.type)
    a, b, addend = (f.read(operand, i.type) for operand in i.operands[1:])
    total = f"({c})({addend} + (a < b ? b - a : a - b))"
    return f"{c} a = {a}, b = {b}; {f.write(i.operands[0], total, i.type)}"
