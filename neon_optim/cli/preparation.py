"""What a run needs, brought together before it starts: config, data, model, cost, optimizer and backend."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neon_optim.backends.dtypes import float_dtype
from neon_optim.errors import NeonOptimError, Position, Problem

if TYPE_CHECKING:
    from neon_optim.model.outline import DataOutline, Outline

__all__ = ["OPTIONS", "Preparation", "read_config", "without_room"]

OPTIONS = {"-e": "epochs", "-b": "backend", "-z": "batchsize", "-r": "rng_seed"}
"""Options of a command that stand for keys of the config."""


def read_config(path: str | Sequence[str], overrides: Sequence[str] = ()) -> Any:
    """The config of a run, with every key that one needs; faults of an option are told by its flag.

    Arguments:
        path: of a file, or of several, of which each is laid over those before it.

    Raises:
        ConfigError: the file or an override is faulty.
    """
    from neon_optim.serialization import ConfigError, load_config
    from neon_optim.serialization.config.settings import NEEDED

    try:
        config = load_config(path, overrides)
    except ConfigError as error:
        raise ConfigError.listing(_by_flag(error.problems)) from error
    config.require(*NEEDED)
    return config


def _by_flag(problems: Sequence[Problem]) -> list[Problem]:
    """The problems, with those of an option under its flag."""
    flags = {f"--set {key}": flag for flag, key in OPTIONS.items()}
    told = []
    for problem in problems:
        option, equals, value = (problem.place or Position()).source.partition("=")
        known = bool(equals) and option in flags
        told.append(problem._replace(place=Position(f"{flags[option]} {value}")) if known else problem)
    return told


class Preparation:
    """The parts of a run that a config describes. What does not go together is gathered, and raised at the end.

    Arguments:
        config: a config with every key that a run needs.
        seen: what is known of the data of other configs, and gets known of that of this one; nothing is read twice.
            None: the data itself is kept.

    Attributes:
        model: the model; None where its layers are no model.
        dataset: the dataset; None where it cannot be built.
        train: its training data, or what is known of it; None where that cannot be read.
        metrics: what is measured on the validation data, by name, the cost first.
        best_by: the metric that says which checkpoint is the best, and 'min' or 'max'.
    """

    def __init__(self, config: Any, seen: dict[str, DataOutline] | None = None) -> None:
        self.config = config
        self._seen = seen
        self.model: Any = None
        self.dataset: Any = None
        self.train: Any = None
        self.metrics: dict[str, Any] = {}
        self.best_by = ("valid_cost", "min")
        self._problems: list[Problem] = []

    def bring_together(self) -> None:
        """Make the model, read the data, and see whether they, the cost and the batch size go together."""
        from neon_optim.model import Model
        from neon_optim.model.training import misfits

        settings = self.config.settings
        with self._noted(lambda message: "layers"):
            self.model = Model(list(settings.layers))
        with self._noted(lambda message: "dataset"):
            self.dataset = self.config.build_dataset()
            self.train = self._read_data()
            if self.model is not None:
                self._problems += misfits(self.model, self.train, settings.cost, settings.batchsize)
                self._choose_metrics()

    def _choose_metrics(self) -> None:
        """The cost, for classes the share of errors, and what the config names beside them."""
        from neon_optim.model.metrics import Misclassification

        settings = self.config.settings
        self.metrics = {"valid_cost": settings.cost}
        if self.model.layers.nout > 1 and getattr(self.train, "has_classes", True):
            self.metrics["valid_error"] = Misclassification()
        self.best_by = (list(self.metrics)[-1], "min")
        self.metrics |= {f"valid_{name}": metric for name, metric in settings.metrics.items()}
        if settings.stop is not None:
            self.best_by = settings.stop.best_by(self.metrics)

    def set_backend(self) -> None:
        """Make the backend of the config the current one."""
        from neon_optim.backends import gen_backend

        with self._noted(self._backend_key):
            gen_backend(**self.config.backend_arguments())

    def _read_data(self) -> Any:
        from neon_optim.model.outline import DataOutline

        key = json.dumps(self.config["dataset"], sort_keys=True)
        if self._seen is not None and key in self._seen:
            return self._seen[key]
        train, _ = self.dataset.train_iter, self.dataset.valid_iter
        if self._seen is not None:
            train = self._seen[key] = DataOutline(train)
        return train

    def outline(self) -> Outline | None:
        """The run in shapes, without anything being computed; None where parts do not go together."""
        from neon_optim.model.outline import Outline

        settings = self.config.settings
        if self._problems:
            return None
        with self._noted(lambda message: "optimizer"):
            try:
                return Outline(
                    self.model,
                    self.train,
                    settings.cost,
                    settings.optimizer,
                    settings.batchsize,
                    settings.datatype,
                )
            except MemoryError as error:
                why = without_room(self.model, error, float_dtype(settings.datatype).itemsize)
                self._problems.append(Problem.about("layers", why or str(error)))
        return None

    def assign_parameters(self) -> None:
        """See whether the optimizer knows what to do with each parameter; the model is initialized."""
        with self._noted(lambda message: "optimizer"):
            self.config.settings.optimizer.named_parameters(self.model.layers_to_optimize)

    def try_backend(self) -> None:
        """See whether the backend of the config can be made; it is given back at once."""
        from neon_optim.backends import cleanup_backend

        self.set_backend()
        cleanup_backend()

    def refuse_beyond(self, outline: Outline, available: int) -> None:
        """See whether what stays in memory from step to step has room in so many bytes."""
        if outline.kept > available:
            needed, there = (size / 2**30 for size in (outline.kept, available))
            message = (
                f"parameters, gradients and the states of the optimizer take {needed:,.1f} GiB; this machine has "
                f"{there:,.1f}. Smaller layers (nout) or another optimizer need less"
            )
            self._problems.append(Problem.about("layers", message))

    @property
    def problems(self) -> list[Problem]:
        """What was found so far, each with its place."""
        return _by_flag(self.config.placed(self._problems))

    def raise_if_any(self) -> None:
        """Raise `ConfigError` where something was found."""
        from neon_optim.serialization import ConfigError

        if self._problems:
            raise ConfigError.listing(self.problems)

    @contextmanager
    def _noted(self, key: Callable[[str], str]) -> Iterator[None]:
        """Gather what is raised; `key` tells from the message which key of the config it is about."""
        try:
            yield
        except NeonOptimError as error:
            self._problems += error.problems or [Problem.about(key(str(error)), str(error))]

    def _backend_key(self, message: str) -> str:
        """The key that a message of gen_backend is about: its first word, or that with this value."""
        word = message.partition(" ")[0]
        arguments = self.config.backend_arguments().items()
        return next((key for key, value in arguments if word in (key, str(value))), "backend")


def without_room(model: Any, error: Exception, itemsize: int) -> str:
    """In words, which layer's parameters there is no room for; '' where that is not what went wrong.

    Arguments:
        itemsize: bytes of a number.
    """
    for leaf in model.layers.leaves():
        shape = getattr(leaf, "weight_shape", None)
        if leaf.learns and shape is not None and getattr(leaf, "W", None) is None:
            size = math.prod(shape) * itemsize / 2**30
            if isinstance(error, MemoryError) or size > 2**20:
                return (
                    f"layers: not enough memory for the parameters of '{leaf.name}': "
                    f"{' x '.join(map(str, shape))} numbers are {size:,.1f} GiB, and as much again for the "
                    "gradient; a smaller nout needs less"
                )
            return ""
    return ""
