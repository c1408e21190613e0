"""neon.callbacks.callbacks: the list of callbacks of a model's training, and all callbacks."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from neon_optim.compat.callback_file import open_callback_file
from neon_optim.compat.descriptions import class_of
from neon_optim.compat.neon.callbacks.base import Callback
from neon_optim.compat.neon.callbacks.costs import (
    GANCostCallback,
    HistCallback,
    RunTimerCallback,
    TrainCostCallback,
    TrainMulticostCallback,
)
from neon_optim.compat.neon.callbacks.evaluation import (
    BatchNormTuneCallback,
    DeconvCallback,
    EarlyStopCallback,
    LossCallback,
    MetricCallback,
    MultiLabelStatsCallback,
    WatchTickerCallback,
)
from neon_optim.compat.neon.callbacks.saving import SaveBestStateCallback, SerializeModelCallback
from neon_optim.compat.neon.callbacks.showing import (
    ProgressBarCallback,
    TrainLoggerCallback,
    get_progress_string,
)
from neon_optim.compat.neon.util.persist import load_obj, save_obj
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError

_log = logging.getLogger(__name__)

__all__ = [
    "BatchNormTuneCallback",
    "Callback",
    "Callbacks",
    "DeconvCallback",
    "EarlyStopCallback",
    "GANCostCallback",
    "HistCallback",
    "LossCallback",
    "MetricCallback",
    "MultiLabelStatsCallback",
    "ProgressBarCallback",
    "RunTimerCallback",
    "SaveBestStateCallback",
    "SerializeModelCallback",
    "TrainCostCallback",
    "TrainLoggerCallback",
    "TrainMulticostCallback",
    "WatchTickerCallback",
    "get_progress_string",
]


class Callbacks(NervanaObject):
    """The callbacks of a model's training, called in order.

    Arguments:
        model: the model.
        train_set: neon's; without effect, there too.
        output_file: where the HDF5 file of what callbacks find is kept; None: in memory.
        eval_freq: evaluate after every so many epochs; None or 0: never.
        progress_bar: show how far an epoch is.
        save_path: where the model is saved; None: nowhere.
        serialize: save after every so many epochs.
        history: how many saved files are kept.
        model_file: a saved model whose weights training begins with.
        eval_set: the data to evaluate on.
        metric: what is measured there, beside the cost.
        log_token: neon's, for a service that is gone; without effect.
        multicost: keep each cost of a Multicost.

    Attributes:
        callbacks: the list, which :meth:`add_callback` adds to.
        callback_data: the HDF5 file; it is closed when training ends.

    Raises:
        ArgumentError: there is an ``eval_freq`` and no ``eval_set``.
        NeonOptimError: h5py is not installed.
    """

    def __init__(
        self,
        model: Any,
        train_set: Any = None,
        output_file: Any = None,
        eval_freq: Any = None,
        progress_bar: Any = True,
        save_path: Any = None,
        serialize: Any = 0,
        history: Any = 1,
        model_file: Any = None,
        eval_set: Any = None,
        metric: Any = None,
        log_token: Any = None,
        multicost: Any = False,
    ):
        super().__init__()
        if train_set is not None:
            _log.warning("Callbacks does not need train_set, and leaves it out")
        self.callbacks: list[Any] = []
        self.epoch_marker = self.epoch_minibatches = 0
        self.output_file = output_file
        if output_file is not None and os.path.isfile(output_file):
            _log.warning("%s is written anew", output_file)
        self.callback_data = open_callback_file(str(self.name), output_file)
        self.model: Any = weakref.ref(model)
        self.model_file, self.save_path = model_file, save_path
        self._handler_before: Any = None

        if eval_freq and not eval_set:
            raise ArgumentError(
                f"Callbacks: eval_freq is {eval_freq}, but there is no eval_set to evaluate on"
            )
        if eval_freq:
            self.add_callback(LossCallback(eval_set, eval_freq))
        self.add_callback(TrainMulticostCallback() if multicost else TrainCostCallback())
        if progress_bar:
            self.add_callback(ProgressBarCallback())
        if eval_freq and metric:
            self.add_callback(MetricCallback(eval_set, metric, eval_freq))
        if save_path:
            self.add_callback(SerializeModelCallback(save_path, max(serialize, 1), history))
        self.add_callback(TrainLoggerCallback())
        self.add_callback(RunTimerCallback())

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.callback_data.close()

    def serialize(self) -> dict[str, Any]:
        """The description."""
        return self.get_description()

    def get_description(self, skip: Iterable[str] = (), **options: Any) -> dict[str, Any]:
        """``epoch_marker``, ``output_file``, and the descriptions of the callbacks."""
        return {
            "epoch_marker": self.epoch_marker,
            "output_file": self.output_file,
            "callbacks": [callback.get_description() for callback in self.callbacks],
        }

    @classmethod
    def load_callbacks(cls, cdict: Any, model: Any, data: Any = ()) -> Any:
        """The callbacks of a description, or of a file with one."""
        if isinstance(cdict, str):
            cdict = load_obj(cdict)
        made = cls(model, output_file=cdict["output_file"])
        made.epoch_marker = cdict["epoch_marker"]
        made.callbacks = [class_of(one["type"])(**one.get("config", {})) for one in cdict["callbacks"]]
        return made

    def add_callback(self, callback: Any, insert_pos: int | None = None) -> None:
        """Add a callback at a place in the list; None: behind the others."""
        self.callbacks.insert(len(self.callbacks) if insert_pos is None else insert_pos, callback)

    def add_deconv_callback(
        self, train_set: Any, valid_set: Any, max_fm: int = 16, dataset_pct: float = 25
    ) -> None:
        """Add a :class:`DeconvCallback`."""
        self.add_callback(DeconvCallback(train_set, valid_set, max_fm=max_fm, dataset_pct=dataset_pct))

    def add_save_best_state_callback(self, path: str) -> None:
        """Add a :class:`SaveBestStateCallback`."""
        self.add_callback(SaveBestStateCallback(path))

    def add_watch_ticker_callback(self, valid: Any) -> None:
        """Add a :class:`WatchTickerCallback`."""
        self.add_callback(WatchTickerCallback(self.model, valid))

    def add_early_stop_callback(self, stop_func: Callable[[Any, float], tuple[Any, bool]]) -> None:
        """Add an :class:`EarlyStopCallback`."""
        self.add_callback(EarlyStopCallback(stop_func))

    def add_hist_callback(self, plot_per_mini: bool = False, filter_key: Iterable[str] = ("W",)) -> None:
        """Add a :class:`HistCallback`."""
        self.add_callback(HistCallback(plot_per_mini=plot_per_mini, filter_key=list(filter_key)))

    # --- called by the model ---

    def on_train_begin(self, epochs: int) -> None:
        """Prepare the file, load the weights of ``model_file``, watch for Ctrl-C; then all callbacks."""
        model, data = self.model(), self.callback_data
        config = data.create_group("config")
        config.attrs["total_minibatches"] = math.ceil(model.ndata / self.be.bsz) * epochs
        config.attrs["total_epochs"] = epochs
        data.create_dataset("time_markers/minibatch", (epochs,), dtype="float32")
        if self.model_file:
            model.load_params(self.model_file)
        if threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(signal.SIGINT, self.on_sigint_catch)
        for callback in self.callbacks:
            callback.on_train_begin(data, model, epochs)

    def on_train_end(self) -> None:
        """Stop watching for Ctrl-C; then all callbacks. Closes the file."""
        self._let_go_of_sigint()
        for callback in self.callbacks:
            callback.on_train_end(self.callback_data, self.model())
        self.callback_data.close()

    def on_epoch_begin(self, epoch: int) -> None:
        """All callbacks that are due in this epoch."""
        self._call("on_epoch_begin", "epoch_freq", epoch)

    def on_epoch_end(self, epoch: int) -> None:
        """All callbacks that are due in this epoch."""
        self._call("on_epoch_end", "epoch_freq", epoch)
        self.epoch_marker += self.epoch_minibatches
        markers = self.callback_data["time_markers"]
        markers["minibatch"][epoch] = self.epoch_marker
        markers.attrs["epochs_complete"] = epoch + 1
        markers.attrs["minibatches_complete"] = self.epoch_marker
        self.callback_data.flush()

    def on_minibatch_begin(self, epoch: int, minibatch: int) -> None:
        """All callbacks that are due in this minibatch."""
        self._call("on_minibatch_begin", "minibatch_freq", epoch, minibatch)

    def on_minibatch_end(self, epoch: int, minibatch: int) -> None:
        """All callbacks that are due in this minibatch."""
        self._call("on_minibatch_end", "minibatch_freq", epoch, minibatch)
        self.epoch_minibatches = minibatch + 1

    def _call(self, hook: str, freq: str, *place: int) -> None:
        """Call a hook of the callbacks that have it and are due in the last number of a place."""
        data, model, empty = self.callback_data, self.model(), getattr(Callback, hook)
        for callback in self.callbacks:
            method = getattr(callback, hook)
            if getattr(method, "__func__", None) is empty:
                continue
            if callback.should_fire(data, model, place[-1], getattr(callback, freq)):
                if type(callback).__module__ != __name__:
                    data.write_waiting()
                method(data, model, *place)

    def on_sigint_catch(self, signum: int, frame: Any) -> None:
        """On Ctrl-C save the model, where there is a ``save_path``, and stop.

        Raises:
            KeyboardInterrupt: always.
        """
        self._let_go_of_sigint()
        if self.save_path is None:
            raise KeyboardInterrupt
        save_obj(self.model().serialize(keep_states=True), self.save_path)
        raise KeyboardInterrupt(f"the model is saved as {self.save_path}")

    def _let_go_of_sigint(self) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGINT, self._handler_before)
            self._handler_before = None


for _name in __all__:
    globals()[_name].__module__ = __name__  # what descriptions call it
