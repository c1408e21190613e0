"""The state of a training run, saved by several processes and restored on another number of them."""

from __future__ import annotations

import os
import pathlib
import tracemalloc

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.errors import CheckpointError
from neon_optim.optimizers import EMA, Adam
from neon_optim.serialization import CheckpointManager, load_checkpoint, save_checkpoint
from neon_optim.serialization.checkpoint import archive, shard_index, sharded, training_state
from neon_optim.serialization.checkpoint.resharding import to_one_file, to_parts
from neon_optim.serialization.checkpoint.share import Share, cut, share_out
from neon_optim.serialization.checkpoint.stored import open_checkpoint, verify_checkpoint
from neon_optim.stepping.parameters import NamedParameter

SHAPES = {"conv": (40, 30), "fc": (1000, 7), "bias": (64, 1)}


@pytest.fixture(autouse=True)
def _backend():
    gen_backend("cpu", rng_seed=5, batch_size=1, engine="numpy")
    yield
    cleanup_backend()


class Layer:
    def __init__(self, name: str, seed: int | None) -> None:
        self.name, shape = name, SHAPES[name]
        random = np.random.default_rng(seed)
        self.W = np.zeros(shape, np.float32) if seed is None else random.random(shape, np.float32)
        self.dW, self.states = np.full(shape, 0.5, np.float32), []

    def get_params(self):
        return (self.W, self.dW), self.states


def layers_of(seed: int | None = None) -> list[Layer]:
    return [Layer(name, seed) for name in SHAPES]


class OneOfMany:
    """Stands for an optimizer of which each process keeps a share of the state: that of process ``part``."""

    keeps_shares = True

    def __init__(self, optimizer, part: int, parts: int, whole: dict | None = None) -> None:
        self.own, self.held = optimizer, {}
        ranges = cut({name: (np.prod(shape), 4) for name, shape in SHAPES.items()}, part, parts)
        for name, (start, stop) in ranges.items():
            arrays = [np.zeros(SHAPES[name], np.float32)] * 2 if whole is None else whole[name]
            self.held[name] = [
                Share(array.reshape(-1)[start:stop].copy(), SHAPES[name], start) for array in arrays
            ]

    def __getattr__(self, name):
        return getattr(self.own, name)

    def named_parameters(self, layers):
        return [
            (NamedParameter(p.layer, p.layer_class, p.name, (p.value[0], self.held[p.layer])), rule)
            for p, rule in self.own.named_parameters(layers)
        ]


def states(layer: Layer) -> list[bytes]:
    return [np.asarray(state).tobytes() for state in layer.states]


def trained(steps: int = 3):
    adam, layers = Adam(learning_rate=0.1), layers_of(seed=1)
    for _ in range(steps):
        adam.optimize(layers, epoch=0)
    return adam, layers


def save_by(path, parts: int, adam, layers) -> str:
    """As ``parts`` processes would, one after the other."""
    whole = {layer.name: [np.asarray(state) for state in layer.states] for layer in layers}
    with sharded.begin(path, parts) as save:
        receipts = []
        for part in range(parts):
            optimizer = OneOfMany(adam, part, parts, whole)
            arrays, state = training_state.capture(
                optimizer=optimizer, layers=layers, epoch=2, extra={"note": "é"}
            )
            if parts > 1:
                assert isinstance(arrays["fc/W/m"], Share), "no process has all of the state"
            assert isinstance(arrays["fc/W"], np.ndarray)
            receipts.append(sharded.write_part(save.ticket, part, share_out(arrays, part, parts)))
        return save.commit(receipts, state)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_one_process_goes_on_with_what_many_have_saved(tmp_path, parts):
    adam, layers = trained()
    path = save_by(tmp_path / "a.sharded", parts, adam, layers)
    again, fresh = Adam(learning_rate=0.1), layers_of()
    found = load_checkpoint(path, optimizer=again, layers=fresh)
    assert (found.epoch, found.extra, again.t, found.path) == (2, {"note": "é"}, 3, path)
    for one, other in ((adam, layers), (again, fresh)):
        one.optimize(other, epoch=0)
    for left, right in zip(layers, fresh, strict=True):
        assert left.W.tobytes() == right.W.tobytes()
        assert states(left) == states(right)


