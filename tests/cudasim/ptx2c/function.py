"""One PTX function → the body of a C function: scopes, registers, operands and addresses."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from .instructions import TRANSLATORS
from .parser import Block, BranchTargets, Declaration, Function, Instruction, Label, PtxError, Variable
from .types import c_type, register_type

if TYPE_CHECKING:
    from .module import ModuleTranslator

SPECIAL_REGISTERS = {
    "%laneid": "(linear_thread(t) & 31)",
    "%warpid": "(linear_thread(t) >> 5)",
    "%nwarpid": "((t->ntid[0] * t->ntid[1] * t->ntid[2] + 31) / 32)",
    "%smid": "0u",
    "%nsmid": "1u",
    "%gridid": "1ull",
    "%lanemask_eq": "(1u << (linear_thread(t) & 31))",
    "%lanemask_lt": "((1u << (linear_thread(t) & 31)) - 1u)",
    "%clock": "(u32)clock_ticks()",
    "%clock64": "clock_ticks()",
    "%globaltimer": "clock_ticks()",
    "%dynamic_smem_size": "t->dynamic_shared_size",
    "%total_smem_size": "t->shared_size",
    "WARP_SZ": "32u",
}
SPECIAL_REGISTERS |= {
    f"%{name}.{axis}": f"t->{name}[{i}]"
    for name in ("tid", "ntid", "ctaid", "nctaid")
    for i, axis in enumerate("xyz")
}


def mangle(name: str) -> str:
    return name.replace("%", "R_").replace("$", "S_").replace(".", "D_")


class Symbol(NamedTuple):
    kind: str  # register, pointer (to local or parameter memory), memory, shared, function, label, targets
    c: str
    type: str = ""
    labels: tuple[str, ...] = ()


class FunctionTranslator:
    """Translates one function; its attributes then describe the result: `c`, `calls`, `waits` and so on."""

    def __init__(self, module: ModuleTranslator, function: Function) -> None:
        self.module = module
        self.function = function
        self.c = ""
        self.calls: set[str] = set()
        self.calls_pointers = False
        self.waits = False
        self.shared_used: set[str] = set()
        self.local_bytes = 0
        self._scopes: list[dict[str, Symbol]] = []
        self._lines: list[str] = []
        self._blocks = 0

    def translate(self) -> FunctionTranslator:
        from .module import layout

        arguments = {}
        for i, (parameter, offset) in enumerate(
            zip(self.function.parameters, layout(self.function.parameters)[0], strict=True)
        ):
            arguments[parameter.name] = Symbol(
                "pointer", f"(P+{offset})" if self.function.is_kernel else f"P{i}"
            )
        for variable in self.function.results:
            arguments[variable.name] = Symbol("pointer", "result")
        self._scopes.append(arguments)
        self._lines.append("  u32 CARRY = 0; (void)CARRY;")
        assert self.function.body is not None
        self._block(self.function.body)
        self.c = "\n".join(self._lines) + "\n"
        return self

    # ---- statements

    def _block(self, block: Block) -> None:
        self._blocks += 1
        number, scope, last = self._blocks, {}, ""
        for item in block.items:  # labels first: they are used before they stand
            if isinstance(item, Label):
                last = item.name
                scope[last] = Symbol("label", f"L{number}_{mangle(last)}")
            elif isinstance(item, BranchTargets):
                scope[last] = Symbol("targets", "", labels=tuple(item.labels))
        self._scopes.append(scope)
        for item in block.items:
            if isinstance(item, Block):
                self._lines.append("  {")
                self._block(item)
                self._lines.append("  }")
            elif isinstance(item, Label):
                if scope[item.name].kind == "label":
                    self._lines.append(f" {scope[item.name].c}:;")
            elif isinstance(item, Declaration):
                for variable in item.variables:
                    self._declare(variable)
            elif isinstance(item, Instruction):
                self._instruction(item)
        self._scopes.pop()

    def _declare(self, variable: Variable) -> None:
        scope, name = self._scopes[-1], variable.name
        if variable.space == "reg":
            names = [name] if variable.count is None else [f"{name}{i}" for i in range(variable.count)]
            for register in names:
                scope[register] = Symbol("register", mangle(register), variable.type)
            self._lines.append(
                f"  {register_type(variable.type)} {', '.join(f'{mangle(n)} = 0' for n in names)};"
            )
        elif variable.space in ("local", "param"):
            if variable.space == "local":
                self.local_bytes += variable.size
            c = f"V{self._blocks}_{mangle(name)}"
            scope[name] = Symbol("pointer", c)
            self._lines.append(
                f"  u8 {c}[{max(variable.size, 1)}] __attribute__((aligned({max(variable.align, 8)})));"
            )
        else:
            self.module.declare(variable)

    def _instruction(self, instruction: Instruction) -> None:
        translator = TRANSLATORS.get(instruction.opcode)
        try:
            if translator is None:
                raise PtxError("no such instruction")
            code = translator(self, instruction)
        except (PtxError, KeyError, IndexError) as error:
            # An instruction that is never reached does no harm; one that is reached stops the launch.
            print(f"ptx2c: {self.function.name}: {instruction.text}: {error}", file=sys.stderr)
            text = instruction.text.replace('"', "'")
            code = f't->services->trap(t, "unsupported instruction: {text}");'
        guard = f"if ({self.read(instruction.guard, 'pred')}) " if instruction.guard else ""
        self._lines.append(f"  {guard}{{ {code} }}")

    # ---- operands

    def lookup(self, name: str) -> Symbol:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if name not in self.module.symbols:
            raise PtxError(f"unknown symbol {name}")
        symbol = self.module.symbols[name]
        if symbol.kind == "shared":
            self.shared_used.add(name)
        return symbol

    def is_register(self, name: str) -> bool:
        return any(name in scope and scope[name].kind == "register" for scope in self._scopes)

    def read(self, operand: str, ptx: str) -> str:
        """A C expression of type ``c_type(ptx)``."""
        c = c_type(ptx)
        if operand.startswith("!"):
            return f"(!{self.read(operand[1:], ptx)})"
        if re.match(r"-\s*%", operand):
            return f"(-{self.read(operand[1:].strip(), ptx)})"
        if match := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})", operand):
            return self._float_literal(*match.groups(), ptx)
        if match := re.fullmatch(r"(-?)\s*(0x[0-9a-fA-F]+|0b[01]+|\d+)[uU]?", operand):
            return f"(({c}){match[1]}{match[2]}{'' if c in ('f32', 'f64') else 'ull'})"
        if operand in SPECIAL_REGISTERS:
            return f"(({c}){SPECIAL_REGISTERS[operand]})"
        name, offset = operand, ""
        if match := re.fullmatch(r"([\w$%.]+)\s*\+\s*(-?\s*\d+)", operand):
            name, offset = match[1], f" + ({match[2]})"
        symbol = self.lookup(name)
        if symbol.kind == "register":
            value = convert_bits(symbol.c, register_type(symbol.type), c)
            return f"({value}{offset})" if offset else value
        if symbol.kind in ("memory", "pointer", "function"):
            return f"(({c})((u64){symbol.c}{offset}))"
        if symbol.kind == "shared":
            return f"(({c})({symbol.c}{offset}))"
        raise PtxError(f"operand {operand}")

    @staticmethod
    def _float_literal(single: str | None, double: str | None, ptx: str) -> str:
        value = f"f32_of_bits(0x{single}u)" if single else f"f64_of_bits(0x{double}ull)"
        if ptx in ("f32", "f64"):
            return f"(({ptx}){value})"
        return f"(({c_type(ptx)})0x{single or double}ull)"

    def write(self, operand: str, expression: str, ptx: str) -> str:
        """Assigns an expression of type ``c_type(ptx)`` to a register; '_' drops it."""
        if operand == "_":
            return f"(void)({expression});"
        symbol = self.lookup(operand)
        if symbol.kind != "register":
            raise PtxError(f"not a register: {operand}")
        if symbol.type == "pred":
            return f"{symbol.c} = ({expression}) != 0;"
        return f"{symbol.c} = {convert_bits(expression, c_type(ptx), register_type(symbol.type))};"

    def address(self, operand: str, space: str, size: int, what: str) -> str:
        """A C pointer for the memory operand ``[base+offset]``, checked for ``size`` bytes."""
        match = re.fullmatch(r"\[\s*([\w$%.]+)\s*(?:([+-])\s*(-?\s*(?:0x[0-9a-fA-F]+|\d+)))?\s*\]", operand)
        if not match:
            raise PtxError(f"address {operand}")
        base, sign, digits = match.groups()
        offset = int((digits or "0").replace(" ", ""), 0) * (-1 if sign == "-" else 1)
        if base[0].isdigit():
            kind, expression = "constant", f"{base}ull"
        else:
            symbol = self.lookup(base)
            kind, expression = symbol.kind, symbol.c
        if kind == "pointer" or (kind == "memory" and space != "shared"):
            return f"({expression} + {offset})"
        if space == "shared":
            return f'shared_address(t, {expression} + {offset}, {size}, "{what}")'
        check = "global_address" if space == "global" else "generic_address"
        if space in ("local", "param"):
            return f"((u8 *)(u64)({expression} + {offset}))"
        return f'{check}(t, (u64)({expression}) + {offset}, {size}, "{what}")'


def convert_bits(expression: str, source: str, target: str) -> str:
    """The same bits as another C type; integers narrow, or widen by the sign of ``source``."""
    if source == target:
        return expression
    floats = ("f32", "f64")
    if source in floats:
        return f"(({target})bits_of_{source}({expression}))"
    if target in floats:
        return f"{target}_of_bits((u{target[1:]})({expression}))"
    return f"(({target})({expression}))"
