"""Parameter shapes that the benchmarks run on."""

from __future__ import annotations

__all__ = ["SHAPES"]

Shape = tuple[int, ...]


def _resnet50() -> list[Shape]:
    """He et al. 2015; 161 tensors, 25,557,032 elements."""
    shapes: list[Shape] = [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            for shape in ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)):
                shapes += [shape, (shape[0],), (shape[0],)]
            if block == 0:
                shapes += [(4 * width, inputs, 1, 1), (4 * width,), (4 * width,)]
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def _gpt2_small() -> list[Shape]:
    """Radford et al. 2019; 148 tensors, 124,439,808 elements."""
    shapes: list[Shape] = [(50257, 768), (1024, 768)]
    for _ in range(12):
        shapes += [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,)]
        shapes += [(768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]
    return [*shapes, (768,), (768,)]


SHAPES: dict[str, list[Shape]] = {
    "1 of 16M": [(16_000_000,)],
    "8 of 4M": [(4_000_000,)] * 8,
    "2,000 of 1,024": [(1024,)] * 2000,
    "5,000 of 64": [(64,)] * 5000,
    "ResNet-50": _resnet50(),
    "GPT-2 small": _gpt2_small(),
}
