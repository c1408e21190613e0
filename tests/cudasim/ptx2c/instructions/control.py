"""Branches, calls, barriers and warp operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..parser import Instruction, PtxError, split_operands
from .registry import instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator

REDUCTIONS = {"popc": "BARRIER_COUNT", "and": "BARRIER_AND", "or": "BARRIER_OR"}
SHUFFLES = {"up": "UP", "down": "DOWN", "bfly": "XOR", "idx": "INDEX"}
VOTES = {"all": "ALL", "any": "ANY", "uni": "UNIFORM", "ballot": "BALLOT"}


@instruction("bra")
def branch(f: FunctionTranslator, i: Instruction) -> str:
    return f"goto {f.lookup(i.operands[0]).c};"


@instruction("brx")
def branch_by_table(f: FunctionTranslator, i: Instruction) -> str:
    labels = f.lookup(i.operands[1]).labels
    cases = " ".join(f"case {k}: goto {f.lookup(label).c};" for k, label in enumerate(labels))
    return f"switch ({f.read(i.operands[0], 'u32')}) {{ {cases} }}"


@instruction("ret")
def leave(f: FunctionTranslator, i: Instruction) -> str:
    return "return;"


@instruction("exit")
def end_thread(f: FunctionTranslator, i: Instruction) -> str:
    if f.function.is_kernel:
        return "return;"
    f.waits = True  # only a fiber can end in the middle of a call
    return "t->services->exit_thread(t);"


@instruction("trap")
def trap(f: FunctionTranslator, i: Instruction) -> str:
    return 't->services->trap(t, "trap");'


@instruction("membar", "fence", "nanosleep", "prefetch", "prefetchu", "brkpt", "pmevent", "griddepcontrol")
def nothing(f: FunctionTranslator, i: Instruction) -> str:
    """One thread runs at a time and memory is coherent."""
    return ";"


@instruction("call")
def call(f: FunctionTranslator, i: Instruction) -> str:
    operands, result = list(i.operands), "0"
    if operands[0].startswith("("):
        result = f.lookup(operands.pop(0).strip("() ")).c
    name, *rest = operands
    arguments = split_operands(rest[0].strip("() ")) if rest and rest[0].startswith("(") else []
    pointers = "".join(f", {f.lookup(argument).c}" for argument in arguments)
    if f.is_register(name):
        f.calls_pointers = True
        signature = "void (*)(Thread *, u8 *" + ", u8 *" * len(arguments) + ")"
        return f"(({signature}){f.read(name, 'u64')})(t, {result}{pointers});"
    f.calls.add(name)
    return f"{f.lookup(name).c}(t, {result}{pointers});"


@instruction("bar", "barrier")
def barrier(f: FunctionTranslator, i: Instruction) -> str:
    f.waits = True
    if i.has("warp"):
        return f"t->services->warp(t, WARP_SYNC, {f.read(i.operands[0], 'u32')}, 0, 0, 0, 0);"
    if i.has("sync"):
        number, *count = (f.read(operand, "u32") for operand in i.operands)
        return f"t->services->barrier(t, {number}, {count[0] if count else 0}, BARRIER_COUNT, 0);"
    if i.has("red"):
        reduction = i.one_of(*REDUCTIONS)
        target, number, *count, predicate = i.operands
        threads = f.read(count[0], "u32") if count else "0"
        expression = (
            f"t->services->barrier(t, {f.read(number, 'u32')}, {threads}, {REDUCTIONS[reduction]},"
            f" {f.read(predicate, 'pred')})"
        )
        return f.write(target, expression, "u32" if reduction == "popc" else "pred")
    raise PtxError("this form of barrier")


@instruction("shfl")
def shuffle(f: FunctionTranslator, i: Instruction) -> str:
    f.waits = True
    value, b, c, mask = (f.read(operand, "u32") for operand in i.operands[1:])
    operation = SHUFFLES[i.one_of(*SHUFFLES)]
    target, *predicate = (name.strip() for name in i.operands[0].split("|"))
    code = f"u32 p; u32 r = t->services->warp(t, WARP_SHUFFLE_{operation}, {mask}, {value}, {b}, {c}, &p); "
    return code + " ".join([f.write(target, "r", "b32"), *(f.write(name, "p", "pred") for name in predicate)])


@instruction("vote")
def vote(f: FunctionTranslator, i: Instruction) -> str:
    f.waits = True
    operation = i.one_of(*VOTES)
    predicate, mask = f.read(i.operands[1], "pred"), f.read(i.operands[2], "u32")
    expression = f"t->services->warp(t, WARP_{VOTES[operation]}, {mask}, {predicate}, 0, 0, 0)"
    return f.write(i.operands[0], expression, "b32" if operation == "ballot" else "pred")


@instruction("activemask")
def active_mask(f: FunctionTranslator, i: Instruction) -> str:
    return f.write(i.operands[0], "(1u << (linear_thread(t) & 31))", "b32")
