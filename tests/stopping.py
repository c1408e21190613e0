"""A run that ends before its time."""

from __future__ import annotations

from neon_optim.model import Callback


class StopAt(Callback):
    """Stops after so many minibatches."""

    def __init__(self, step):
        self.step = step

    def on_minibatch_end(self, training):
        if training.model.step == self.step:
            training.stop()
