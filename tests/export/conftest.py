"""Models with weights of their own, as runs are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.data.encoding import encoding_from_json
from neon_optim.model import ArrayIterator, Model


@pytest.fixture
def make_run():
    """A run of layers, initialized and with statistics that are not those of the start."""

    def call(layers, shape, target=None, encoding=None, datatype="float32"):
        gen_backend("cpu", datatype=datatype, rng_seed=3, batch_size=4, engine="numpy")
        model = Model(layers)
        model.initialize(SimpleNamespace(nin=int(np.prod(shape)), lshape=shape, name="data"))
        random = np.random.RandomState(0)
        for (param, _), _ in model.get_params():
            param[:] = random.randn(*param.shape).astype("f4") * 0.5
        for array in model.get_arrays(inference=True).values():
            array[:] = random.uniform(0.5, 1.5, array.shape).astype("f4")
        nout = model.layers.nout
        target = target or {"kind": "numbers", "name": "y", "mean": [0.0] * nout, "deviation": [1.0] * nout}
        arrays = {"kind": "arrays", "shape": list(shape), "names": ["X", "y"], "mean": [], "deviation": []}
        described = {**(encoding or arrays), "target": target}
        run = SimpleNamespace(
            model=model,
            encoding=encoding_from_json(described),
            config={"datatype": datatype},
            epoch=1,
            step=2,
        )

        def outputs(data):
            X = run.encoding.inputs(data)
            return model.get_outputs(ArrayIterator(X, lshape=X.shape[1:] if X.ndim > 2 else None))

        run.outputs = outputs
        return run

    yield call
    cleanup_backend()
