"""What the engines of the CPU backend share: the stages of a Program, one by one, and joined partial results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from neon_optim.backends.contract import Outcome, Rounding
from neon_optim.backends.cpu.fixed_product import FixedProduct
from neon_optim.backends.cpu.table import HostTable, RowGroup
from neon_optim.backends.cpu.whole_arrays import Product
from neon_optim.backends.executor import RunLoop
from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.functions import largest, smallest
from neon_optim.backends.fusion import Loop
from neon_optim.backends.program import Program, Stage
from neon_optim.backends.scalars import ScalarValues
from neon_optim.backends.watch import Differ

__all__ = ["Engine"]


_NOTHING = np.empty((0, 0))


class Engine(ABC):
    """Runs Programs over tables of arrays.

    Attributes:
        name: as in ``gen_backend(engine=...)``.
    """

    name: str

    def execute(
        self,
        program: Program,
        table: HostTable,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """See :meth:`neon_optim.backends.contract.Backend.execute`."""
        values = ScalarValues(program, scalars, table.sets, table.sizes, table.scopes)
        for stage in program.stages:
            values.run(stage)
            if stage is program.stages[-1]:
                outcome = values.outcome()
                if not outcome.stored:
                    return outcome
            if stage.element_code or stage.outputs:
                self._run_stage(program, stage, table, values, rounding)
        return outcome

    def _run_stage(
        self,
        program: Program,
        stage: Stage,
        table: HostTable,
        values: ScalarValues,
        rounding: Rounding | None,
    ) -> None:
        partials = []
        for group in table.groups:
            partial = np.empty((len(group.chunks), len(stage.reductions))) if stage.reductions else _NOTHING
            self.run_group(program, stage, table, group, values, partial, rounding)
            partials.append(partial)
        for k, reduction in enumerate(stage.reductions):
            by_chunk = [partial[:, k] for partial in partials]
            values.reduced(reduction, _by_row(program.code[reduction].op, table, by_chunk))

    @abstractmethod
    def run_group(
        self,
        program: Program,
        stage: Stage,
        table: HostTable,
        group: RowGroup,
        values: ScalarValues,
        partial: np.ndarray,
        rounding: Rounding | None,
    ) -> None:
        """Run a stage over the chunks of a group.

        Arguments:
            values: the scalars; those of the stage are computed.
            partial: receives for each chunk the result of each of the stage's reductions.
            rounding: of the stores.
        """

    @abstractmethod
    def make_loop(self, loop: Loop, memory: FlowMemory) -> RunLoop:
        """A loop of a graph over the arrays of a flow, as something to call."""

    def make_total(self, v: int, memory: FlowMemory) -> Callable[[], None] | None:
        """A total of an array in a flow, as something to call; None: there is no faster way than NumPy's.

        Arguments:
            v: the value of the total.
        """
        return None

    def fixed_product(self) -> Product:
        """Products in the order of ``deterministic=True``."""
        return FixedProduct()

    def words_differ(self) -> Differ | None:
        """Compiled code for :class:`~neon_optim.backends.watch.ArrayWatch`; None where there is none."""
        return None

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Free what the engine holds."""


def _by_row(op: str, table: HostTable, partials: Sequence[np.ndarray]) -> np.ndarray:
    """For each row the results of its chunks, joined in order."""
    extreme = op in ("amax", "amin")
    rows = np.full(len(table.rows), np.nan if extreme else 0.0)
    for group, partial in zip(table.groups, partials, strict=True):
        owners = group.chunks[:, 0]
        if group.one_chunk_a_row:
            rows[owners] = partial
        elif extreme:
            for row in np.unique(owners):
                rows[row] = (largest if op == "amax" else smallest)(partial[owners == row])
        else:
            np.add.at(rows, owners, partial)  # unbuffered: one chunk after the other
    return rows
