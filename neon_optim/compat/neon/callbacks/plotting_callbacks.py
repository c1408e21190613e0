"""neon.callbacks.plotting_callbacks: pictures of what a GAN makes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neon_optim.compat.neon.callbacks.callbacks import Callback
from neon_optim.errors import ArgumentError, NeonOptimError

__all__ = ["GANPlotCallback"]


class GANPlotCallback(Callback):
    """Writes pictures of data and of what the generator makes, after epochs; and a plot of a Wasserstein GAN's cost.

    Arguments:
        filename: what the names of the files begin with.
        hw: height and width of an image.
        nchan: its channels.
        num_samples: images in a picture.
        sym_range: whether pixels are in [-1, 1]; else in [0, 1].
        padding: pixels between images.
        plot_width, plot_height: neon's; without effect, there too.
        dpi, font_size: of the plot.
        epoch_freq: after every so many epochs.
    """

    def __init__(
        self,
        filename: Any,
        hw: Any = 28,
        nchan: Any = 1,
        num_samples: Any = 16,
        sym_range: Any = False,
        padding: Any = 2,
        plot_width: Any = 1200,
        plot_height: Any = 600,
        dpi: Any = 60.0,
        font_size: Any = 10,
        epoch_freq: Any = 1,
    ):
        super().__init__(epoch_freq=epoch_freq)
        self.filename, self.hw, self.nchan, self.num_samples = filename, hw, nchan, num_samples
        self.sym_range, self.padding = sym_range, padding
        self.plot_width, self.plot_height, self.dpi, self.font_size = plot_width, plot_height, dpi, font_size

    def on_epoch_end(self, callback_data: Any, model: Any, epoch: int) -> None:
        """Write the pictures.

        Raises:
            ArgumentError: the images are not of that size, or there are fewer.
            NeonOptimError: what draws is not installed.
        """
        for kind, batch in (("data", model.data_batch), ("noise", model.noise_batch)):
            picture = self._picture(np.asarray(batch.get()))
            _image().fromarray(np.uint8(255 * picture)).convert("RGB").save(
                f"{self.filename}_{kind}_{epoch:03}.png"
            )
        if model.cost.costfunc.func == "wasserstein":
            self._plot(callback_data)

    def _picture(self, batch: np.ndarray) -> np.ndarray:
        """Images side by side, (height, width) or (height, width, channels)."""
        size, channels, count = self.hw, self.nchan, self.num_samples
        if batch.shape[0] != channels * size * size or batch.shape[1] < count:
            raise ArgumentError(
                f"GANPlotCallback: {count} images of {channels} × {size} × {size} are due, received {batch.shape}"
            )
        pixels = 1.0 - batch if channels == 1 else (batch + 1.0) / 2.0 if self.sym_range else batch
        images = pixels[:, :count].reshape(channels, size, size, count).transpose(3, 1, 2, 0)[..., ::-1]
        rows = math.ceil(math.sqrt(count))
        columns, step = math.ceil(count / rows), size + self.padding
        picture = np.ones((rows * step - self.padding, columns * step - self.padding, channels))
        for number, image in enumerate(images):
            top, left = number % rows * step, number // rows * step
            picture[top : top + size, left : left + size] = image
        return picture[..., 0] if channels == 1 else picture

    def _plot(self, callback_data: Any) -> None:
        """The estimated distance over the steps of the generator, and its running median."""
        pyplot, medfilt = _plotting()
        steps = callback_data["gan/gen_iter"][:]
        distance = -callback_data["gan/cost_dis"][:][steps > 0].astype(np.float64)
        figure, axes = pyplot.subplots(figsize=(400 / self.dpi, 300 / self.dpi), dpi=self.dpi)
        axes.plot(steps[steps > 0], distance, "k-", lw=0.25)
        axes.plot(
            steps[steps > 0],
            medfilt(distance, kernel_size=min(101, 2 * ((len(distance) + 1) // 2) - 1)),
            "r-",
            lw=2.0,
        )
        axes.set_title(self.filename, fontsize=self.font_size)
        axes.set_xlabel("Generator iterations", fontsize=self.font_size)
        axes.set_ylabel("Wasserstein estimate", fontsize=self.font_size)
        figure.savefig(f"{self.filename}_training.png", bbox_inches="tight")
        pyplot.close(figure)


def _image() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise NeonOptimError("GANPlotCallback needs Pillow: pip install pillow") from error
    return Image


def _plotting() -> tuple[Any, Any]:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
        from scipy.signal import medfilt
    except ImportError as error:
        raise NeonOptimError(
            "GANPlotCallback needs matplotlib and SciPy: pip install matplotlib scipy"
        ) from error
    return pyplot, medfilt