@pytest.mark.parametrize("kind", ["file", "sharded"])
def test_many_processes_go_on_with_what_others_have_saved(tmp_path, kind):
    adam, layers = trained()
    if kind == "file":
        path = save_checkpoint(tmp_path / "a.safetensors", optimizer=adam, layers=layers)
    else:
        path = save_by(tmp_path / "a.sharded", 2, adam, layers)
    pieces = {name: [[], []] for name in SHAPES}
    for part in range(3):
        again, fresh = OneOfMany(Adam(learning_rate=0.1), part, 3), layers_of()
        found = load_checkpoint(path, optimizer=again, layers=fresh)
        assert again.t == 3
        assert all(a.W.tobytes() == b.W.tobytes() for a, b in zip(layers, fresh, strict=True))
        for name, shares in again.held.items():
            for k, share in enumerate(shares):
                pieces[name][k].append(share.values)
        assert found.arrays["fc/W/m"].tobytes() == states(layers[1])[0], "whole, when it is asked for"
        assert len(found.arrays) == 9
    for layer in layers:
        assert states(layer) == [np.concatenate(found).tobytes() for found in pieces[layer.name]]


def test_a_process_reads_the_parts_that_it_needs(tmp_path):
    adam, layers = trained()
    path = save_by(tmp_path / "a.sharded", 4, adam, layers)
    with open_checkpoint(path) as stored:
        save = stored.save
        stored.arrays["bias/W/m"].read()  # the first by name: all in part 0
    for part in (1, 2, 3):
        os.unlink(os.path.join(path, shard_index.part_file(save, part, 4)))
    with open_checkpoint(path) as stored:
        stored.arrays["bias/W/m"].read()
        with pytest.raises(CheckpointError, match=r"part \d of 4 is missing"):
            stored.arrays["fc/W"].read()
    with pytest.raises(CheckpointError, match="part 1 of 4 is missing"):
        load_checkpoint(path)


def test_a_damaged_share_changes_nothing(tmp_path):
    """The last array that is read is damaged; what came before it has not been set."""
    adam, layers = trained()
    path = save_by(tmp_path / "a.sharded", 1, adam, layers)
    (part,) = (name for name in os.listdir(path) if name.startswith("part"))
    with open_checkpoint(path) as stored, open(os.path.join(path, part), "r+b") as file:
        raw, last = file.read(), stored.arrays["fc/W/v"].read().tobytes()
        file.seek(raw.index(last) + len(last) - 1)
        file.write(bytes([last[-1] ^ 1]))
    again, fresh = OneOfMany(Adam(learning_rate=0.1), 2, 3), layers_of()
    with pytest.raises(CheckpointError, match=r"fc/W/v\[0:7000\]' are damaged"):
        load_checkpoint(path, optimizer=again, layers=fresh)
    assert again.t == 0
    assert not any(layer.W.any() for layer in fresh)
    assert not any(share.values.any() for shares in again.held.values() for share in shares)


def test_what_does_not_fit_is_told_as_of_a_file(tmp_path):
    adam, layers = trained()
    path = save_by(tmp_path / "a.sharded", 2, adam, layers)
    for optimizer in (Adam(), OneOfMany(Adam(), 0, 2)):
        fresh = layers_of()
        fresh[0].W = np.zeros((3, 3), np.float32)
        fresh[1].W = fresh[1].W.astype(np.float64)
        fresh[2].name = "fc2"
        if isinstance(optimizer, OneOfMany):
            optimizer.held["fc2"] = optimizer.held["bias"]
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path, optimizer=optimizer, layers=fresh)
        for text in (
            "missing in the file (1): 'fc2/W'",
            "'bias/W'",
            "conv/W: shape (40, 30)",
            "fc/W: dtype float32",
        ):
            assert text in str(caught.value)


