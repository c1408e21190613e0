"""PTX types and the C types that hold them."""

from __future__ import annotations

WIDTH = {"pred": 1, "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "b128": 128}
WIDTH |= {f"{kind}{bits}": bits for kind in "bus" for bits in (8, 16, 32, 64)}
FLOATS = {"f32", "f64"}
HALVES = {"f16", "bf16"}

STATE_SPACES = {"reg", "global", "shared", "local", "param", "const"}
ROUNDING = {"rz": "FE_TOWARDZERO", "rm": "FE_DOWNWARD", "rp": "FE_UPWARD"}  # rn is C's own
INTEGER_ROUNDING = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}


def c_type(ptx: str) -> str:
    """The C type that an instruction of type ``ptx`` computes with."""
    if ptx in FLOATS:
        return ptx
    if ptx == "pred":
        return "u8"
    return ("s" if ptx.startswith("s") else "u") + str(WIDTH[ptx])


def register_type(ptx: str) -> str:
    """The C type of a register declared as ``ptx``: integers are kept unsigned."""
    return c_type(ptx).replace("s", "u")


def unsigned(ptx: str) -> str:
    """The unsigned integer as wide as ``ptx``."""
    return f"u{WIDTH[ptx]}"


def is_signed(ptx: str) -> bool:
    return ptx.startswith("s")
