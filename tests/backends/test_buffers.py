"""Memory of graphs: values that are alive at the same time never share it; each lies where first fit puts it."""

from __future__ import annotations

import random

import pytest

from neon_optim.backends.buffers import _Placed


def first_fit(pieces):
    """Places of (first step, last step, size), each as far ahead as those before it let it."""
    places = []
    for first, last, size in pieces:
        others = zip(places, pieces, strict=False)
        taken = sorted((place, place + n) for place, (a, b, n) in others if a <= last and first <= b)
        place = 0
        for begin, end in taken:
            if begin - place >= size:
                break
            place = max(place, end)
        places.append(place)
    return places


@pytest.mark.parametrize("seed", range(20))
def test_places_are_those_of_first_fit(seed):
    drawn = random.Random(seed)
    pieces = []
    for _ in range(drawn.randrange(1, 60)):
        first = drawn.randrange(40)
        pieces.append((first, first + drawn.randrange(12), 64 * drawn.randrange(1, 6)))
    placed = _Placed(len(pieces))
    places = [placed.put(*piece) for piece in pieces]
    assert places == first_fit(pieces)
    for k, (first, last, size) in enumerate(pieces):
        for other, (a, b, n) in enumerate(pieces[:k]):
            apart = places[k] + size <= places[other] or places[other] + n <= places[k]
            assert apart or last < a or b < first
