"""CUDA source for the elements of strided arrays: what a kernel is told of the arrays, and where an element lies."""

from __future__ import annotations

__all__ = ["STRIDED", "THREADS", "element", "offsets", "strided_struct"]

THREADS = 256

STRIDED = "strided"
"""What the argument is called in a kernel."""


def strided_struct(slots: int, ndim: int, scalars: int) -> str:
    """The argument of a kernel: addresses, the number of elements, extents, strides in bytes, and some numbers."""
    return (
        f"struct Strided {{ u64 address[{slots}]; i64 size, extent[{ndim}], stride[{slots}][{ndim}];"
        f" double scalar[{max(scalars, 1)}]; }};"
    )


def offsets(slots: int, ndim: int, index: str = "i") -> str:
    """Byte offsets o0, o1, … of an element of the shape, by its number."""
    lines = [f"    i64 rest = {index}, {', '.join(f'o{s} = 0' for s in range(slots))};"]
    for axis in reversed(range(1, ndim)):
        lines.append(
            f"    {{ const i64 k = rest % {STRIDED}.extent[{axis}]; rest /= {STRIDED}.extent[{axis}];"
        )
        lines.append(
            "      " + " ".join(f"o{s} += k * {STRIDED}.stride[{s}][{axis}];" for s in range(slots)) + " }"
        )
    last = " ".join(f"o{s} += rest * {STRIDED}.stride[{s}][0];" for s in range(slots))
    return "\n".join([*lines, f"    {last}"])


def element(slot: int, item: str, const: bool = False) -> str:
    """The element of a slot at its offset."""
    return f"*({'const ' if const else ''}{item} *)({STRIDED}.address[{slot}] + o{slot})"
