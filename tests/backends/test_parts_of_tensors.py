"""Rows of a plan that are parts of tensors."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.contract import Rounding
from neon_optim.backends.optree import Node, Symbol
from neon_optim.backends.program import linearize
from neon_optim.backends.sums import CHUNK


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_rows_that_are_parts_of_tensors(engine):
    """Sums are those of the chunks of the tensor, and each store is rounded as it would be in the tensor."""
    be = gen_backend("cpu", rng_seed=1, engine=engine)
    size, cut = 3 * CHUNK + 17, 2 * CHUNK
    rng = np.random.default_rng(0)
    w, grad = (rng.standard_normal(size).astype(np.float32) for _ in range(2))
    parts = w.copy()
    program, numbers = linearize("store", ("param", "grad"), [(0, Symbol("param", 0) + Symbol("grad", 1))])
    squares, _ = linearize(
        "squares", ("param", "grad"), (), results=(Node("total_square", Symbol("grad", 1)),)
    )
    rounding = Rounding(bits=8, seed=5, step=3, first_row=2)
    be.execute(program, be.plan([((w, grad), [])], ("param", "grad")), [numbers], rounding)
    rows = [((parts[:cut], grad[:cut]), []), ((parts[cut:], grad[cut:]), [])]
    for row, start in zip(rows, (0, cut), strict=True):
        plan = be.plan([row], ("param", "grad"), starts=[start])
        be.execute(program, plan, [numbers], rounding)
        assert plan.fits([row])
    assert parts.tobytes() == w.tobytes()
    whole = be.execute(squares, be.plan([((w, grad), [])], ("param", "grad")), [()]).results[0]
    starts = range(0, size, CHUNK)
    pieces = [((parts[k : k + CHUNK], grad[k : k + CHUNK]), []) for k in starts]
    chunks = be.plan(pieces, ("param", "grad"), range(4), range(4), starts=starts)
    assert sum(be.execute(squares, chunks, [()] * 4).results[0].tolist()) == whole[0]
    again = be.plan([rows[1]], ("param", "grad"))
    parts[:] = 0
    w[:] = 0
    be.execute(program, again, [numbers], rounding)
    be.execute(program, be.plan([((w, grad), [])], ("param", "grad")), [numbers], rounding)
    assert parts[cut:].tobytes() != w[cut:].tobytes(), (
        "the control: without its start, a part is rounded otherwise"
    )
    with pytest.raises(ValueError, match="begins at a multiple of 65536 elements"):
        be.plan(rows, ("param", "grad"), starts=[0, 5])
    cleanup_backend()
