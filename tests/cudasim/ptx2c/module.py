"""A PTX module → one C file: globals, functions, kernels and the tables that the driver reads."""

from __future__ import annotations

import re

from .function import FunctionTranslator, Symbol, mangle
from .parser import Function, Module, PtxError, Variable, parse_module, split_operands
from .types import WIDTH

# Bodies of what nvcc expects the driver to bring. P0, P1, … point at the arguments, `result` at the result.
BUILTINS = {
    "vprintf": "const char *f; const u8 *a; memcpy(&f, P0, 8); memcpy(&a, P1, 8);"
    " s32 n = t->services->print(f, a); memcpy(result, &n, 4);",
    "__assertfail": 't->services->trap(t, "device assertion");',
}


def translate(text: str) -> str:
    return ModuleTranslator(parse_module(text)).c_source()


class ModuleTranslator:
    """Owns the symbols of a module and the layout of its shared memory."""

    def __init__(self, module: Module) -> None:
        self.functions = module.functions
        self.symbols: dict[str, Symbol] = {}
        self.globals: dict[str, Variable] = {}
        self.shared: dict[str, Variable] = {}
        self._shared_offset: dict[str, int] = {}
        self._shared_end = 0
        for name in module.functions:
            self.symbols[name] = Symbol("function", f"F_{mangle(name)}")
        for variable in module.variables:
            self.declare(variable)

    def declare(self, variable: Variable) -> None:
        name = variable.name
        if variable.space == "shared":
            if variable.external:
                self.symbols[name] = Symbol("shared", "DYNAMIC_SHARED")
                return
            offset = -(-self._shared_end // variable.align) * variable.align
            self._shared_end = offset + variable.size
            self.shared[name] = variable
            self._shared_offset[name] = offset
            self.symbols[name] = Symbol("shared", f"{offset}u")
        elif variable.space in ("global", "const"):
            if not (variable.external and name in self.globals):
                self.globals[name] = variable
                self.symbols[name] = Symbol("memory", f"G_{mangle(name)}")
        else:
            raise PtxError(f"a module variable in .{variable.space}: {name}")

    def c_source(self) -> str:
        translated = {
            name: FunctionTranslator(self, function).translate()
            for name, function in self.functions.items()
            if function.body is not None
        }
        waiting = self._waiting(translated)
        parts = ['#include "runtime.h"', f"#define DYNAMIC_SHARED {self._dynamic_shared()}u"]
        parts += [
            f"static u8 G_{mangle(v.name)}[{max(v.size, 1)}] __attribute__((aligned({max(v.align, 8)})));"
            for v in self.globals.values()
        ]
        plain = [f for f in self.functions.values() if not f.is_kernel]
        parts += [prototype(f) + ";" for f in plain]
        parts += [f"{prototype(f)} {{ {builtin(f)} }}" for f in plain if f.body is None]
        for name, function in self.functions.items():
            if name in translated:
                parts.append(define(function, translated[name].c, name in waiting))
        parts.append(self._initialisation())
        parts.append(self._tables(translated, waiting))
        return "\n".join(parts) + "\n"

    def _dynamic_shared(self) -> int:
        return -(-self._shared_end // 16) * 16

    @staticmethod
    def _waiting(translated: dict[str, FunctionTranslator]) -> set[str]:
        """Functions that wait, or call one that may: their kernels need a fiber for each thread."""
        waiting = {name for name, f in translated.items() if f.waits}
        grew = bool(waiting)
        while grew:
            reached = {n for n, f in translated.items() if f.calls & waiting or f.calls_pointers} - waiting
            waiting |= reached
            grew = bool(reached)
        return waiting

    def _initialisation(self) -> str:
        lines = ["static void __attribute__((constructor)) initialise(void) {"]
        for variable in self.globals.values():
            if variable.initial:
                values = self._initial_values(variable)
                bits = WIDTH[variable.type]
                lines.append(
                    f"  {{ u{bits} v[] = {{{', '.join(f'(u{bits})({v})' for v in values)}}};"
                    f" memcpy(G_{mangle(variable.name)}, v, sizeof v); }}"
                )
        return "\n".join([*lines, "}"])

    def _initial_values(self, variable: Variable) -> list[str]:
        items = [variable.initial or ""]
        while any(item.startswith("{") for item in items):
            items = [
                part
                for item in items
                for part in (split_operands(item[1:-1]) if item.startswith("{") else [item])
            ]
        return [self._initial_value(item) for item in items]

    def _initial_value(self, text: str) -> str:
        if match := re.fullmatch(r"0[fFdD]([0-9a-fA-F]+)", text):
            return f"0x{match[1]}ull"
        if match := re.fullmatch(r"(?:generic\()?\s*([A-Za-z_$][\w$.]*)\s*\)?\s*([+-]\s*\d+)?", text):
            return f"(u64){self.symbols[match[1]].c}{match[2] or ''}"
        if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)[uU]?", text):
            return text.rstrip("uU") + "ll" + "u" * (not text.startswith("-"))
        raise PtxError(f"an initial value: {text}")

    def _tables(self, translated: dict[str, FunctionTranslator], waiting: set[str]) -> str:
        rows = []
        for name, translator in translated.items():
            function = translator.function
            if not function.is_kernel:
                continue
            offsets, size = layout(function.parameters)
            sizes = [p.size for p in function.parameters]
            used = [v for v in self._shared_of(name, translated) if v in self.shared]
            shared = sum(self.shared[v].size for v in used)
            shared_end = max((self._shared_offset[v] + self.shared[v].size for v in used), default=0)
            entry = mangle(name)
            runners = f"0, T_{entry}" if name in waiting else f"B_{entry}, 0"
            rows.append(
                f'  {{"{name}", {runners}, {len(offsets)}, {numbers(offsets)}, {numbers(sizes)},'
                f" {size}, {translator.local_bytes}, {function.max_threads}, {shared}, {shared_end}}},"
            )
        variables = [
            f'  {{"{v.name}", G_{mangle(v.name)}, {max(v.size, 1)}}},' for v in self.globals.values()
        ]
        tables = [
            "const Kernel cudasim_kernels[] = {", *rows, "  {0}};",
            "const Global cudasim_globals[] = {", *variables, "  {0}};",
            "const u32 cudasim_static_shared = DYNAMIC_SHARED;",
        ]  # fmt: skip
        return "\n".join(tables)

    @staticmethod
    def _shared_of(kernel: str, translated: dict[str, FunctionTranslator]) -> set[str]:
        """The shared variables that a kernel and all it calls name."""
        seen: set[str] = set()
        todo, used = [kernel], set()
        while todo:
            name = todo.pop()
            if name in seen or name not in translated:
                continue
            seen.add(name)
            used |= translated[name].shared_used
            todo += translated[name].calls
        return used


def layout(parameters: list[Variable]) -> tuple[list[int], int]:
    """Offset of each parameter in the parameter block, and the block's size."""
    offsets, end = [], 0
    for parameter in parameters:
        end = -(-end // parameter.align) * parameter.align
        offsets.append(end)
        end += parameter.size
    return offsets, end


def numbers(values: list[int]) -> str:
    return f"(const u32[]){{{', '.join(map(str, [*values, 0]))}}}"


def prototype(function: Function) -> str:
    arguments = "".join(f", u8 *P{i}" for i in range(len(function.parameters)))
    return f"static __attribute__((unused)) void F_{mangle(function.name)}(Thread *t, u8 *result{arguments})"


def builtin(function: Function) -> str:
    return BUILTINS.get(function.name, f't->services->trap(t, "unsupported: no function {function.name}");')


def define(function: Function, body: str, waits: bool) -> str:
    name = mangle(function.name)
    if not function.is_kernel:
        return f"{prototype(function)} {{\n{body}}}"
    kernel = f"INLINE void K_{name}(Thread *t, u8 *P) {{\n{body}}}\n"
    if waits:
        return f"{kernel}static void T_{name}(Thread *t, u8 *P) {{ K_{name}(t, P); }}"
    return f"""{kernel}static void B_{name}(Thread *shared, u8 *P, const u32 *order) {{
  Thread thread = *shared, *t = &thread;
  const u32 nx = t->ntid[0], ny = t->ntid[1], count = nx * ny * t->ntid[2];
  for (u32 i = 0; i < count; i++) {{
    const u32 id = order ? order[i] : i;
    t->tid[0] = id % nx;
    t->tid[1] = id / nx % ny;
    t->tid[2] = id / nx / ny;
    K_{name}(t, P);
  }}
}}"""
