"""A run of `neon-optim train`, from its config to its last checkpoint."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from neon_optim.cli.options import imported_modules
from neon_optim.cli.output import patient_stdout, say
from neon_optim.cli.preparation import Preparation, read_config, without_room
from neon_optim.cli.run_folder import RunFolder, check_same_data, check_same_settings
from neon_optim.errors import NeonOptimError, RunError

__all__ = ["TrainingRun"]


class TrainingRun:
    """One call of the command: everything checked first, then the folder, then training.

    Arguments:
        comm: the processes that train together.
        files: the config, and what is laid over it.
        overrides: changes of it.
        folder: of the run.
        resume: go on where the folder has a run.
        changed: changes of a run that goes on.
        init: a checkpoint that the first weights come from, whether with the optimizer's state, and whether only what
            fits.
    """

    def __init__(
        self,
        comm: Any,
        files: tuple[str, ...],
        overrides: list[str],
        folder: RunFolder,
        resume: bool,
        changed: tuple[str, ...] = (),
        init: tuple[str, bool, bool] | None = None,
    ) -> None:
        self.comm, self.folder, self.resume, self.init = comm, folder, resume, init
        self.changed = [change.partition("=")[0].strip() for change in changed]
        self.history: list[dict[str, Any]] = []
        with comm.agreeing():
            self.config = read_config(files, [*overrides, *changed])
            if not resume and comm.rank == 0:
                folder.refuse_other_run()
            stored = folder.read_settings() if resume else None
        settings = self.config.settings
        if settings.rng_seed is None and stored is not None:
            settings.rng_seed = stored.settings.rng_seed
        if settings.rng_seed is None:
            settings.rng_seed = comm.broadcast(secrets.randbits(32))
        shards = comm.size if stored is None else stored.settings.distributed.shards or 1
        self.shards = settings.distributed.shards or shards
        if self.shards > 1:
            settings.distributed.shards = self.shards
        with comm.agreeing():
            self.values = _in_full(self.config)
            if stored is not None:
                check_same_settings(folder, _in_full(stored), self.values, self.changed)
            self._build()
        from neon_optim.distributed.greeting import check_alike

        check_alike(comm, settings=self.values, data=self.data)

    def _optimizer(self) -> Any:
        """The optimizer of the config, for all processes."""
        from neon_optim.distributed import Distributed

        settings = self.config.settings
        how = settings.distributed
        if self.comm.size == self.shards == 1:
            return settings.optimizer
        return Distributed(settings.optimizer, self.comm, **{**vars(how), "shards": self.shards})

    def _build(self) -> None:
        """Backend, data, model: everything that can go wrong before the folder is touched."""
        from neon_optim.data.array_datasets import encoding_of
        from neon_optim.model.training import Training

        settings = self.config.settings
        parts = Preparation(self.config)
        parts.bring_together()
        parts.set_backend()
        parts.raise_if_any()
        self.model, self.dataset = parts.model, parts.dataset
        self.data = parts.train.digest()
        try:
            self.optimizer = self._optimizer()
            self.training = Training(self.model, parts.train, settings.cost, self.optimizer, settings.epochs)
        except (MemoryError, OverflowError, ValueError) as error:
            if isinstance(error, NeonOptimError) or not (
                why := without_room(self.model, error, self.model.be.default_dtype.itemsize)
            ):
                raise
            raise RunError(why) from error
        parts.assign_parameters()
        parts.raise_if_any()
        self.metrics, self.best_by = parts.metrics, parts.best_by
        self.encoding = encoding_of(self.dataset)

    def start(self) -> bool:
        """Train; whether the run is finished."""
        with ExitStack() as stack:
            manager = self._enter(stack)
            newest = manager.latest() if self.resume else None
            if newest is not None:
                newest = str(self.folder.checkpoints / os.path.basename(newest))
                with self.comm.agreeing():
                    found = self._restore(newest)
                    if not (self._is_finished() or any(path.startswith("dataset") for path in self.changed)):
                        check_same_data(self.folder, found.extra, self.data)
                if self._is_finished():
                    self._tell_finished()
                    return True
                say(f"Resumed {self.position()} from {newest}")
            elif self.init is not None:
                with self.comm.agreeing():
                    self._begin_from(*self.init)
            if self.comm.rank == 0:
                self.folder.write_config(self.values)
            self._describe()
            begin = time.monotonic()
            self._train(manager)
            drawn = self._draw()
            if self.training.finished:
                done = f"{self.model.epoch_index} of {self.training.num_epochs} epochs"
                say(f"Done: {done} (step {self.model.step}), {time.monotonic() - begin:.1f} s.")
                if self.training.reason:
                    say(f"Ended early: {self.training.reason}.")
                self._tell_places(drawn)
                return True
            return False

    def _enter(self, stack: ExitStack) -> Any:
        """Take the folder, for process 0 to write to; the manager of its checkpoints."""
        from neon_optim.distributed.checkpoints import SharedManager
        from neon_optim.serialization.checkpoint.manager import CheckpointManager

        manager = None
        with self.comm.agreeing():
            if self.comm.rank == 0:
                stack.enter_context(self.folder.locked())
                if not self.resume:
                    self.folder.refuse_other_run()
                kept = self.config.settings.checkpoint.keep_last
                best = None if kept is None else self.best_by
                manager = CheckpointManager(self.folder.checkpoints, keep_last=kept, keep_best=best)
                stack.enter_context(manager)
        return manager if self.comm.size == 1 else SharedManager(self.comm, manager)

    def _restore(self, path: str) -> Any:
        """Bring model and optimizer to where a checkpoint is; what was read."""
        from neon_optim.cli.run_history import changes_made
        from neon_optim.model.training import Training
        from neon_optim.serialization import load_checkpoint

        found = load_checkpoint(
            path, optimizer=self.optimizer, layers=self.model.layers_to_optimize, model=self.model
        )
        if isinstance(found.extra, dict) and isinstance(found.extra.get("config"), dict):
            known = found.extra["config"]
            differing = check_same_settings(self.folder, known, self.values, self.changed)
            entry = changes_made(differing, self.changed, self.model)
            self.history = [*(found.extra.get("history") or []), *([entry] if entry else [])]
        self.training = Training(
            self.model,
            self.dataset.train_iter,
            self.config.settings.cost,
            self.optimizer,
            self.config.settings.epochs,
        )
        return found

    def _begin_from(self, source: str, with_state: bool, partly: bool) -> None:
        """Take the first weights from a checkpoint."""
        from neon_optim.cli.run_history import begin_from, history_lines

        entry, left_out = begin_from(source, self.model, self.optimizer, with_state, partly)
        self.history = [entry]
        for line in [*history_lines(self.history), *left_out]:
            say(line)

    def _describe(self) -> None:
        be = self.model.be
        engine = getattr(getattr(be, "engine", None), "name", None)
        numbers = sum(param.size for (param, _), _ in self.model.get_params())
        say(
            f"{numbers:,} parameters; {self.dataset.train_iter.ndata:,} samples to train on, "
            f"{self.dataset.valid_iter.ndata:,} to validate"
        )
        for line in self.dataset.encoding.summary() if hasattr(self.dataset, "encoding") else ():
            say(line)
        if self.shards > 1:
            count = f"{self.comm.size} {'process' if self.comm.size == 1 else 'processes'}"
            say(f"{count}; minibatches in {self.shards} parts")
        say(f"backend {self.values['backend']}{f' ({engine})' if engine else ''}; folder {self.folder.path}")

    def _train(self, manager: Any) -> None:
        from neon_optim.model import Checkpoints, CsvLog, MetricsLog, Validation
        from neon_optim.model.progress import progress

        settings = self.config.settings
        when = settings.checkpoint
        logs = [
            *([CsvLog(self.folder.table)] if "csv" in settings.loggers else []),
            MetricsLog(self.folder.metrics),
            progress(patient_stdout()),
        ]
        if self.comm.rank:
            logs = []
        self.training.callbacks = [
            Validation(self.dataset.valid_iter, self.metrics),
            *([settings.stop] if settings.stop else []),
            *settings.callbacks,
            *logs,
            Checkpoints(
                manager,
                every_epochs=when.every_epochs or 0,
                every_steps=when.every_steps,
                extra={
                    "config": self.values,
                    "data": self.data,
                    "best_by": self.best_by,
                    "history": self.history,
                    "imports": list(imported_modules()),
                    "encoding": None if self.encoding is None else self.encoding.to_json(),
                },
            ),
        ]
        with _signals_stop(self.training):
            self.training.run()

    def _draw(self) -> bool:
        """Make the picture; whether it was made. Training is done and saved by now, whatever goes wrong here."""
        from neon_optim.model.plot import plot_metrics

        if self.comm.rank:
            return False
        try:
            return plot_metrics(self.folder.metrics, self.folder.picture)
        except NeonOptimError as error:
            say(f"Warning: there is no new picture: {error}", err=True)
            say("The run itself is saved. The same command with --resume makes the picture.", err=True)
            return False

    def _is_finished(self) -> bool:
        """Whether there is nothing more to train, by the epochs done and by what the run remembers."""
        stop = self.config.settings.stop
        if stop is not None:
            self.training.reason = stop.reason_to_end(self.model)
        return self.training.finished

    def _tell_finished(self) -> None:
        """Say that all is done already, and where it is; make the picture where it is missing."""
        if self.comm.rank:
            return
        done, asked = self.model.epoch_index, self.training.num_epochs
        if done == asked and not self.model.minibatch_index:
            say(f"The run in {self.folder.path} is finished: {self.position()}.")
        else:
            say(
                f"The run in {self.folder.path} is finished: {asked} {'epoch was' if asked == 1 else 'epochs were'} "
                f"asked for, {done} are done already (step {self.model.step}{self._within()})."
            )
        if self.training.reason:
            say(f"Ended early: {self.training.reason}.")
        drawn = self._draw() if self.folder.picture_is_due() else self.folder.picture.exists()
        self._tell_places(drawn)

    def _tell_places(self, drawn: bool) -> None:
        """Say which checkpoint is the best, and where everything is."""
        if self.comm.rank:
            return
        from neon_optim.serialization.checkpoint.manager import CheckpointManager
        from neon_optim.serialization.checkpoint.stored import read_state

        metric = self.best_by[0]
        manager = CheckpointManager(self.folder.checkpoints, keep_best=self.best_by)
        best, steps = manager.best(), manager.steps()
        lines = [("run", str(self.folder.path))]
        if best is not None:
            state = read_state(best)
            value = state["metrics"][metric]
            text = f"{100 * value:.2f} %" if metric.endswith("_error") else f"{value:.4f}"
            say(f"Best checkpoint: after epoch {state['epoch']}, {metric.replace('_', ' ')} {text}.")
            lines.append(("best", str(self.folder.checkpoints / os.path.basename(best))))
        elif steps:
            lines.append(("newest", str(self.folder.checkpoints / os.path.basename(manager.path(steps[-1])))))
        if drawn:
            lines.append(("picture", str(self.folder.picture)))
        for name, place in lines:
            say(f"  {name:7}  {place}")

    def position(self) -> str:
        """Where training stands, in words."""
        model = self.model
        return f"after {model.epoch_index} of {self.training.num_epochs} epochs (step {model.step}{self._within()})"

    def _within(self) -> str:
        batch = self.model.minibatch_index
        return f", {batch} {'minibatch' if batch == 1 else 'minibatches'} into the next" if batch else ""


def _in_full(config: Any) -> dict[str, Any]:
    """The values of a config with every default."""
    settings = config.settings
    names = ("backend", "engine", "device_id", "datatype", "stochastic_round", "deterministic")
    return {
        **{name: getattr(settings, name) for name in (*names, "epochs", "batchsize")},
        **config,
        "rng_seed": settings.rng_seed,
        "checkpoint": vars(settings.checkpoint),
        "distributed": vars(settings.distributed),
    }


@contextmanager
def _signals_stop(training: Any) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP ends training after the present minibatch; a second SIGINT or SIGTERM acts as
    usual. Where a terminal closes the system and the shell may each send SIGHUP, so all of them count as one, to the
    end of the process; under nohup they count for nothing."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.getsignal(number) for number in numbers}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]

    def stop(number: int, frame: Any) -> None:
        training.stop()
        if number == signal.SIGHUP:
            before[signal.SIGHUP] = signal.SIG_IGN
        else:
            for other in (signal.SIGINT, signal.SIGTERM):
                signal.signal(other, before[other])

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
