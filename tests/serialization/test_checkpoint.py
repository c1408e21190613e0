"""Training state: what is saved comes back to the bit, and what does not fit changes nothing."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest

from neon_optim import NervanaObject, cleanup_backend, gen_backend
from neon_optim.described.build import from_description
from neon_optim.errors import CheckpointError
from neon_optim.optimizers import (
    EMA,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    GradientDescentMomentum,
    MultiOptimizer,
    RMSProp,
    Schedule,
    ShiftAdaMax,
)
from neon_optim.serialization import inspect_checkpoint, load_checkpoint, save_checkpoint
from neon_optim.serialization.checkpoint import archive

SHAPES = {"fc1": (4, 3), "fc2": (2, 4), "bias": (4, 1)}

OPTIMIZERS = {
    "gdm": lambda: GradientDescentMomentum(0.1, 0.9, wdecay=1e-3, schedule=Schedule([1, 2], 0.5)),
    "gdm without momentum": lambda: GradientDescentMomentum(0.1, 0.0, gradient_clip_norm=1.0),
    "rmsprop": lambda: RMSProp(gradient_clip_value=0.5),
    "adagrad": lambda: Adagrad(),
    "adadelta": lambda: Adadelta(),
    "adam": lambda: Adam(learning_rate=0.01, schedule=Schedule(2, 0.5)),
    "adam, rounding": lambda: Adam(learning_rate=0.01, stochastic_round=8),
    "shiftadamax": lambda: ShiftAdaMax(),
    "multi": lambda: MultiOptimizer(
        {"default": Adam(learning_rate=0.1), "bias": GradientDescentMomentum(0.1, 0.9)}
    ),
}


class Layer:
    def __init__(self, name: str, shape: tuple[int, ...], seed: int, dtype: str, tensors: bool) -> None:
        random = np.random.default_rng(seed)
        self.name = name
        param, grad = random.standard_normal(shape).astype(dtype), np.zeros(shape, dtype)
        if tensors:
            param, grad = (
                NervanaObject.be.array(param, dtype=dtype),
                NervanaObject.be.array(grad, dtype=dtype),
            )
        self.param, self.grad, self.states = param, grad, []

    def get_params(self) -> tuple:
        return (self.param, self.grad), self.states


def network(
    seed: int = 0, dtype: str = "f4", tensors: bool = False, shapes: dict | None = None
) -> list[Layer]:
    return [Layer(name, shape, seed, dtype, tensors) for name, shape in (shapes or SHAPES).items()]


def train(optimizer, layers, steps: range) -> None:
    for step in steps:
        random = np.random.default_rng(1000 + step)
        for layer in layers:
            gradient = random.standard_normal(layer.param.shape).astype(np.float32)
            layer.grad[:] = gradient.astype(layer.param.dtype)
        optimizer.optimize(layers, epoch=step // 2)


def contents(layers) -> list[bytes]:
    arrays = [array for layer in layers for array in (layer.param, *layer.states)]
    return [np.asarray(array).tobytes() for array in arrays]


@pytest.fixture(autouse=True)
def _backend():
    gen_backend("cpu", rng_seed=3, batch_size=2)
    yield
    cleanup_backend()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.safetensors")


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_run_ends_with_the_same_bits(path, name, dtype, tensors):
    optimizer, layers = OPTIMIZERS[name](), network(0, dtype, tensors)
    cold = copy.deepcopy(contents(layers))
    train(optimizer, layers, range(3))
    assert save_checkpoint(path, optimizer=optimizer, layers=layers, epoch=1, extra={"batch": 1}) == path
    train(optimizer, layers, range(3, 7))
    assert contents(layers) != cold

    cleanup_backend()
    gen_backend("cpu", rng_seed=99, batch_size=2)
    other, fresh = OPTIMIZERS[name](), network(1, dtype, tensors)
    found = load_checkpoint(path, optimizer=other, layers=fresh)
    assert (found.epoch, found.extra, found.format_version) == (1, {"batch": 1}, 1)
    assert (found.missing, found.unexpected, found.mismatched) == ([], [], {})
    train(other, fresh, range(3, 7))
    assert contents(fresh) == contents(layers)

    rebuilt, again = from_description(found.description), network(2, dtype, tensors)
    load_checkpoint(path, optimizer=rebuilt, layers=again)
    train(rebuilt, again, range(3, 7))
    assert contents(again) == contents(layers)


@pytest.mark.parametrize(("written", "here"), [(">f4", ">f4"), (">f8", ">f8"), (">f4", "f4"), ("f4", ">f4")])
@pytest.mark.parametrize("stepped", [False, True])
def test_arrays_of_the_other_byte_order_go_on_with_the_same_values(path, written, here, stepped):
    optimizer, layers = Adam(learning_rate=0.01), network(0, written)
    train(optimizer, layers, range(3))
    save_checkpoint(path, optimizer=optimizer, layers=layers)
    other, fresh = Adam(learning_rate=0.01), network(1, here)
    if stepped:
        train(other, fresh, range(1))
    load_checkpoint(path, optimizer=other, layers=fresh)
    assert {layer.param.dtype.str for layer in fresh} == {np.dtype(here).str}
    for optimizer_, layers_ in ((optimizer, layers), (other, fresh)):
        train(optimizer_, layers_, range(3, 6))
    for ours, theirs in zip(layers, fresh, strict=True):
        for one, another in zip((ours.param, *ours.states), (theirs.param, *theirs.states), strict=True):
            np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("name", ["gdm", "rmsprop", "adagrad", "adadelta", "adam", "shiftadamax", "multi"])
def test_without_the_state_the_run_ends_elsewhere(path, name):
    """Negative control: parameters alone do not resume a run."""
    optimizer, layers = OPTIMIZERS[name](), network()
    train(optimizer, layers, range(3))
    save_checkpoint(path, optimizer=optimizer, layers=layers)
    train(optimizer, layers, range(3, 7))
    other, fresh = OPTIMIZERS[name](), network(1)
    load_checkpoint(path, optimizer=other, layers=fresh, reset_state=True)
    train(other, fresh, range(3, 7))
    assert contents(fresh) != contents(layers)


def test_counters_alone_matter(path):
    """Negative control: with every array restored and t lost, Adam goes elsewhere, as neon does."""
    optimizer, layers = Adam(), network()
    train(optimizer, layers, range(3))
    save_checkpoint(path, optimizer=optimizer, layers=layers)
    train(optimizer, layers, range(3, 5))
    other, fresh = Adam(), network(1)
    load_checkpoint(path, optimizer=other, layers=fresh)
    assert other.t == 3
    other.t = 0
    train(other, fresh, range(3, 5))
    assert contents(fresh) != contents(layers)


def test_names_in_the_file(path):
    optimizer, layers = Adam(), network()
    train(optimizer, layers, range(1))
    save_checkpoint(path, optimizer=optimizer, layers=layers)
    expected = {f"{name}/W{slot}" for name in SHAPES for slot in ("", "/m", "/v")}
    assert load_checkpoint(path).arrays.keys() == expected


def test_a_run_saved_before_its_first_step(path):
    optimizer, layers = Adam(), network()
    save_checkpoint(path, optimizer=optimizer, layers=layers)
    train(optimizer, layers, range(2))
    used, elsewhere = Adam(), network(1)
    train(used, elsewhere, range(5))
    load_checkpoint(path, optimizer=used, layers=elsewhere)
    assert (used.t, [layer.states for layer in elsewhere]) == (0, [[], [], []])
    train(used, elsewhere, range(2))
    assert contents(elsewhere) == contents(layers)


def test_equal_state_gives_equal_bytes(tmp_path):
    files = []
    for number in range(2):
        cleanup_backend()
        gen_backend("cpu", rng_seed=3, batch_size=2)
        optimizer, layers = Adam(name="a"), network()
        train(optimizer, layers, range(3))
        save_checkpoint(tmp_path / str(number), optimizer=optimizer, layers=layers, epoch=2)
        files.append((tmp_path / str(number)).read_bytes())
    assert files[0] == files[1]


def test_random_numbers_go_on(path):
    be = NervanaObject.be
    be.rng.standard_normal(5)
    save_checkpoint(path, optimizer=Adam(), layers=network())
    expected, seed = be.rng.standard_normal(9).tolist(), be.noise_seed
    other = gen_backend("cpu", rng_seed=77, batch_size=2)
    load_checkpoint(path, layers=network())
    assert other.noise_seed == 77
    load_checkpoint(path, optimizer=Adam(), layers=network())
    assert other.rng.standard_normal(9).tolist() == expected
    assert other.noise_seed == seed == 3


# ---- what does not fit


def saved(path, optimizer=None, **network_options):
    optimizer, layers = optimizer or Adam(), network(**network_options)
    train(optimizer, layers, range(2))
    save_checkpoint(path, optimizer=optimizer, layers=layers)


def refuse(path, message, layers, optimizer=None, **options):
    """An error of that message, which leaves everything as it was."""
    optimizer = optimizer or Adam()
    rng = NervanaObject.be.rng.get_state()[1].tolist()
    before = contents(layers), optimizer.get_counters(), NervanaObject.be.noise_seed
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path, optimizer=optimizer, layers=layers, **options)
    assert (contents(layers), optimizer.get_counters(), NervanaObject.be.noise_seed) == before
    assert NervanaObject.be.rng.get_state()[1].tolist() == rng
    return str(caught.value)


def test_strict_lists_everything_and_changes_nothing(path):
    saved(path)
    layers = network(1, shapes={"fc1": (3, 4), "fc3": (2, 2), "bias": (4, 1)})
    train(Adam(), layers, range(1))
    message = refuse(path, "does not fit; nothing was changed", layers)
    assert "missing in the file (1): 'fc3/W'" in message
    assert "not in the layers (1): 'fc2/W'" in message
    for slot in ("", "/m", "/v"):
        assert f"fc1/W{slot}: shape (4, 3) in the file, (3, 4) here" in message


def test_without_strict_what_fits_is_restored(path):
    saved(path)
    arrays = archive.read(path).arrays
    layers = network(1, shapes={"fc1": (3, 4), "fc3": (2, 2), "bias": (4, 1)})
    before = contents(layers[:2])
    found = load_checkpoint(path, optimizer=Adam(), layers=layers, strict=False)
    assert (found.missing, found.unexpected) == (["fc3/W"], ["fc2/W"])
    assert found.mismatched.keys() == {"fc1/W", "fc1/W/m", "fc1/W/v"}
    assert contents(layers[:2]) == before
    assert contents(layers[2:]) == [arrays[f"bias/W{slot}"].tobytes() for slot in ("", "/m", "/v")]


def test_the_state_of_a_parameter_is_restored_whole_or_not_at_all(path):
    saved(path)
    layers = network(1)
    train(Adam(), layers, range(1))
    layers[0].states[1] = np.zeros((4, 3), "f8")
    before = contents(layers[:1])
    found = load_checkpoint(path, optimizer=Adam(), layers=layers, strict=False)
    assert found.mismatched == {"fc1/W/v": "dtype float32 in the file, float64 here"}
    assert contents(layers[:1])[1:] == before[1:]


@pytest.mark.parametrize(("written", "here"), [("f4", "f8"), ("f8", "f4"), ("f4", "f2")])
def test_a_dtype_is_never_converted(path, written, here):
    saved(path, dtype=written)
    refuse(path, f"dtype {np.dtype(written)} in the file, {np.dtype(here)} here", network(1, here))


@pytest.mark.parametrize("rename", [{"old/*": "new/*"}, {"old/W": "new/W"}, {"o*": "n*"}])
def test_rename(path, rename):
    saved(path, shapes={"old": (2, 2), "keep": (3, 3)})
    old = rename == {"o*": "n*"}
    layers = network(1, shapes={"nld" if old else "new": (2, 2), "keep": (3, 3)})
    refuse(path, "missing in the file", layers)
    found = load_checkpoint(path, optimizer=Adam(), layers=layers, rename=rename)
    assert contents(layers[:1]) == [found.arrays[f"old/W{slot}"].tobytes() for slot in ("", "/m", "/v")]


def test_rename_that_collides_or_matches_nothing(path):
    saved(path, shapes={"old": (2, 2), "keep": (3, 3)})
    layers = network(1, shapes={"new": (2, 2), "keep": (3, 3)})
    refuse(path, "rename makes both 'keep/W' and 'old/W'", layers, rename={"old/*": "keep/*"})
    refuse(path, "'typo/\\*' matches no parameter", layers, rename={"typo/*": "new/*"})


def test_names_that_a_terminal_would_act_on_are_shown_as_escapes(path):
    name = "fc\x1b[31m\u202e\x07"
    saved(path, shapes={name: (2, 2)})
    refuse(path, r"fc\\x1b\[31m\\u202e\\x07/W: shape", network(1, shapes={name: (3, 2)}))
    found = archive.read(path)
    text = json.dumps(found.state).replace("neon_optim.optimizers.adam.Adam", "x\\u001b[31m")
    archive.write(path, found.arrays, json.loads(text))
    refuse(path, r"was written by x\\x1b\[31m and cannot", network(1, shapes={name: (2, 2)}))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("other", ["gdm", "rmsprop", "adagrad", "adadelta", "shiftadamax", "multi"])
def test_state_of_another_optimizer_is_refused(path, other, strict):
    saved(path)
    optimizer, layers = OPTIMIZERS[other](), network(1)
    message = refuse(path, "written by Adam and cannot go on under", layers, optimizer, strict=strict)
    assert "reset_state=True" in message
    arrays = archive.read(path).arrays
    train(optimizer, layers, range(1))
    counters = optimizer.get_counters()
    load_checkpoint(path, optimizer=optimizer, layers=layers, reset_state=True)
    assert contents(layers) == [arrays[f"{name}/W"].tobytes() for name in SHAPES]
    assert all(layer.states == [] for layer in layers)
    assert optimizer.get_counters() == counters


def test_state_of_another_optimizer_in_one_layer_is_refused(path):
    saved(path, MultiOptimizer({"default": Adam(), "bias": RMSProp()}))
    other = MultiOptimizer({"default": Adam(), "bias": Adagrad()})
    refuse(path, "for 'bias/W' was written by RMSProp and cannot go on under Adagrad", network(1), other)


def test_state_of_another_inner_optimizer_is_refused(path):
    saved(path, EMA(Adam()))
    refuse(path, r"written by EMA\(Adam\) and cannot go on under EMA\(AdamW\)", network(1), EMA(AdamW()))
    refuse(path, r"written by EMA\(Adam\) and cannot go on under Adam\.", network(1), Adam())


@pytest.mark.parametrize(
    ("optimizer", "here", "old"),
    [
        (Adam, "neon_optim.optimizers.adam.Adam", "neon_optim.optimizers.before_it_moved.Adam"),
        (lambda: EMA(Adam()), "neon_optim.optimizers.ema.EMA", "neon_optim.optimizers.averages.EMA"),
        (lambda: EMA(Adam()), "neon_optim.optimizers.adam.Adam", "neon_optim.optimizers.first.second.Adam"),
    ],
)
def test_a_class_whose_module_has_moved_since_goes_on_with_its_state(path, optimizer, here, old):
    saved(path, optimizer())
    found = archive.read(path)
    text = json.dumps(found.state)
    assert here in text
    archive.write(path, found.arrays, json.loads(text.replace(here, old)))
    layers, again = network(1), optimizer()
    load_checkpoint(path, optimizer=again, layers=layers)
    assert contents(layers) == [array.tobytes() for array in sorted_like(layers, found.arrays, again)]
    archive.write(path, found.arrays, json.loads(text.replace(here, old.replace("Adam", "AdaBelief"))))
    if "Adam" in old:
        refuse(path, "AdaBelief", network(1), optimizer())


def sorted_like(layers, arrays, optimizer):
    """The arrays of a file in the order of :func:`contents`."""
    return [
        arrays[name]
        for parameter, owner in optimizer.named_parameters(layers)
        for name in (parameter.path, *(f"{parameter.path}/{slot}" for slot in owner.slots))
    ]


def test_parameters_that_are_set_for_evaluation_are_not_saved_as_training(path):
    optimizer, layers = EMA(Adam(learning_rate=0.1)), network()
    train(optimizer, layers, range(3))
    before = layers[0].param.copy()
    with optimizer.evaluation(layers):
        with pytest.raises(CheckpointError, match=r"outside of optimizer\.evaluation\(\)"):
            save_checkpoint(path, optimizer=optimizer, layers=layers)
        save_checkpoint(path, optimizer=None, layers=layers)
    averaged = load_checkpoint(path).arrays["fc1/W"]
    assert averaged.tobytes() != before.tobytes()
    assert averaged.tobytes() == layers[0].states[-1].get().tobytes()


def test_counters_of_another_mapping_are_refused(path):
    saved(path, MultiOptimizer({"default": Adam(), "bias": RMSProp()}))
    other = MultiOptimizer({"default": Adam(), "bias": RMSProp(), "fc1": Adam()})
    refuse(path, "counters do not fit MultiOptimizer", network(1), other)


def test_the_same_class_with_other_state(path):
    saved(path, GradientDescentMomentum(0.1, 0.9))
    refuse(path, "in the file, none here", network(1), GradientDescentMomentum(0.1, 0.0))


def test_read_only_arrays_are_found_before_anything_is_changed(path):
    saved(path)
    layers = network(1)
    layers[2].param.flags.writeable = False
    refuse(path, "bias/W: the array here cannot be written", layers)


def test_two_arrays_of_one_name(path):
    layers = network(shapes={"a": (2, 2), "a/W": (2, 2)})
    layers[1].param = NervanaObject.be.array(np.ones((2, 2)), name="m")
    layers[0].states = [np.ones((2, 2))] * 2
    with pytest.raises(CheckpointError, match="two arrays have the name 'a/W/m'"):
        save_checkpoint(path, optimizer=Adam(), layers=layers)
    assert not os.path.exists(path)


@pytest.mark.parametrize("epoch", [-1, 1.5, True, "1", None])
def test_a_wrong_epoch_is_refused(path, epoch):
    with pytest.raises(CheckpointError, match="epoch must be an integer"):
        save_checkpoint(path, optimizer=Adam(), layers=network(), epoch=epoch)


def test_states_that_another_optimizer_left_are_not_saved(path):
    layers = network()
    train(Adam(), layers, range(1))
    with pytest.raises(CheckpointError, match="'fc1/W' has 2 state arrays, RMSProp keeps 1"):
        save_checkpoint(path, optimizer=RMSProp(), layers=layers)


# ---- parts of a run


def test_layers_without_an_optimizer(path):
    saved(path)
    layers = network(1)
    found = load_checkpoint(path, layers=layers)
    assert contents(layers) == [
        found.arrays[f"{name}/W{slot}"].tobytes() for name in SHAPES for slot in ("", "/m", "/v")
    ]


def test_an_optimizer_without_layers(path):
    saved(path)
    optimizer = Adam()
    load_checkpoint(path, optimizer=optimizer)
    assert optimizer.t == 2


def test_numbers_that_json_does_not_have(path):
    extra = {"loss": [float("nan"), float("inf"), -np.inf, np.float64("nan")], "t": (1, 2)}
    save_checkpoint(path, optimizer=Adam(), layers=network(), extra=extra)
    found = load_checkpoint(path).extra
    assert repr(found) == "{'loss': [nan, inf, -inf, nan], 't': [1, 2]}"
    with pytest.raises(CheckpointError, match=r"state\.extra has the key '\$float'"):
        save_checkpoint(path, optimizer=Adam(), layers=network(), extra={"$float": 1})


class Model:
    def __init__(self, layers) -> None:
        self.layers_to_optimize, self.counters = layers, {"batch": 0}

    def get_description(self) -> dict:
        return {"type": "Model", "config": {"size": np.int64(3)}}

    def get_counters(self) -> dict:
        return self.counters

    def set_counters(self, counters: dict) -> None:
        self.counters = {"batch": int(counters["batch"])}


def test_a_model_gets_its_counters_and_its_layers(path):
    model = Model(network())
    model.counters = {"batch": 17}
    save_checkpoint(path, optimizer=Adam(), layers=model.layers_to_optimize, model=model)
    other = Model(network(1))
    found = load_checkpoint(path, model=other)
    assert other.counters == {"batch": 17}
    assert contents(other.layers_to_optimize) == contents(model.layers_to_optimize)
    assert found.model["description"] == {"type": "Model", "config": {"size": 3}}


def test_counters_that_the_model_refuses_leave_the_optimizer_alone(path):
    model = Model(network())
    model.counters = {"position": 17}
    save_checkpoint(path, optimizer=Adam(), layers=model.layers_to_optimize, model=model)
    other = Model(network(1))
    refuse(path, "counters do not fit Model", other.layers_to_optimize, model=other)


def test_vectors_become_columns_of_tensors(path):
    layers = [((np.arange(3, dtype="f4"), np.ones(3, "f4")), [])]
    adam = Adam()
    adam.optimize(layers, 0)
    save_checkpoint(path, optimizer=adam, layers=layers)
    be = NervanaObject.be
    tensors = [((be.zeros(3), be.zeros(3)), [])]
    load_checkpoint(path, optimizer=Adam(), layers=tensors)
    assert tensors[0][0][0].get().ravel().tolist() == layers[0][0][0].tolist()
    assert len(tensors[0][1]) == 2


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": "x"},
        {"epoch": True},
        {"optimizer": 3},
        {"optimizer": {"description": 3, "counters": {}}},
        {"optimizer": {"description": None, "counters": None}},
        {"parameters": []},
        {"parameters": {"a": 3}},
        {"parameters": {"a": {"optimizer": 3, "slots": []}}},
        {"parameters": {"a": {"optimizer": None, "slots": [3]}}},
        {"backend": 3},
        {"model": []},
        {"step": 1.5},
        {"metrics": 3},
        {"written_by": None},
    ],
)
def test_well_signed_files_of_another_meaning_are_refused(path, state):
    sound = {
        "written_by": "x",
        "epoch": 1,
        "optimizer": None,
        "parameters": {},
        "backend": None,
        "model": None,
    }
    archive.write(path, {}, {**sound, **state} if state else {})
    with pytest.raises(CheckpointError, match="not a checkpoint of a training run"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="not a checkpoint of a training run"):
        inspect_checkpoint(path)


@pytest.mark.parametrize(
    "rng", [[], ["MT19937"], ["PCG", [1], 1, 0, 0.0], ["MT19937", ["x"] * 624, 1, 0, 0.0], 7]
)
def test_damaged_random_numbers_are_refused(path, rng):
    saved(path)
    found = archive.read(path)
    archive.write(path, found.arrays, {**found.state, "backend": {**found.state["backend"], "rng": rng}})
    refuse(path, "random numbers", network(1))


def test_the_optimizer_of_a_hostile_file_is_not_imported(path):
    saved(path)
    found = archive.read(path)
    state = {**found.state, "optimizer": {"description": {"type": "os.system", "config": {}}, "counters": {}}}
    archive.write(path, found.arrays, state)
    description = load_checkpoint(path).description
    with pytest.raises(ValueError, match=r"unknown class 'os\.system'"):
        from_description(description)


def test_values_that_json_cannot_hold_are_refused_with_their_place(path):
    endless: list = []
    endless.append(endless)
    cases = {
        "nested": endless,
        r"state\.extra\.a": {"a": object()},
        "bits": {"a": 1 << 10**6},
        "mappingproxy": type.__dict__,
    }
    for message, extra in cases.items():
        with pytest.raises(CheckpointError, match=message):
            save_checkpoint(path, optimizer=Adam(), layers=network(), extra=extra)
    assert not os.path.exists(path)
