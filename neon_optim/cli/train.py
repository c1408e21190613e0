"""`neon-optim train`."""

from __future__ import annotations

import itertools
import secrets
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from neon_optim.cli.run_folder import RunFolder, check_same_data, check_same_settings

__all__ = ["train"]

_KEYS = {"-e": "epochs", "-b": "backend", "-z": "batchsize", "-r": "rng_seed"}


@click.command(short_help="Train a model that a YAML file defines.")
@click.argument("config")
@click.option("-e", "--epochs", metavar="N", help="Passes over the training data, in all.")
@click.option("-b", "--backend", metavar="NAME", help="Where to compute: cpu, gpu, or a plug-in's name.")
@click.option("-z", "--batch_size", metavar="N", help="Samples in a minibatch.")
@click.option("-r", "--rng_seed", metavar="N", help="Seed of initial values, shuffling and dropout.")
@click.option("-s", "--save_path", metavar="DIR", help="Folder of the run; default: runs/<config>-<number>.")
@click.option(
    "--resume", is_flag=True, help="Continue the run in the folder, exactly; without one, start it."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="A.B.C=VALUE",
    help="Change the config, e.g. --set optimizer.config.learning_rate=0.01; may be repeated.",
)
def train(
    config: str,
    epochs: str | None,
    backend: str | None,
    batch_size: str | None,
    rng_seed: str | None,
    save_path: str | None,
    resume: bool,
    changes: tuple[str, ...],
) -> None:
    """Train the model that the YAML file CONFIG defines.

    The run's folder gets config.yaml (all settings), metrics.jsonl, checkpoints/ and, where matplotlib is installed,
    training.png. Without -s it is runs/<config>-1, -2, …; --resume takes the last of these.

    Ctrl-C or SIGTERM saves a checkpoint after the present minibatch and ends with exit code 1. With --resume a run
    continues from its newest checkpoint and ends with the bits of one that was never stopped; one that is finished
    ends at once with exit code 0.
    """
    flags = {"-e": epochs, "-b": backend, "-z": batch_size, "-r": rng_seed}
    given = [(flag, value) for flag, value in flags.items() if value is not None]
    overrides = [*changes, *(f"{_KEYS[flag]}={value}" for flag, value in given)]
    folder = RunFolder(save_path) if save_path else RunFolder.default(config, resume)
    run = _Run(config, overrides, folder, resume)
    if run.start():
        return
    if save_path is not None:
        given.append(("-s", save_path))
    repeated = [("--set", change) for change in changes] + given
    again = shlex.join(["neon-optim", "train", config, *itertools.chain(*repeated), "--resume"])
    click.echo(f"Stopped {run.position()}; a checkpoint is saved. Continue with: {again}", err=True)
    raise SystemExit(1)


def _load_config(path: str, overrides: list[str]) -> Any:
    """The config; faults of an option are told by its flag."""
    from neon_optim.serialization import ConfigError, load_config

    try:
        return load_config(path, overrides)
    except ConfigError as error:
        flags = {f"--set {key}": flag for flag, key in _KEYS.items()}
        told = []
        for problem in error.problems:
            option, equals, value = problem.source.partition("=")
            known = bool(equals) and option in flags
            told.append(problem._replace(source=f"{flags[option]} {value}") if known else problem)
        raise ConfigError.listing(told) from error


