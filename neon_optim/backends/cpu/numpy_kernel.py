"""One stage of a Program as a sequence of NumPy calls on blocks, with reused scratch.

Each element value gets a buffer: the slot itself where it is stored there and nothing reads the old contents later,
else a scratch buffer that is free again after its last reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.program import ELEMENT, Program, Stage

__all__ = ["NumpyKernel"]

Reference = tuple[str, int]


def _load(slot: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, slot)


class _Scratch:
    """Hands out scratch numbers and takes them back."""

    def __init__(self) -> None:
        self.count = 0
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        self.count += 1
        return self.count - 1

    def give_back(self, number: int) -> None:
        self._free.append(number)


class NumpyKernel:
    """A stage compiled for one combination of slot dtypes, with one choice of functions.

    Attributes:
        dtype: the compute type.
        n_scratch: number of scratch buffers of that type a block needs.
    """

    def __init__(
        self,
        program: Program,
        stage: Stage,
        dtypes: Sequence[np.dtype],
        functions: dict[str, Callable[..., Any]],
    ):
        self._functions = functions
        self.dtype = compute_type(dtypes)
        self.stage = stage
        self._dtypes = list(dtypes)
        self._steps: list[tuple[Callable[..., Any], tuple[Reference, ...], Reference]] = []
        self._stores: list[tuple[int, Reference]] = []
        self._references: dict[int, Reference] = {v: ("input", k) for k, v in enumerate(stage.inputs)}
        self.n_scratch = self._compile(program)
        starts = {"slot": 0, "input": len(dtypes), "scratch": len(dtypes) + len(stage.inputs)}

        def place(reference: Reference) -> int:
            return starts[reference[0]] + reference[1]

        # Every step has two places or more, so that its getter gives a tuple.
        self._calls = [
            (f, itemgetter(*map(place, arguments), place(out))) for f, arguments, out in self._steps
        ]
        self._stored = [(slot, place(reference)) for slot, reference in self._stores]
        self._reduced = [place(self._references[program.code[r].args[0]]) for r in stage.reductions]

    def _compile(self, program: Program) -> int:
        code, stage = program.code, self.stage
        end = len(code)
        last_use: dict[int, int] = {}
        for v in stage.element_code:
            for a in code[v].args:
                last_use[a] = v
        for v in [value for _, value in stage.outputs] + [code[r].args[0] for r in stage.reductions]:
            last_use[v] = end
        slot_read_last = {
            code[v].index: last_use.get(v, v) for v in stage.element_code if code[v].op == "slot"
        }
        home = {}  # value -> slot that it can be computed into
        for slot, value in reversed(stage.outputs):
            old_contents_done = slot_read_last.get(slot, -1) <= value
            if code[value].op != "slot" and self._dtypes[slot] == self.dtype and old_contents_done:
                home[value] = slot
        stored_values = {value for _, value in stage.outputs}
        scratch = _Scratch()
        for v in stage.element_code:
            instruction = code[v]
            function: Callable[..., Any]
            arguments: tuple[Reference, ...]
            if instruction.op == "slot":
                if self._dtypes[instruction.index] == self.dtype and v not in stored_values:
                    self._references[v] = ("slot", instruction.index)
                    continue
                function, arguments = _load, (("slot", instruction.index),)
            else:
                function = self._functions[instruction.op]
                arguments = tuple(self._references[a] for a in instruction.args)
            dying = {a for a in instruction.args if last_use[a] == v and code[a].rank == ELEMENT}
            self._release(dying, scratch)
            where = ("slot", home[v]) if v in home else ("scratch", scratch.take())
            self._references[v] = where
            self._steps.append((function, arguments, where))
        for slot, value in stage.outputs:
            if self._references[value] != ("slot", slot):
                self._stores.append((slot, self._references[value]))
        return scratch.count

    def _release(self, values: set[int], scratch: _Scratch) -> None:
        for v in values:
            kind, number = self._references[v]
            if kind == "scratch":
                scratch.give_back(number)

    def run(
        self, slots: Sequence[np.ndarray], inputs: Sequence[Any], scratch: Sequence[np.ndarray]
    ) -> tuple[list[Any], list[tuple[int, Any]]]:
        """Compute one block.

        Arguments:
            slots: the blocks of the row's arrays, all of one shape.
            inputs: the stage's scalar inputs, as scalars of the compute type.
            scratch: ``n_scratch`` buffers of that shape.

        Returns:
            The operands of the stage's reductions; and the (slot, value) pairs that are still to be stored, since
            their slot has another type or is read to the end.
        """
        registers = [*slots, *inputs, *scratch]
        for function, operands in self._calls:
            function(*operands(registers))
        stores = [(slot, registers[k]) for slot, k in self._stored]
        return [registers[k] for k in self._reduced], stores
