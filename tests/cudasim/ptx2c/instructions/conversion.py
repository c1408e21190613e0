"""cvt: between integers, floats and the 16-bit floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..parser import Instruction, PtxError
from ..types import FLOATS, HALVES, INTEGER_ROUNDING, WIDTH, c_type, is_signed
from .registry import instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator


@instruction("cvt")
def convert(f: FunctionTranslator, i: Instruction) -> str:
    if len(i.operands) != 2 or len(i.types) != 2 or i.has("relu"):
        raise PtxError("this form of cvt")
    target, source = i.types
    value = f.read(i.operands[1], "b16" if source in HALVES else source)
    if source in HALVES:
        source, value = "f32", f"f32_of_{source}({value})"
    from_float, to_float = source in FLOATS, target in FLOATS or target in HALVES
    if from_float and i.has("ftz") and source == "f32":
        value = f"ftz({value})"
    if from_float and to_float:
        expression = _float_to_float(i, target, source, value)
    elif from_float:
        expression = _float_to_integer(i, target, source, value)
    elif to_float:
        expression = _integer_to_float(i, target, source, value)
    elif i.has("sat"):
        low, high = _integer_limits(target)
        expression = f"({c_type(target)})clamp_integer((s128){value}, {low}, {high})"
    else:
        expression = f"({c_type(target)}){value}"  # into a wider register by the sign of `target`
    return f.write(i.operands[0], expression, "b16" if target in HALVES else target)


def _integer_limits(type_: str) -> tuple[str, str]:
    bits = WIDTH[type_]
    return (f"INT{bits}_MIN", f"INT{bits}_MAX") if is_signed(type_) else ("0", f"UINT{bits}_MAX")


def _float_to_float(i: Instruction, target: str, source: str, value: str) -> str:
    suffix = "f" if source == "f32" else ""
    for modifier, function in INTEGER_ROUNDING.items():
        if i.has(modifier):
            value = f"{function}{suffix}({value})"
    if i.has("sat"):
        value = f"saturate_{source}({value})"
    if target == "f16":
        if i.rounding:
            return f"f16_of_f32_directed({value}, {i.rounding})"
        return f"f16_of_{source}({value})"
    if target == "bf16":
        if i.rounding and i.rounding != "FE_TOWARDZERO":
            raise PtxError("this rounding to bf16")
        return f"bf16_of_f32{'_rz' if i.rounding else ''}((f32){value})"
    if target == "f32" and source == "f64":
        value = f"directed_f32_of_f64({value}, {i.rounding})" if i.rounding else f"(f32){value}"
        return f"ftz({value})" if i.has("ftz") else value
    return f"({target}){value}"


def _float_to_integer(i: Instruction, target: str, source: str, value: str) -> str:
    function = INTEGER_ROUNDING[i.one_of(*INTEGER_ROUNDING)]
    bits, signed = WIDTH[target], is_signed(target)
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1)) if signed else (0.0, 2.0**bits)
    least, most = _integer_limits(target)
    # What the hardware gives for NaN: 0, but the top bit alone for 64-bit results and for 32-bit ones of f64.
    nan = f"1ull << {bits - 1}" if bits == 64 or (bits == 32 and source == "f64") else "0"
    arguments = (
        f"{function}((f64){value}), {low!r}, {high!r}, (u64){least}, (u64){most}, {nan}, {int(signed)}"
    )
    return f"({c_type(target)})saturating_integer({arguments})"


def _integer_to_float(i: Instruction, target: str, source: str, value: str) -> str:
    if target in HALVES:
        return f"f16_of_f64((f64){value})" if target == "f16" else f"bf16_of_f32((f32){value})"
    if i.rounding:
        wide = f"{'s' if is_signed(source) else 'u'}64"
        return f"directed_{target}_of_{wide}({value}, {i.rounding})"
    return f"({target}){value}"
