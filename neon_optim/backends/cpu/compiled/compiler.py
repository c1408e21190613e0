"""Source of a generated function → machine code, by Numba. Importing this module imports Numba."""

from __future__ import annotations

import importlib.abc
import importlib.util
from importlib.machinery import ModuleSpec
from types import CodeType

import llvmlite.binding as llvm  # type: ignore[import-untyped]

from neon_optim.backends.cpu.compiled.machine_code import MachineCode, host_target

__all__ = ["compile_kernel"]


class _Loader(importlib.abc.InspectLoader):
    """Makes a module of text that this process generated."""

    def __init__(self, source: str):
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, f"<{fullname}>")


def compile_kernel(function: str, source: str) -> MachineCode:
    """The machine code of a function without Python objects, decorated with its signature."""
    loader = _Loader(source)
    module = importlib.util.module_from_spec(ModuleSpec(function, loader))
    loader.exec_module(module)
    dispatcher = getattr(module, function)
    (signature,) = dispatcher.signatures
    optimized = llvm.parse_assembly(dispatcher.inspect_llvm(signature))
    symbol = dispatcher.overloads[signature].fndesc.llvm_func_name
    needs = tuple(f.name for f in optimized.functions if f.is_declaration and not f.name.startswith("llvm."))
    return MachineCode(symbol, needs, host_target().emit_object(optimized))
