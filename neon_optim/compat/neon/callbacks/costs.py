"""neon's callbacks that keep costs, times and histograms of training."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from neon_optim.compat.neon.callbacks.base import Callback, number
from neon_optim.compat.neon.layers.container import Multicost
from neon_optim.errors import ArgumentTypeError

__all__ = [
    "GANCostCallback",
    "HistCallback",
    "RunTimerCallback",
    "TrainCostCallback",
    "TrainMulticostCallback",
]


class RunTimerCallback(Callback):
    """Keeps when training began and ended, in seconds: ``time/train``."""

    def __init__(self) -> None:
        super().__init__()

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Keep the time."""
        timing = callback_data.create_group("time/train")
        for name in ("start_time", "end_time"):
            timing.create_dataset(name, (1,), dtype="float64").attrs["units"] = "seconds"
        timing["start_time"][0] = time.time()

    def on_train_end(self, callback_data: Any, model: Any) -> None:
        """Keep the time."""
        callback_data["time/train/end_time"][0] = time.time()


class TrainCostCallback(Callback):
    """Keeps the cost of each minibatch: ``cost/train``.

    Arguments:
        wsz: over how many minibatches the mean is taken.
    """

    def __init__(self, wsz: Any = 10):
        super().__init__(epoch_freq=1)
        self.wsz = wsz

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Make room for all minibatches."""
        points = callback_data["config"].attrs["total_minibatches"]
        costs = callback_data.create_dataset("cost/train", (points,), dtype="float32")
        costs.attrs["time_markers"] = "minibatch"
        self.cost_history: deque[float] = deque(maxlen=int(min(points, self.wsz)))

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Keep the mean of the last minibatches."""
        self.cost_history.append(number(model.cost.cost))
        at = self._minibatches_before(callback_data, epoch) + minibatch
        callback_data.put("cost/train", at, sum(self.cost_history) / len(self.cost_history))


class TrainMulticostCallback(Callback):
    """Keeps each cost of a Multicost, ``multicost/train``, and those within others, ``multicost/train_allbranches``.

    Arguments:
        wsz: over how many minibatches the mean is taken.
    """

    def __init__(self, wsz: Any = 10):
        super().__init__(epoch_freq=1)
        self.wsz = wsz

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Make room for all minibatches.

        Raises:
            ArgumentTypeError: the model's cost is no Multicost.
        """
        if not isinstance(model.cost, Multicost):
            raise ArgumentTypeError(
                f"TrainMulticostCallback needs a Multicost, received a {type(model.cost).__name__}"
            )
        points = callback_data["config"].attrs["total_minibatches"]
        widths = {"train": len(model.cost.costs), "train_allbranches": len(list(_single_costs(model.cost)))}
        for name, width in widths.items():
            costs = callback_data.create_dataset(f"multicost/{name}", (points, width), dtype="float64")
            costs.attrs["time_markers"] = "minibatch"
        self.cost_history: deque[np.ndarray] = deque(maxlen=int(min(points, self.wsz)))

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Keep the means of the last minibatches, and the single costs of this one."""
        self.cost_history.append(np.array([number(cost.cost) for cost in model.cost.costs]))
        at = self._minibatches_before(callback_data, epoch) + minibatch
        callback_data.put("multicost/train", at, np.mean(self.cost_history, axis=0))
        single = [number(cost.cost) for cost in _single_costs(model.cost)]
        callback_data.put("multicost/train_allbranches", at, single)


def _single_costs(cost: Any) -> Iterator[Any]:
    """The costs in a Multicost, those of inner ones included."""
    if isinstance(cost, Multicost):
        for inner in cost.costs:
            yield from _single_costs(inner)
    else:
        yield cost


class HistCallback(Callback):
    """Keeps histograms of the layers' tensors: ``hist/<layer>_<number>_<tensor>``.

    Arguments:
        plot_per_mini: after each minibatch; else after each epoch.
        filter_key: names of tensors.
    """

    def __init__(self, plot_per_mini: Any, filter_key: Any):
        super().__init__(epoch_freq=1, minibatch_freq=1)
        self.plot_per_mini, self.filter_key = plot_per_mini, filter_key

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Say what the histograms are."""
        self.minibatches = callback_data["config"].attrs["total_minibatches"]
        group = callback_data.create_group("hist")
        group.attrs["bins"], group.attrs["offset"] = self.be.hist_bins, self.be.hist_offset
        group.attrs["time_markers"] = "minibatch" if self.plot_per_mini else "epoch"
        group.attrs["time_steps"] = self.minibatches if self.plot_per_mini else epochs

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Keep the histograms, where they are asked for after each minibatch."""
        if self.plot_per_mini:
            self._keep(callback_data, model, self._minibatches_before(callback_data, epoch) + minibatch)

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Keep the histograms, where they are asked for after each epoch."""
        if not self.plot_per_mini:
            self._keep(callback_data, model, epoch)

    def _keep(self, callback_data: Any, model: Any, at: int) -> None:
        for place, layer in enumerate(model.layers.layers):
            for name in self.filter_key:
                tensor = getattr(layer, name, None)
                if tensor is not None:
                    tensor.hist(f"{layer.name}_{place}_{name}")
        group = callback_data["hist"]
        found, rows = self.be.dump_hist_data()
        counts = np.asarray(found.get())
        for name, row in rows.items():
            kept = group.require_dataset(
                name, shape=(counts.shape[1], group.attrs["time_steps"]), dtype=counts.dtype
            )
            kept[:, at] = counts[row]


class GANCostCallback(Callback):
    """Keeps the discriminator's cost after each step of the generator: ``gan/cost_dis``, ``gan/gen_iter``."""

    def __init__(self) -> None:
        super().__init__(epoch_freq=1)

    def on_train_begin(self, callback_data: Any, model: Any, epochs: int) -> None:
        """Make room for all minibatches."""
        points = callback_data["config"].attrs["total_minibatches"]
        for name in ("gan/gen_iter", "gan/cost_dis"):
            kept = callback_data.create_dataset(name, (points,), dtype="float32")
            kept.attrs["time_markers"] = "minibatch"

    def on_minibatch_end(self, callback_data: Any, model: Any, epoch: int, minibatch: int) -> None:
        """Keep the numbers, if the generator has just been trained."""
        if model.current_batch == model.last_gen_batch > 0:
            at = self._minibatches_before(callback_data, epoch) + minibatch
            callback_data["gan/gen_iter"][at] = model.gen_iter
            callback_data["gan/cost_dis"][at] = number(model.cost_dis)
