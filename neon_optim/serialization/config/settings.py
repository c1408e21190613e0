"""The top-level keys of a model config: what each may hold, and its default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.described import registry
from neon_optim.described.arguments import NonNegativeInt, Positive, PositiveInt, RoundBits
from neon_optim.described.checks import (
    Check,
    Choice,
    Either,
    Having,
    Items,
    Nothing,
    OfKind,
    Schema,
    SchemaOfKind,
    Table,
)
from neon_optim.errors import Problem

NEEDED = ("layers", "cost", "optimizer", "dataset")
"""Keys without which nothing can be trained."""

OTHER_NAMES = {"batch_size": "batchsize"}
"""Further names of keys."""


class _Layers(Items):
    """A list with at least one layer."""

    def __init__(self) -> None:
        super().__init__(OfKind("layer"))
        self.allowed = "a list of at least one layer"

    def verdict(self, value: object) -> str | None:
        return super().verdict(value) or (None if value else "value")

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {**super().schema(object_of), "minItems": 1}


class _Metrics(Table):
    """Metrics by names, other than those that are measured in any case."""

    taken = ("cost", "error")

    def __init__(self) -> None:
        super().__init__(Either(OfKind("metric"), OfKind("cost")))

    def faults(self, value: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
        yield from super().faults(value, path)
        for name in self.taken:
            if isinstance(value, Mapping) and name in value:
                allowed = f"must have another name: valid_{name} is measured by itself"
                yield Problem("", name, allowed, (*path, name))

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {**super().schema(object_of), "propertyNames": {"not": {"enum": list(self.taken)}}}


class _BackendName(Check):
    """The name of a backend that can be asked for."""

    builtin = ("cpu", "gpu", "mkl")

    @property
    def names(self) -> list[str]:
        return sorted({*self.builtin, *registry.available("backend")})

    @property
    def allowed(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(map(repr, self.names))

    def verdict(self, value: object) -> str | None:
        if not isinstance(value, str):
            return "type"
        return None if value in self.builtin or value in self.names else "value"

    def schema(self, object_of: SchemaOfKind) -> Schema:
        return {"enum": self.names}


class CheckpointSettings:
    """The key `checkpoint`: when the training state is saved, and how many files are kept.

    Arguments:
        every_epochs: save at the end of each so many epochs; None: not at their ends.
        every_steps: save also after each so many minibatches; None: not within an epoch.
        keep_last: how many of the newest files stay; None: all.
    """

    def __init__(
        self,
        *,
        every_epochs: PositiveInt | None = 1,
        every_steps: PositiveInt | None = None,
        keep_last: PositiveInt | None = 3,
    ) -> None:
        self.every_epochs, self.every_steps, self.keep_last = every_epochs, every_steps, keep_last


class DistributedSettings:
    """The key `distributed`: how several processes (MPI) train one model.

    Arguments:
        shards: parts that each minibatch is cut into: with the same number the same bits come out of 1, 2, … processes;
            None: as many as there are processes.
        bucket_mb: megabytes that are under way between processes at a time.
        compress: 'bfloat16': gradients travel in 16 bits, rounded stochastically; None: as they are.
        timeout: seconds after which a process that does not answer has failed.
    """

    def __init__(
        self,
        *,
        shards: PositiveInt | None = None,
        bucket_mb: Positive = 25,
        compress: Literal["bfloat16"] | None = None,
        timeout: Positive = 300,
    ) -> None:
        self.shards, self.bucket_mb, self.compress, self.timeout = shards, bucket_mb, compress, timeout


def table_class(key: str) -> Any:
    """The class whose arguments are the value of a key, as a mapping; None for other keys."""
    if key == "stop":
        return registry.resolve("EarlyStopping", "callback")
    tables: dict[str, Any] = {"checkpoint": CheckpointSettings, "distributed": DistributedSettings}
    return tables.get(key)


_CALLBACK = Having("on_train_begin", "on_epoch_end", kind="callback", called="a callback")


class Settings:
    """The keys that a model config knows. Every other key at the top may only hold anchors that something
    uses.

    Arguments:
        layers: the layers in order, each `{type: Linear, config: {…}}`.
        cost: a cost, mostly just its name.
        optimizer: an optimizer.
        dataset: `{name: digits, …}`: the name of a dataset and its arguments.
        epochs: passes over the training data.
        batchsize: elements of a minibatch (`batch_size` is taken too).
        backend, engine, device_id: where it runs; the arguments of `gen_backend`.
        datatype: of parameters and data.
        rng_seed: for initial values, shuffling and dropout; None for a random one.
        stochastic_round: round stores stochastically, to so many bits.
        deterministic: the same bits on every engine, backend and processor.
        checkpoint: `{every_epochs: 1, every_steps: null, keep_last: 3}`.
        distributed: `{shards: null, bucket_mb: 25, compress: null, timeout: 300}`: for several processes.
        stop: `{metric: valid_cost, patience: 5, restore_best: true}`: end where the metric no longer becomes better.
        metrics: what is measured on the validation data beside the cost, by name: `{accuracy: Accuracy}` becomes
            `valid_accuracy`.
        loggers: logs beside metrics.jsonl: `[csv]` for metrics.csv, a line for each epoch.
        callbacks: what is done beside training, in order, each `{type: TimeLimit, config: {…}}`.
    """

    def __init__(
        self,
        *,
        layers: Annotated[Any, _Layers()] = (),
        cost: Annotated[Any, OfKind("cost")] = None,
        optimizer: Annotated[Any, OfKind("optimizer")] = None,
        dataset: Any = None,
        epochs: PositiveInt = 10,
        batchsize: PositiveInt = 128,
        backend: Annotated[str, _BackendName()] = "cpu",
        engine: Literal["auto", "numpy", "numba"] = "auto",
        device_id: NonNegativeInt = 0,
        datatype: Annotated[str, Choice(*FLOAT_TYPES)] = "float32",
        rng_seed: NonNegativeInt | None = None,
        stochastic_round: RoundBits = False,
        deterministic: bool = False,
        checkpoint: Any = None,
        distributed: Any = None,
        stop: Any = None,
        metrics: Annotated[Any, Either(_Metrics(), Nothing())] = None,
        loggers: Annotated[Any, Items(Choice("jsonl", "csv"))] = (),
        callbacks: Annotated[Any, Items(_CALLBACK)] = (),
    ) -> None:
        self.layers, self.cost, self.optimizer, self.dataset = layers, cost, optimizer, dataset
        self.epochs, self.batchsize = epochs, batchsize
        self.backend, self.engine, self.device_id = backend, engine, device_id
        self.datatype, self.rng_seed, self.stochastic_round = datatype, rng_seed, stochastic_round
        self.deterministic = deterministic
        self.checkpoint: CheckpointSettings = checkpoint or CheckpointSettings()
        self.distributed: DistributedSettings = distributed or DistributedSettings()
        self.stop, self.metrics, self.loggers, self.callbacks = stop, metrics or {}, loggers, callbacks
