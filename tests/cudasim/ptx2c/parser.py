"""PTX text → declarations, functions and statements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .types import ROUNDING, STATE_SPACES, WIDTH

IDENTIFIER = r"[\w$%.]+"


class PtxError(Exception):
    """Text that this translator does not understand."""


@dataclass
class Variable:
    name: str
    space: str
    type: str
    align: int
    size: int  # bytes; 0 for an array without a length
    count: int | None = None  # of a register range: %r<5> is %r0 … %r4
    initial: str | None = None
    external: bool = False


@dataclass
class Label:
    name: str


@dataclass
class BranchTargets:
    labels: list[str]


@dataclass
class Declaration:
    variables: list[Variable]


@dataclass
class Instruction:
    text: str
    opcode: str
    modifiers: list[str]
    operands: list[str]
    guard: str | None = None  # "%p1" or "!%p1"

    @property
    def types(self) -> list[str]:
        return [m for m in self.modifiers if m in WIDTH]

    @property
    def type(self) -> str:
        return self.types[-1]

    @property
    def space(self) -> str:
        """The state space of a memory access; '' is generic."""
        return next((m.split("::")[0] for m in self.modifiers if m.split("::")[0] in STATE_SPACES), "")

    @property
    def lanes(self) -> int:
        return next((int(m[1:]) for m in self.modifiers if re.fullmatch(r"v\d", m)), 1)

    @property
    def rounding(self) -> str | None:
        """C's name of a rounding mode that is not the default."""
        return next((ROUNDING[m] for m in self.modifiers if m in ROUNDING), None)

    def has(self, modifier: str) -> bool:
        return modifier in self.modifiers

    def one_of(self, *choices: str) -> str:
        for modifier in self.modifiers:
            if modifier in choices:
                return modifier
        raise PtxError(f"none of {', '.join(choices)} in {self.text}")


@dataclass
class Block:
    items: list = field(default_factory=list)  # Block | Label | BranchTargets | Declaration | Instruction


@dataclass
class Function:
    name: str
    is_kernel: bool
    results: list[Variable]
    parameters: list[Variable]
    max_threads: int
    body: Block | None


@dataclass
class Module:
    variables: list[Variable] = field(default_factory=list)
    functions: dict[str, Function] = field(default_factory=dict)


def split_operands(text: str) -> list[str]:
    """Splits at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "{[(") - (character in "}])")
        if character == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [part for part in [*parts, text[start:].strip()] if part]


def parse_declaration(text: str) -> list[Variable]:
    """``.shared .align 4 .b8 a[16], b`` and its like."""
    directives, position = [], 0
    directive = re.compile(r"\s*\.(\w+)(?:::\w+)?(?:\s+(\d+)(?=\s)|\s*\([^)]*\))?")
    while match := directive.match(text, position):
        directives.append((match[1], match[2]))
        position = match.end()
    names = [name for name, _ in directives]
    type_ = next((name for name in names if name in WIDTH), None)
    space = next((name for name in names if name in STATE_SPACES), None)
    if type_ is None or space is None:
        raise PtxError(f"not a declaration: {text}")
    vector = next((int(name[1:]) for name in names if name in ("v2", "v4")), 1)
    element = max(1, WIDTH[type_] // 8) * vector
    before_pointee = (
        names.index("ptr") if "ptr" in names else len(names)
    )  # behind .ptr: of what is pointed at
    align = next((int(value) for name, value in directives[:before_pointee] if name == "align"), element)
    declarators, _, initial = text[position:].partition("=")
    variables = []
    for declarator in split_operands(declarators):
        match = re.match(rf"({IDENTIFIER})\s*(?:<\s*(\d+)\s*>)?((?:\s*\[\s*\d*\s*\])*)", declarator)
        if not match:
            raise PtxError(f"not a declaration: {text}")
        count = 1
        for dimension in re.findall(r"\[\s*(\d*)\s*\]", match[3]):
            count *= int(dimension or 0)
        if not count and initial:
            count = len(split_operands(initial.strip()[1:-1]))
        registers = int(match[2]) if match[2] else None
        size, external = count * element, "extern" in names
        variables.append(
            Variable(match[1], space, type_, align, size, registers, initial.strip() or None, external)
        )
    return variables


def parse_module(text: str) -> Module:
    for noise in (r"/\*.*?\*/", r"//[^\n]*", r"\.section\s+[\w.]+\s*\{[^}]*\}", "\0"):
        text = re.sub(noise, " ", text, flags=re.S)
    text = re.sub(r"^\s*\.(file|loc|version|target|address_size)\b.*$", "", text, flags=re.M)
    module, position = Module(), 0
    while match := re.compile(r"[\s;]*([^\s;{][^;{]*)").match(text, position):
        head = match[1].strip()
        position = match.end()
        if re.search(r"\.(entry|func)\b", head):
            body = None
            if text[position] == "{":
                body, position = _parse_block(text, position + 1)
            function = _parse_function(head, body)
            if body or function.name not in module.functions:
                module.functions[function.name] = function
            continue
        end = text.index(";", position)
        statement = (head + text[position:end]).strip()
        position = end + 1
        if not statement.startswith((".pragma", ".alias")):
            module.variables += parse_declaration(statement)
    return module


def _parse_function(head: str, body: Block | None) -> Function:
    match = re.search(
        rf"\.(entry|func)\b\s*(?:\(([^)]*)\)\s*)?({IDENTIFIER})\s*(?:\(([^)]*)\))?(.*)", head, re.S
    )
    if not match:
        raise PtxError(f"not a function: {head}")
    kind, results, name, parameters, attributes = match.groups()
    threads = 1024
    if limit := re.search(r"\.(?:max|req)ntid\s+([\d\s,]+)", attributes):
        threads = 1
        for extent in limit[1].split(","):
            threads *= int(extent)
    return Function(
        name, kind == "entry", _parse_parameters(results), _parse_parameters(parameters), threads, body
    )


def _parse_parameters(text: str | None) -> list[Variable]:
    return [variable for part in split_operands(text or "") for variable in parse_declaration(part)]


def _parse_block(text: str, position: int) -> tuple[Block, int]:
    """The statements up to the closing brace, and the position behind it."""
    block = Block()
    space, label = re.compile(r"[\s;]*"), re.compile(rf"({IDENTIFIER})\s*:(?!:)")
    while True:
        position = space.match(text, position).end()
        if position >= len(text):
            raise PtxError("a block without its end")
        if text[position] == "{":
            inner, position = _parse_block(text, position + 1)
            block.items.append(inner)
        elif text[position] == "}":
            return block, position + 1
        elif match := label.match(text, position):
            block.items.append(Label(match[1]))
            position = match.end()
        else:
            end = text.index(";", position)
            statement = " ".join(text[position:end].split())
            position = end + 1
            if item := _parse_statement(statement):
                block.items.append(item)


def _parse_statement(text: str) -> BranchTargets | Declaration | Instruction | None:
    if text.startswith(".branchtargets"):
        return BranchTargets(split_operands(text[len(".branchtargets") :]))
    if text.startswith((".pragma", ".callprototype", ".calltargets")):
        return None
    if text.startswith("."):
        return Declaration(parse_declaration(text))
    match = re.match(rf"(?:@(!?)\s*({IDENTIFIER})\s+)?([\w.:]+)\s*(.*)", text)
    if not match:
        raise PtxError(f"not an instruction: {text}")
    negated, register, operation, operands = match.groups()
    opcode, *modifiers = re.split(r"(?<!:)\.(?!:)", operation)
    return Instruction(text, opcode, modifiers, split_operands(operands), register and f"{negated}{register}")
