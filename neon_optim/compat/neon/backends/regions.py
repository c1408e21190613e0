"""Regions of images: poolings of them, and which of several that overlap are kept. Worked out by the host."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from neon_optim.errors import BackendError

__all__ = ["Regions"]


class Regions:
    """Operations on regions of images, run at once; mixed into a backend.

    References:
        Girshick, Fast R-CNN, 2015; neon/backends/nervanacpu.py.
    """

    bsz: int

    def roipooling_fprop(
        self,
        I: Any,  # noqa: E741 (neon's name)
        rois: Any,
        O: Any,  # noqa: E741 (neon's name)
        argmax: Any,
        roi_count: int,
        C: int,
        H: int,
        W: int,
        pooled_height: int,
        pooled_width: int,
        spatial_scale: float,
    ) -> None:
        """The largest element of each cell of a grid over each region, for each channel.

        Arguments:
            I: images, (C, H, W, bsz) elements.
            rois: a region a row: the number of its image, its left, top, right and bottom ends in the coordinates of
                larger images.
            O: a tensor for the results, (C, pooled_height, pooled_width, roi_count) elements; 0 where a cell is empty.
            argmax: a tensor for the places of the largest elements, row · W + column; -1 where a cell is empty.
            roi_count, C, H, W, pooled_height, pooled_width: the sizes.
            spatial_scale: what coordinates are multiplied by to be those of I.

        Raises:
            BackendError: a tensor has another size.
        """
        pooled = (C, pooled_height, pooled_width, roi_count)
        _check_sizes(I, (C, H, W, self.bsz), O, pooled, argmax, pooled, rois, roi_count)
        images = I.get().reshape(C, H, W, self.bsz)
        values = np.zeros(pooled, images.dtype)
        places = np.full(pooled, -1, np.int64)
        for number, image, rows, columns in _cells(rois.get(), pooled, (H, W), spatial_scale):
            for row, (top, bottom) in enumerate(rows):
                for column, (left, right) in enumerate(columns):
                    if bottom <= top or right <= left:
                        continue
                    cell = images[:, top:bottom, left:right, image].reshape(C, -1)
                    at = cell.argmax(axis=1)
                    values[:, row, column, number] = cell[np.arange(C), at]
                    down, across = np.divmod(at, right - left)
                    places[:, row, column, number] = (down + top) * W + across + left
        O.set(values.reshape(O.shape))
        argmax.set(places.reshape(argmax.shape))

    def roipooling_bprop(
        self,
        I: Any,  # noqa: E741 (neon's name)
        rois: Any,
        O: Any,  # noqa: E741 (neon's name)
        argmax: Any,
        roi_count: int,
        C: int,
        H: int,
        W: int,
        pooled_height: int,
        pooled_width: int,
        spatial_scale: float,
    ) -> None:
        """The derivatives of :meth:`roipooling_fprop`: each error goes to the element that was the largest.

        Arguments:
            I: the errors, (C, pooled_height, pooled_width, roi_count) elements.
            O: a tensor for the derivatives by the images, (C, H, W, bsz) elements.
            argmax: as the forward pass left it.
        """
        pooled = (C, pooled_height, pooled_width, roi_count)
        _check_sizes(O, (C, H, W, self.bsz), I, pooled, argmax, pooled, rois, roi_count)
        errors = I.get().reshape(C, -1, roi_count)
        places = argmax.get().reshape(C, -1, roi_count).astype(np.int64)
        deltas = np.zeros((C, H * W, self.bsz), errors.dtype)
        images = np.broadcast_to(rois.get()[:, 0].astype(np.int64), places.shape)
        channels = np.broadcast_to(np.arange(C)[:, None, None], places.shape)
        hit = places >= 0
        np.add.at(deltas, (channels[hit], places[hit], images[hit]), errors[hit])
        O.set(deltas.reshape(O.shape))

    def nms(self, detections: Any, threshold: float, normalized: bool = False) -> list[int]:
        """The boxes that are kept when those that overlap a better one by more than a threshold are dropped.

        Arguments:
            detections: a box a row: its left, top, right and bottom ends, and its score; a box of score 0 is none.
            threshold: of the intersection over the union.
            normalized: ends are parts of the image's size; else they are pixels, both of which belong to the box.

        Returns:
            The numbers of the boxes, best first; boxes of score 0 are not counted.
        """
        boxes = detections.get()
        boxes = boxes[boxes[:, 4] != 0]
        left, top, right, bottom, scores = boxes.T
        one = 0 if normalized else 1
        areas = (right - left + one) * (bottom - top + one)
        waiting = np.argsort(-scores, kind="stable")
        kept = []
        while waiting.size:
            best, waiting = waiting[0], waiting[1:]
            kept.append(int(best))
            width = np.minimum(right[best], right[waiting]) - np.maximum(left[best], left[waiting]) + one
            height = np.minimum(bottom[best], bottom[waiting]) - np.maximum(top[best], top[waiting]) + one
            common = np.maximum(0.0, width) * np.maximum(0.0, height)
            waiting = waiting[common / (areas[best] + areas[waiting] - common) <= threshold]
        return kept


def _check_sizes(
    images: Any,
    image_shape: Any,
    pooled: Any,
    pooled_shape: Any,
    argmax: Any,
    argmax_shape: Any,
    rois: Any,
    count: int,
) -> None:
    for what, tensor, shape in (
        ("images", images, image_shape),
        ("pooled", pooled, pooled_shape),
        ("argmax", argmax, argmax_shape),
        ("rois", rois, (count, 5)),
    ):
        if tensor.size != math.prod(shape):
            raise BackendError(f"roipooling: {what} need the shape {shape}, received {tensor.shape}")


def _cells(
    rois: np.ndarray, pooled: tuple[int, ...], size: tuple[int, int], scale: float
) -> Iterator[tuple[int, int, list[tuple[int, int]], list[tuple[int, int]]]]:
    """For each region its number, that of its image, and where the rows and columns of its cells begin and end."""
    for number, (image, *ends) in enumerate(rois):
        left, top, right, bottom = (round(float(end) * scale) for end in ends)
        yield (
            number,
            int(image),
            _intervals(top, bottom, pooled[1], size[0]),
            _intervals(left, right, pooled[2], size[1]),
        )


def _intervals(first: int, last: int, count: int, size: int) -> list[tuple[int, int]]:
    """Where cells along one axis begin and end, within the image."""
    step = max(last - first + 1, 1) / count

    def inside(place: int) -> int:
        return min(max(first + place, 0), size)

    return [(inside(math.floor(k * step)), inside(math.ceil((k + 1) * step))) for k in range(count)]
