"""neon's callbacks that evaluate on other data, and act on what they find."""

from __future__ import annotations

import logging
import sys
from timeit import default_timer
from typing import Any

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.callbacks.base import Callback
from neon_optim.compat.neon.data.ticker import Ticker
from neon_optim.compat.neon.layers.layer import BatchNorm
from neon_optim.compat.neon.transforms.cost import Metric
from neon_optim.errors import ArgumentError

_log = logging.getLogger(__name__)

__all__ = [
    "BatchNormTuneCallback",
    "DeconvCallback",
    "EarlyStopCallback",
    "LossCallback",
    "MetricCallback",
    "MultiLabelStatsCallback",
    "WatchTickerCallback",
]


class LossCallback(Callback):
    """Evaluates the cost on other data: ``cost/loss``, and how long it took, ``time/loss``.

    Arguments:
        eval_set: the data.
        epoch_freq: after every so many epochs.
    """

    def __init__(self, eval_set: Any, epoch_freq: Any = 1):
        super().__init__(epoch_freq=epoch_freq)
        self.eval_set = eval_set

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Make room for all epochs."""
        for name in ("cost/loss", "time/loss"):
            callback_data.create_dataset(name, (epochs // self.epoch_freq,), dtype="float32")
        callback_data["cost/loss"].attrs["time_markers"] = "epoch_freq"
        callback_data["cost/loss"].attrs["epoch_freq"] = self.epoch_freq

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Evaluate."""
        begin = default_timer()
        done, loss = 0, 0.0
        self.eval_set.reset()
        for x, t in self.eval_set:
            y = model.fprop(x, inference=True)
            samples = min(self.eval_set.ndata - done, self.be.bsz)
            steps = (y[0] if isinstance(y, list) else y).shape[1] // self.be.bsz
            model.cost.get_cost(y, t)
            loss += float(model.cost.outputs.get()[:, : samples * steps].sum()) / steps
            done += samples
        at = epoch // self.epoch_freq
        callback_data["time/loss"][at] = default_timer() - begin
        callback_data["cost/loss"][at] = loss / done