class _Run:
    """One call of the command: everything checked first, then the folder, then training."""

    def __init__(self, config: str, overrides: list[str], folder: RunFolder, resume: bool) -> None:
        self.folder, self.resume = folder, resume
        self.config = _load_config(config, overrides)
        self.config.require("layers", "cost", "optimizer", "dataset")
        if not resume:
            folder.refuse_other_run()
        stored = folder.read_config() if resume else None
        self.values = self._resolved(stored)
        if stored is not None:
            check_same_settings(folder, stored, self.values)
        self._build()

    def _resolved(self, stored: dict[str, Any] | None) -> dict[str, Any]:
        """The config with every default, and with a seed."""
        settings = self.config.settings
        if settings.rng_seed is None:
            drawn = (stored or {}).get("rng_seed")
            settings.rng_seed = secrets.randbits(32) if drawn is None else drawn
        defaults = {
            name: getattr(settings, name)
            for name in ("backend", "engine", "device_id", "datatype", "rng_seed", "stochastic_round")
        }
        defaults |= {"epochs": settings.epochs, "batchsize": settings.batchsize}
        return {
            **defaults,
            **self.config,
            "rng_seed": settings.rng_seed,
            "checkpoint": vars(settings.checkpoint),
        }

    def _build(self) -> None:
        """Backend, data, model: everything that can go wrong before the folder is touched."""
        from neon_optim import gen_backend
        from neon_optim.model import Misclassification, Model
        from neon_optim.model.training import Training

        settings = self.config.settings
        self.dataset = self.config.build_dataset()
        self.data = self.dataset.train_iter.digest()
        gen_backend(**self.config.backend_arguments())
        self.model = Model(list(settings.layers))
        self.model.initialize(self.dataset.train_iter, settings.cost)
        self.metrics: dict[str, Any] = {"valid_cost": settings.cost}
        if self.model.layers.nout > 1:
            self.metrics["valid_error"] = Misclassification()
        self.training = Training(
            self.model, self.dataset.train_iter, settings.cost, settings.optimizer, settings.epochs
        )

    def start(self) -> bool:
        """Train; whether the run is finished."""
        from neon_optim.serialization.checkpoint.manager import CheckpointManager

        with self.folder.locked():
            if not self.resume:
                self.folder.refuse_other_run()
            kept = self.config.settings.checkpoint.keep_last
            best = None if kept is None else (list(self.metrics)[-1], "min")
            with CheckpointManager(self.folder.checkpoints, keep_last=kept, keep_best=best) as manager:
                newest = manager.latest() if self.resume else None
                if newest is not None:
                    found = self._restore(newest)
                    if self.model.epoch_index >= self.training.num_epochs:
                        click.echo(f"The run in {self.folder.path} is finished: {self.position()}.")
                        return True
                    check_same_data(self.folder, found.extra, self.data)
                    click.echo(f"Resumed {self.position()} from {newest}")
                self.folder.write_config(self.values)
                self._describe()
                self._train(manager)
        return not self.training.stopped or self.model.epoch_index >= self.training.num_epochs

    def _restore(self, path: str) -> Any:
        """Bring model and optimizer to where a checkpoint is; what was read."""
        from neon_optim.model.training import Training
        from neon_optim.serialization import load_checkpoint

        optimizer = self.config.settings.optimizer
        found = load_checkpoint(
            path, optimizer=optimizer, layers=self.model.layers_to_optimize, model=self.model
        )
        self.training = Training(
            self.model,
            self.dataset.train_iter,
            self.config.settings.cost,
            optimizer,
            self.config.settings.epochs,
        )
        return found

    def _describe(self) -> None:
        be = self.model.be
        engine = getattr(getattr(be, "engine", None), "name", None)
        numbers = sum(param.size for (param, _), _ in self.model.get_params())
        click.echo(
            f"{numbers:,} parameters, {self.dataset.train_iter.ndata:,} samples to train on, "
            f"{self.dataset.valid_iter.ndata:,} to validate; backend {self.values['backend']}"
            f"{f' ({engine})' if engine else ''}; folder {self.folder.path}"
        )

    def _train(self, manager: Any) -> None:
        from neon_optim.model import Checkpoints, MetricsLog, Validation
        from neon_optim.model.plot import plot_metrics
        from neon_optim.model.progress import progress

        when = self.config.settings.checkpoint
        self.training.callbacks = [
            Validation(self.dataset.valid_iter, self.metrics),
            MetricsLog(self.folder.metrics),
            progress(),
            Checkpoints(
                manager,
                every_epochs=when.every_epochs or 0,
                every_steps=when.every_steps,
                extra={"config": self.values, "data": self.data},
            ),
        ]
        with _signals_stop(self.training):
            self.training.run()
        plot_metrics(self.folder.metrics, self.folder.picture)

    def position(self) -> str:
        """Where training stands, in words."""
        model = self.model
        within = f", {model.minibatch_index} minibatches into the next" if model.minibatch_index else ""
        return f"after {model.epoch_index} of {self.training.num_epochs} epochs (step {model.step}{within})"


@contextmanager
def _signals_stop(training: Any) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends training after the present minibatch; a second one acts as usual."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: Any) -> None:
        training.stop()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()
