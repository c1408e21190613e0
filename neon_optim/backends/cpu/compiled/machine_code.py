"""Machine code for this processor: what an object file holds, and what it is made for."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]

__all__ = ["MachineCode", "converts_float16", "host_target"]


@dataclass(frozen=True)
class MachineCode:
    """An object file with one function.

    Attributes:
        symbol: the function's name in it.
        needs: names of functions that it calls and does not hold, such as those of the C library.
        content: the bytes of the file.
    """

    symbol: str
    needs: tuple[str, ...]
    content: bytes

    def to_bytes(self) -> bytes:
        """A line with the digest of what follows, a line of JSON, the object file."""
        header = json.dumps({"symbol": self.symbol, "needs": self.needs}).encode()
        body = header + b"\n" + self.content
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    @classmethod
    def from_bytes(cls, data: bytes) -> MachineCode | None:
        """What :meth:`to_bytes` wrote; None where a byte of it is not as it was."""
        digest, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        header, _, content = body.partition(b"\n")
        fields = json.loads(header)
        return cls(fields["symbol"], tuple(fields["needs"]), content)


@cache
def host_target() -> Any:
    """Code generation for this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


@cache
def converts_float16() -> bool:
    """Whether this processor has instructions for float16; else LLVM calls functions that may not be there."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return not is_x86 or bool(llvm.get_host_cpu_features().get("f16c"))
