"""What the kernels of a Program are passed, and how their work is cut: known to the source and to the launches."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neon_optim.backends.gpu.rounding_source import ROUNDING_FIELDS
from neon_optim.backends.program import ELEMENT, ROW, SET, Program
from neon_optim.backends.sums import LANES

__all__ = [
    "CHANGING_FIELDS",
    "PIECE",
    "REDUCE_THREADS",
    "TABLE_FIELDS",
    "UPDATE_THREADS",
    "ScalarLayout",
    "kernel_name",
]

PIECE = 4_096
"""Elements of a piece of a stage that only stores; a stage that reduces has the chunks of a sum."""
UPDATE_THREADS = 256
REDUCE_THREADS = LANES // 4
"""Each thread of a reduction holds four of the lanes of a sum."""

TABLE_FIELDS = (
    ("rows", "const i64 *"),  # for each row: its addresses by slot, its size, its scalar set
    ("work", "const int2 *"),  # for each piece: its row, its number in the row
    ("n_work", "i64"),
    ("n_rows", "i64"),
    ("n_sets", "i64"),
    ("scopes", "const i64 *"),  # for each scalar set: its scope
    ("row_chunks", "const i64 *"),  # for each row, and the end: its first chunk
    ("partials", "double *"),  # [reduction][chunk]
    ("row_sums", "double *"),  # [reduction][row]
    ("set_values", "double *"),  # [set][value], see ScalarLayout
    ("row_values", "double *"),  # [row][value]
    ("ticket", "u32 *"),  # blocks that have finished; 0 between launches
    ("halted", "u64 *"),  # 0, or the execution whose guard was not finite: nothing is stored after it
    ("halted_on_host", "volatile u64 *"),  # the same, where the host reads it without waiting
    ("finished_on_host", "volatile u64 *"),  # there too: the last execution whose guard is known
    ("n_blocks", "i64"),  # of all launches of this stage together
)
CHANGING_FIELDS = (("number", "i64"), *ROUNDING_FIELDS)  # from one execution to the next


@dataclass(frozen=True)
class ScalarLayout:
    """Where the values of rank SET and ROW are found.

    Attributes:
        arguments: values that the host computes and passes with the launch, [set][position].
        on_device: values of rank SET that depend on reductions, [set][position] in ``set_values``.
        by_row: the same of rank ROW, [row][position] in ``row_values``.
    """

    arguments: tuple[int, ...]
    on_device: tuple[int, ...]
    by_row: tuple[int, ...]

    @classmethod
    def of(cls, program: Program) -> ScalarLayout:
        code = program.code
        used = {v for stage in program.stages for v in stage.inputs} | set(program.results)
        used |= {a for i in code if i.rank != ELEMENT and (i.depth or i.rank == ROW) for a in i.args}
        used |= set() if program.guard is None else {program.guard}
        return cls(
            tuple(v for v in sorted(used) if code[v].rank == SET and not code[v].depth),
            tuple(v for v, i in enumerate(code) if i.rank == SET and i.depth),
            tuple(v for v, i in enumerate(code) if i.rank == ROW and i.depth),
        )


def kernel_name(program: Program, stage: int) -> str:
    """What a stage's kernel is called: in profilers too.

    >>> from neon_optim.backends.program import linearize
    >>> kernel_name(linearize("my-rule", ["p"], [(0, 1.0)])[0], 0)
    'my_rule_stage0'
    """
    return f"{re.sub('[^a-z0-9]', '_', program.name.lower())}_stage{stage}"