class MetricCallback(Callback):
    """Evaluates a metric on other data: ``metrics/<name>``.

    Arguments:
        eval_set: the data.
        metric: the metric.
        epoch_freq: after every so many epochs.
    """

    def __init__(self, eval_set: Any, metric: Any, epoch_freq: Any = 1):
        super().__init__(epoch_freq=epoch_freq)
        if isinstance(metric, type) and issubclass(metric, Metric):
            raise ArgumentError(
                f"MetricCallback: metric must be a metric, received the class {metric.__name__}; "
                f"give {metric.__name__}()"
            )
        self.eval_set, self.metric = eval_set, metric
        self.metric_cnt = len(metric.metric_names)
        self.metric_desc = ", ".join(metric.metric_names)

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Make room for all epochs."""
        for name in self.metric.metric_names:
            values = callback_data.create_dataset(
                f"metrics/{name}", (epochs // self.epoch_freq,), dtype="float32"
            )
            values.attrs["time_markers"] = "epoch_freq"
            values.attrs["epoch_freq"] = self.epoch_freq

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Evaluate."""
        if (epoch + 1) % self.epoch_freq:
            return
        self.eval_set.reset()
        values = np.ravel(model.eval(self.eval_set, metric=self.metric))
        _log.info("%s: %s", self.metric_desc, ", ".join(map(str, values)))
        for name, value in zip(self.metric.metric_names, values, strict=True):
            callback_data[f"metrics/{name}"][epoch // self.epoch_freq] = value


class MultiLabelStatsCallback(Callback):
    """Shows numbers of each class, such as those of PrecisionRecall, in percent.

    Arguments:
        eval_set: the data.
        labels: names of the classes, in the order of the targets' rows.
        metric: a metric whose ``outputs`` are (classes, numbers).
        epoch_freq: after every so many epochs.
    """

    def __init__(self, eval_set: Any, labels: Any, metric: Any, epoch_freq: Any = 1):
        super().__init__(epoch_freq=epoch_freq)
        self.eval_set, self.labels, self.metric = eval_set, labels, metric
        self.metric_desc = ", ".join(metric.metric_names)

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Evaluate, and show the means over the minibatches."""
        if (epoch + 1) % self.epoch_freq:
            return
        self.eval_set.reset()
        found = []
        for x, t in self.eval_set:
            self.metric(model.fprop(x, inference=True), t)
            found.append(np.array(self.metric.outputs.get()))
        means = 100.0 * np.mean(found, axis=0)
        for label, values in zip(self.labels, means, strict=False):
            texts = [
                f"{name}: {int(value)}% "
                for name, value in zip(self.metric.metric_names, values, strict=True)
            ]
            sys.stdout.write(f"[{''.join(texts)}] -> {label}\n")
        sys.stdout.flush()


class EarlyStopCallback(Callback):
    """Ends training when a function says so.

    Arguments:
        stop_func: called with its own state, None at first, and the cost that :class:`LossCallback` has found; returns
            its next state, and whether to stop.
    """

    def __init__(self, stop_func: Any):
        super().__init__(epoch_freq=1)
        self.stop_func = stop_func
        self.stop_state: Any = None

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Ask the function."""
        found = self._get_cached_epoch_loss(callback_data, model, epoch, "loss")
        if found:
            self.stop_state, finished = self.stop_func(self.stop_state, found["cost"])
            if finished:
                model.finished = True
                _log.warning("stopped early, at a cost of %f", found["cost"])


class BatchNormTuneCallback(Callback):
    """Takes the running statistics of BatchNorm anew, as the plain means over some data.

    Arguments:
        tune_set: the data; a part of the training data, say.
        epoch_freq: after every so many epochs.
    """

    def __init__(self, tune_set: Any, epoch_freq: Any = 1):
        super().__init__(epoch_freq=epoch_freq)
        self.tune_set = tune_set
        self.bn_layers: list[Any] | None = None

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Take them."""
        if self.bn_layers is None:
            self.bn_layers = [layer for layer in model.layers_to_optimize if type(layer) is BatchNorm]
        if (epoch + 1) % self.epoch_freq:
            return
        self.tune_set.reset()
        count = 0
        for x, _ in self.tune_set:
            for layer in self.bn_layers:
                layer.rho = count / (count + 1.0)
            model.fprop(x)
            model.layers.revert_tensors()
            count += 1
        if count > 1:
            for layer in self.bn_layers:
                layer.gvar[:] = layer.gvar * (count / (count - 1.0))


class WatchTickerCallback(Callback):
    """Shows inputs, outputs and targets of one sequence of a Ticker.

    Arguments:
        model: the model, or a reference to it.
        valid_set: the Ticker.
        epoch_freq: after every so many epochs.
    """

    def __init__(self, model: Any, valid_set: Any, epoch_freq: Any = 1):
        super().__init__(epoch_freq=epoch_freq)
        if not isinstance(valid_set, Ticker):
            raise ArgumentError(
                f"WatchTickerCallback: valid_set must be a Ticker, received a {type(valid_set).__name__}"
            )
        self.model, self.valid_set = model, valid_set

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Show the first sequence of the first minibatch."""
        x, (targets, mask) = next(iter(self.valid_set))
        y = model.fprop(x, inference=True)
        steps = 1 + int(np.max(mask.get().nonzero()[1])) // self.be.bsz
        with np.printoptions(formatter={"float": "{: 0.1f}".format}, linewidth=150):
            for name, tensor in (("Inputs", x), ("Outputs", y), ("Targets", targets)):
                logger.display(name)
                logger.display(tensor.get()[:, :: self.be.bsz][:, :steps])


class DeconvCallback(Callback):
    """neon's pictures of what feature maps answer to, for its tool nvis, which is not here.

    Raises:
        NotImplementedError: always.
    """

    def __init__(self, train_set: Any, valid_set: Any, max_fm: Any = 16, dataset_pct: Any = 25):
        raise NotImplementedError(
            "DeconvCallback makes pictures for neon's tool nvis, which this package does not have: leave it out"
        )
