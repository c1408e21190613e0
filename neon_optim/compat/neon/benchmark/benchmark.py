"""How long the passes of a model take, in milliseconds, whole and layer by layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.version import VERSION
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, ArgumentTypeError, ModelError

__all__ = ["Benchmark"]

_TITLES = {"min": "Amin", "max": "Amax"}
"""neon's titles for NumPy's functions that had another name when neon was made."""


class Benchmark:
    """Measures a model.

    Arguments:
        model: the model; for more than inference with a cost and an optimizer, and initialized.
        time_layers: measure each layer too, and the loading of the data.
    """

    def __init__(self, model: Any, time_layers: bool = True) -> None:
        self.model = model
        self.time_layers = time_layers
        self.layer_times: dict[str, list[float]] = {}
        if not time_layers:
            return
        start, end = model.be.init_mark(), model.be.init_mark()
        for layer in _single_layers(model.layers):
            for way in ("fprop", "bprop"):
                times = self.layer_times[f"{way} {layer.name}"] = []
                setattr(layer, way, self.benchmarked(getattr(layer, way), start, end, times))

    @staticmethod
    def benchmarked(
        func: Callable[..., Any], start: Any, end: Any, output: list[float]
    ) -> Callable[..., Any]:
        """A function that does what ``func`` does and appends to ``output`` how long it took.

        Arguments:
            func: the function.
            start, end: marks of the backend.
            output: the times.
        """
        be = NervanaObject.be

        @functools.wraps(func)
        def measured(*args: Any, **options: Any) -> Any:
            be.record_mark(start)
            result = func(*args, **options)
            be.record_mark(end)
            be.synchronize_mark(end)
            output.append(be.get_time(start, end))
            return result

        return measured

    def time(self, dataset: Any, inference: bool = False, niterations: int = 20) -> dict[str, Any]:
        """The times of the passes over each of ``niterations`` minibatches.

        Arguments:
            dataset: the minibatches; begun again where there are fewer.
            inference: forward alone.
            niterations: how many.

        Returns by name: 'fprop' (with the loading of the data), 'bprop' (with the step of the optimizer),
        'iteration' (both), 'data_loading', and 'fprop <layer>', 'bprop <layer>' for each layer.

        Raises:
            ArgumentError: no data, or fewer than one minibatch.
            ModelError: the model has no cost or no optimizer.
        """
        self._check(dataset, niterations, 1)
        if not inference and (self.model.cost is None or self.model.optimizer is None):
            raise ModelError(
                "the backward pass needs a model with a cost and an optimizer; or inference=True"
            )
        names = ["fprop"] if inference else ["fprop", "bprop", "iteration"]
        times = self._table(names, niterations)
        clock = _Clock(self.model.be, "loading", "begin", "forward", "backward")
        for count, (x, t) in enumerate(self._minibatches(dataset, niterations, clock)):
            clock.mark("begin")
            outputs = self.model.fprop(x, inference)
            clock.mark("forward")
            if not inference:
                self._learn(outputs, t)
                clock.mark("backward")
            clock.wait("forward" if inference else "backward")
            loading = clock.between("loading", "begin")
            if self.time_layers:
                times["data_loading"][count] = loading
            times["fprop"][count] = clock.between("begin", "forward") + loading
            if not inference:
                times["bprop"][count] = clock.between("forward", "backward")
                times["iteration"][count] = times["fprop"][count] + times["bprop"][count]
        return {**times, **self.layer_times}

    def _learn(self, outputs: Any, targets: Any) -> None:
        model = self.model
        model.cost.get_cost(outputs, targets)
        model.bprop(model.cost.get_errors(outputs, targets))
        model.optimizer.optimize(model.layers_to_optimize, epoch=0)

    def time_gan(self, dataset: Any, niterations: int = 101) -> dict[str, Any]:
        """The times of the passes of a generative adversarial model over ``niterations`` minibatches.

        'fprop' and 'bprop' are those of the discriminator on noise and on data, and of the generator where its turn
        has come, together.

        Raises:
            ArgumentError: no data, or so few minibatches that the generator has no turn.
        """
        model = self.model
        self._check(dataset, niterations, model.get_k(model.gen_iter) + 1)
        times = self._table(["fprop", "bprop", "iteration"], niterations, 0.0)
        clock = _Clock(model.be, "loading", "begin", "end")
        discriminator, generator = model.layers.discriminator, model.layers.generator
        normal = model.noise_type == "normal"
        count = 0

        def timed(part: str, work: Callable[..., Any], *args: Any) -> Any:
            clock.mark("begin")
            result = work(*args)
            clock.mark("end")
            clock.wait("end")
            times[part][count] += clock.between("begin", "end")
            return result

        def on_noise() -> Any:
            return model.fprop_dis(model.fprop_gen(model.zbuf))

        def step(layers: Any) -> None:
            model.optimizer.optimize(layers.layers_to_optimize, epoch=model.epoch_index)

        for count, (x, _) in enumerate(self._minibatches(dataset, niterations, clock)):
            clock.mark("begin")
            loading = clock.between("loading", "begin")
            if self.time_layers:
                times["data_loading"][count] = loading
            times["fprop"][count] += loading
            if model.wgan_param_clamp:
                model.clip_param_in_layers(discriminator.layers_to_optimize, model.wgan_param_clamp)
            model.fill_noise(model.zbuf, normal=normal)
            outputs = timed("fprop", on_noise)
            model.ybuf[:] = outputs
            timed("bprop", lambda y: model.bprop_dis(model.cost.costfunc.bprop_noise(y)), outputs)
            discriminator.set_acc_on(True)
            outputs = timed("fprop", model.fprop_dis, x)
            timed("bprop", lambda y: model.bprop_dis(model.cost.costfunc.bprop_data(y)), outputs)
            timed("bprop", step, discriminator)
            discriminator.set_acc_on(False)
            if model.current_batch == model.last_gen_batch + model.get_k(model.gen_iter):
                model.fill_noise(model.zbuf, normal=normal)
                model.ybuf[:] = outputs
                outputs = timed("fprop", on_noise)
                timed(
                    "bprop",
                    lambda y: model.bprop_gen(model.bprop_dis(model.cost.costfunc.bprop_generator(y))),
                    outputs,
                )
                timed("bprop", step, generator)
                model.last_gen_batch = model.current_batch
                model.gen_iter += 1
            model.current_batch += 1
            times["iteration"][count] = times["fprop"][count] + times["bprop"][count]
        return times

    def _check(self, dataset: Any, niterations: int, least: int) -> None:
        if not dataset:
            raise ArgumentError(f"there is no data to measure with, received {dataset!r}")
        if niterations < least:
            raise ArgumentError(f"niterations must be at least {least}, received {niterations}")

    def _table(self, names: list[str], niterations: int, value: float = -1.0) -> dict[str, np.ndarray]:
        names = [*names, "data_loading"] if self.time_layers else names
        return {name: np.full(niterations, value) for name in names}

    @staticmethod
    def _minibatches(dataset: Any, count: int, clock: _Clock) -> Iterator[Any]:
        """``count`` minibatches; the mark 'loading' is set before each is fetched."""
        while count > 0:
            dataset.reset()
            clock.mark("loading")
            for minibatch in dataset:
                yield minibatch
                clock.mark("loading")
                count -= 1
                if count == 0:
                    return

    @staticmethod
    def print_stats(
        stats: Any, functions: Sequence[Callable[..., Any]] | None = None, output: Any = None, nskip: int = 0
    ) -> None:
        """Show times as a table, a row for each name and a column for each function.

        Arguments:
            stats: the times in milliseconds by name, as of :meth:`time`.
            functions: what to make of the times; default: mean, median, minimum and maximum.
            output: has ``display(text)``; default: neon's logger.
            nskip: how many times at the start to leave out.

        Raises:
            ArgumentError: there are no times.
            ArgumentTypeError: the output has no ``display``.
        """
        if not stats:
            raise ArgumentError(f"there are no times to show, received {stats!r}")
        output = output or logger
        if not hasattr(output, "display"):
            raise ArgumentTypeError(f"output must have a method display(text), received {output!r}")
        functions = functions or (np.mean, np.median, np.min, np.max)
        titles = [_TITLES.get(function.__name__, function.__name__.title()) for function in functions]
        rows = [("Func", titles, "Units")]
        for name, times in stats.items():
            if any(times):
                values = [f"{function(np.array(times[nskip:])):.5g}" for function in functions]
                rows.append((name, values, "msec"))
        lines = [
            f"| {name:<33} | {' | '.join(f'{cell:<11}' for cell in cells)} | {unit:^11} |"
            for name, cells, unit in rows
        ]
        rule = f"+{'-' * (len(lines[0]) - 2)}+"
        title = f"|{f'  neon {VERSION}: times  ':-^{len(rule) - 2}}|"
        output.display("\n".join(["", rule, title, rule, lines[0], rule, *lines[1:], rule]))


class _Clock:
    """Marks of a backend by name."""

    def __init__(self, be: Any, *names: str) -> None:
        self.be = be
        self.marks = {name: be.init_mark() for name in names}

    def mark(self, name: str) -> None:
        self.be.record_mark(self.marks[name])

    def wait(self, name: str) -> None:
        self.be.synchronize_mark(self.marks[name])

    def between(self, start: str, end: str) -> float:
        return float(self.be.get_time(self.marks[start], self.marks[end]))


def _single_layers(container: Any) -> Iterator[Any]:
    """The layers in a container and in those in it."""
    for layer in container.layers:
        if hasattr(layer, "layers"):
            yield from _single_layers(layer)
        else:
            yield layer
