"""What a run needs, brought together before it starts: config, data, model, cost, optimizer and backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from neon_optim.errors import NeonOptimError, Position, Problem

__all__ = ["OPTIONS", "Preparation", "read_config", "without_room"]

OPTIONS = {"-e": "epochs", "-b": "backend", "-z": "batchsize", "-r": "rng_seed"}
"""Options of a command that stand for keys of the config."""

_NEEDED = ("layers", "cost", "optimizer", "dataset")


def read_config(path: str, overrides: Sequence[str] = ()) -> Any:
    """The config of a run, with every key that one needs; faults of an option are told by its flag.

    Raises:
        ConfigError: the file or an override is faulty.
    """
    from neon_optim.serialization import ConfigError, load_config

    try:
        config = load_config(path, overrides)
    except ConfigError as error:
        raise ConfigError.listing(_by_flag(error.problems)) from error
    config.require(*_NEEDED)
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

    Attributes:
        model: the model; None where its layers are no model.
        dataset: the dataset; None where it cannot be built.
        train: its training data; None where that cannot be read.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.model: Any = None
        self.dataset: Any = None
        self.train: Any = None
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
            train, _ = self.dataset.train_iter, self.dataset.valid_iter
            self.train = train
            if self.model is not None:
                self._problems += misfits(self.model, train, settings.cost, settings.batchsize)

    def set_backend(self) -> None:
        """Make the backend of the config the current one."""
        from neon_optim.backends import gen_backend

        with self._noted(self._backend_key):
            gen_backend(**self.config.backend_arguments())

    def assign_parameters(self) -> None:
        """See whether the optimizer knows what to do with each parameter; the model is initialized."""
        with self._noted(lambda message: "optimizer"):
            self.config.settings.optimizer.named_parameters(self.model.layers_to_optimize)

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


def without_room(model: Any, error: Exception) -> str:
    """In words, which layer's parameters there is no room for; '' where that is not what went wrong."""
    for leaf in model.layers.leaves():
        shape = getattr(leaf, "weight_shape", None)
        if leaf.learns and shape is not None and getattr(leaf, "W", None) is None:
            size = math.prod(shape) * model.be.default_dtype.itemsize / 2**30
            if isinstance(error, MemoryError) or size > 2**20:
                return (
                    f"layers: not enough memory for the parameters of '{leaf.name}': "
                    f"{' x '.join(map(str, shape))} numbers are {size:,.1f} GiB, and as much again for the "
                    "gradient; a smaller nout needs less"
                )
            return ""
    return ""