def test_tensors_of_the_backend_are_filled_in_place(tmp_path):
    """Whatever holds a share: its memory is read into, without another of the same size."""
    adam, layers = trained()
    path = save_by(tmp_path / "a.sharded", 2, adam, layers)
    again, fresh = OneOfMany(Adam(learning_rate=0.1), 1, 2), layers_of()
    kept = {}
    for name, shares in again.held.items():
        for k, share in enumerate(shares):
            tensor = adam.be.zeros((max(share.values.size, 1), 1), np.float32)
            if share.values.size:
                shares[k] = Share(tensor, share.shape, share.start)
                kept[name, k] = tensor
    load_checkpoint(path, optimizer=again, layers=fresh)
    assert [name for name, _ in kept] == ["fc", "fc"], "the whole second half"
    for (name, k), tensor in kept.items():
        share = again.held[name][k]
        state = np.asarray(next(layer.states[k] for layer in layers if layer.name == name)).reshape(-1)
        assert share.values is tensor
        assert tensor.get().tobytes() == state[share.start : share.stop].tobytes()


def test_an_ordinary_file_has_no_shares(tmp_path):
    adam, layers = trained()
    whole = {layer.name: [np.asarray(state) for state in layer.states] for layer in layers}
    optimizer = OneOfMany(adam, 0, 2, whole)
    manager = CheckpointManager(tmp_path / "run")
    with pytest.raises(CheckpointError, match="this process holds the elements from"):
        manager.save(1, optimizer=optimizer, layers=layers)
    alone = OneOfMany(adam, 0, 1, whole)
    alone.keeps_shares = False
    path = save_checkpoint(tmp_path / "b", optimizer=alone, layers=layers)
    other = save_checkpoint(tmp_path / "c", optimizer=adam, layers=layers)
    assert pathlib.Path(path).read_bytes() == pathlib.Path(other).read_bytes()


def test_evaluated_weights_of_a_sharded_checkpoint(tmp_path):
    optimizer, layers = EMA(Adam(learning_rate=0.1)), layers_of(seed=1)
    for _ in range(3):
        optimizer.optimize(layers, epoch=0)
    file = save_checkpoint(tmp_path / "a", optimizer=optimizer, layers=layers)
    contents = archive.read(file)
    with sharded.begin(tmp_path / "a.sharded", 2) as save:
        receipts = [sharded.write_part(save.ticket, k, share_out(contents.arrays, k, 2)) for k in range(2)]
        path = save.commit(receipts, contents.state)
    loaded = []
    for source in (file, path):
        fresh = layers_of()
        load_checkpoint(source, layers=fresh)
        loaded.append([layer.W.tobytes() for layer in fresh])
    assert loaded[0] == loaded[1] != [layer.W.tobytes() for layer in layers]


# ---- memory


def peak_of(work) -> int:
    """The most bytes that arrays and objects take while something is done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def large(tmp_path):
    """24 MB in two arrays, saved in four parts."""
    random = np.random.default_rng(0)
    arrays = {name: random.random((1500, 2000), np.float32) for name in ("x/W", "x/W/m")}
    with sharded.begin(tmp_path / "a.sharded", 4) as save:
        receipts = [sharded.write_part(save.ticket, k, share_out(arrays, k, 4)) for k in range(4)]
        return save.commit(receipts, {})


def test_a_process_holds_its_share_and_a_few_pieces(large):
    held = []

    def load() -> None:
        with open_checkpoint(large) as stored:
            for array in stored.arrays.values():
                held.append(array.read(array.size // 3, 2 * array.size // 3))

    assert peak_of(load) < sum(values.nbytes for values in held) + 4_000_000
    assert sum(values.nbytes for values in held) == 8_000_000


def test_to_verify_takes_a_few_pieces(large):
    assert peak_of(lambda: verify_checkpoint(large)) < 4_000_000


def test_to_convert_takes_a_part(large, tmp_path):
    file = tmp_path / "a.safetensors"
    assert peak_of(lambda: to_one_file(large, file)) < 24_000_000
    assert peak_of(lambda: to_parts(file, tmp_path / "b.sharded", 6)) < 4_000_000 + 8_000_000


def test_to_write_takes_no_copy(large, tmp_path):
    values = np.ones(6_000_000, np.float32)
    with sharded.begin(tmp_path / "b.sharded", 1) as save:
        share = {"x": Share(values[:5_000_000], values.shape, 0)}
        assert peak_of(lambda: sharded.write_part(save.ticket, 0, share)) < 2_000_000
