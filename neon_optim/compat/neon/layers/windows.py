"""How layers of ours that go over images do those with a depth, too: their windows are given by neon's settings."""

from __future__ import annotations

from typing import Any

from neon_optim import model

__all__ = ["GivenWindows", "WindowedConvolution", "WindowedDeconvolution", "WindowedPooling"]


class GivenWindows:
    """Mixed into a layer of ours.

    Attributes:
        given: what ``be.unfold`` takes; None: as the layer finds it, for images (C, H, W).
    """

    given: Any = None

    def find_windows(self) -> dict[str, Any]:
        """The windows."""
        found: dict[str, Any] = self.given or super().find_windows()  # type: ignore[misc]
        return found


class WindowedConvolution(GivenWindows, model.Convolution):
    """A Convolution of images with as many axes as its windows have."""


class WindowedDeconvolution(GivenWindows, model.Deconvolution):
    """A Deconvolution of images with as many axes as its windows have."""


class WindowedPooling(GivenWindows, model.Pooling):
    """A Pooling of images with as many axes as its windows have."""
