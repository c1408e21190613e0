"""A checkpoint whose digests are right and whose JSON is wrong in one place is refused, or loaded; nothing else."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.errors import CheckpointError, CheckpointWarning
from neon_optim.model import Affine, Dropout, Gaussian, Model
from neon_optim.optimizers import EMA, Adam, GradientDescentMomentum, MultiOptimizer
from neon_optim.schedules import Plateau
from neon_optim.serialization import CheckpointManager, inspect_checkpoint
from neon_optim.serialization.checkpoint import archive, training_state
from neon_optim.serialization.checkpoint.checkpoint import restore
from neon_optim.serialization.checkpoint.inspection import Inspection, diff_checkpoints
from neon_optim.serialization.neon.neon_convert import to_neon
from neon_optim.serialization.neon.pickle_write import write_pickle_data

OTHERS = [
    *(None, True, 0, -1, 1.5, -(10**400), 10**400, "x", "\x1b[31m", [], [[]], {}, {"type": "x"}),
    *({"type": 5, "config": []}, {"$float": "inf"}, ["MT19937"], [0] * 624),
]


class Data:
    nin, name = 3, "data"


OPTIMIZERS = {
    "adam": lambda: Adam(schedule=Plateau()),
    "multi": lambda: MultiOptimizer(
        {"default": GradientDescentMomentum(0.1, 0.9), "Linear": EMA(Adam(schedule=Plateau()))}
    ),
}


def run(name: str, seed: int = 1) -> tuple:
    be = gen_backend("cpu", rng_seed=seed, batch_size=2, engine="numpy")
    model = Model([Affine(4, Gaussian(), bias=Gaussian()), Dropout(0.5), Affine(2, Gaussian())])
    model.initialize(Data())
    return be, OPTIMIZERS[name](), model


def state_of(be, optimizer, model) -> str:
    """Everything that a load may change."""
    arrays, state = training_state.capture(
        optimizer=optimizer, layers=model.layers_to_optimize, epoch=0, model=model
    )
    return json.dumps([state, {name: array.tobytes().hex() for name, array in arrays.items()}])


@pytest.fixture
def saved(tmp_path, request):
    _, optimizer, model = run(request.param)
    for layer in model.layers_to_optimize:
        layer.dW[:] = 0.25
    optimizer.optimize(model.layers_to_optimize, 0)
    with CheckpointManager(tmp_path) as manager:
        path = manager.save(
            3,
            optimizer=optimizer,
            layers=model.layers_to_optimize,
            epoch=1,
            model=model,
            extra={"a": [1]},
            metrics={"error": 0.5},
        )
    yield request.param, path
    cleanup_backend()


def places(value, path=()):
    """Every place in JSON; of a long list the first and the last."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} & set(range(len(value)))):
            yield from places(value[index], (*path, index))


def mutations(state):
    """The state with every place missing, doubled, nested, or of another type or value."""
    for path in places(state):
        if not path:
            continue
        for change in ("missing", "longer", "nested", "renamed", *OTHERS):
            mutated = copy.deepcopy(state)
            holder = mutated
            for key in path[:-1]:
                holder = holder[key]
            key = path[-1]
            old = holder[key]
            if isinstance(change, str) and change == "missing":
                del holder[key]
            elif isinstance(change, str) and change == "longer":
                holder[key] = old * 2 if isinstance(old, list | str) else {"more": old}
            elif isinstance(change, str) and change == "nested":
                holder[key] = [old]
            elif isinstance(change, str) and change == "renamed":
                if not isinstance(holder, dict):
                    continue
                holder[f"{key}\x1b"] = holder.pop(key)
            else:
                holder[key] = copy.deepcopy(change)
            yield path, change, mutated


def refused(where: tuple, change: object, call, *arguments, **options) -> bool:
    """Whether a call is refused, with a CheckpointError that a terminal may print."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)
            found = call(*arguments, **options)
    except CheckpointError as error:
        message = str(error)
    except Exception as error:
        pytest.fail(f"{where} = {change!r}: {error!r}")
    else:
        if isinstance(found, Inspection):
            json.dumps(found.as_dict(), allow_nan=False)
        return False
    assert all(character.isprintable() or character == "\n" for character in message), (where, change)
    return True


@pytest.mark.parametrize("saved", OPTIMIZERS, indirect=True)
def test_only_checkpoint_errors_come_out_and_then_nothing_has_changed(saved):
    name, path = saved
    contents = archive.read(path)
    be, optimizer, model = run(name, seed=2)
    before = state_of(be, optimizer, model)
    outcomes = {True: 0, False: 0}
    for where, change, state in mutations(contents.state):
        mutated = replace(contents, state=state)
        outcome = refused(where, change, restore, mutated, "file", optimizer=optimizer, model=model)
        outcomes[outcome] += 1
        if outcome:
            assert state_of(be, optimizer, model) == before, (where, change)
        else:
            be, optimizer, model = run(name, seed=2)
            before = state_of(be, optimizer, model)
    assert outcomes[True] > 500
    assert outcomes[False] > 100, "names, seeds, what the user gave"


@pytest.mark.parametrize("saved", ["adam"], indirect=True)
def test_what_reads_a_file_without_loading_it(saved, monkeypatch):
    _, path = saved
    contents = archive.read(path)
    for where, change, state in mutations(contents.state):
        mutated = replace(contents, state=state)
        monkeypatch.setattr(archive, "read", lambda _, found=mutated: found)
        refused(where, change, inspect_checkpoint, path)
        refused(where, change, diff_checkpoints, path, path)
        refused(where, change, lambda found=mutated: write_pickle_data(to_neon(found, "file")))


@pytest.mark.parametrize("saved", ["adam"], indirect=True)
@pytest.mark.parametrize(
    ("place", "value"), [(2, 10**6), (2, -1), (2, 625), (2, 1.0), (3, 2), (3, True), (4, "x"), (4, None)]
)
def test_a_position_outside_of_the_random_numbers_reads_no_foreign_memory(saved, tmp_path, place, value):
    """NumPy takes such a state and reads wherever it points: a crash, or the process's memory as numbers."""
    _, path = saved
    contents = archive.read(path)
    contents.state["backend"]["rng"][place] = value
    archive.write(tmp_path / "m", contents.arrays, contents.state)
    code = (
        "import sys\nfrom neon_optim import gen_backend\nfrom neon_optim.optimizers import Adam\n"
        "from neon_optim.errors import CheckpointError\nfrom neon_optim.serialization import load_checkpoint\n"
        "be = gen_backend('cpu', rng_seed=1, batch_size=1, engine='numpy')\n"
        "try:\n    load_checkpoint(sys.argv[1], optimizer=Adam(schedule=None), strict=False)\n"
        "except CheckpointError as error:\n    print(error)\n"
        "be.rng.random_sample(10**6)\n"
    )
    code = code.replace("Adam(schedule=None)", "Adam(schedule=Plateau())").replace(
        "import Adam\n", "import Adam\nfrom neon_optim.schedules import Plateau\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the state of the random numbers is damaged" in done.stdout


def test_the_state_of_the_random_numbers_that_numpy_gives_is_taken():
    rng = np.random.RandomState(3)
    rng.standard_normal(3)
    state = rng.get_state()
    found = training_state.mersenne_twister(list(state), "file")
    assert (found[0], found[1].tolist(), *found[2:]) == (state[0], state[1].tolist(), *state[2:])
