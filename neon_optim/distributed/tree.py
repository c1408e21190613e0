"""The fixed binary tree in which the gradients of the parts of a minibatch are added, whoever has computed them.

A node is the range of parts below it, (first, end). The parts are the leaves; a node of several parts is the sum of its
halves, the left one first. So each sum has one order, and a process that holds several parts adds up for itself what
are nodes of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["Node", "fold", "halves", "nodes_within", "parent", "parts_of"]

Node = tuple[int, int]
T = TypeVar("T")


def halves(node: Node) -> tuple[Node, Node]:
    """What a node is the sum of.

    >>> halves((0, 5))
    ((0, 2), (2, 5))
    """
    first, end = node
    middle = first + (end - first) // 2
    return (first, middle), (middle, end)


def parent(node: Node, parts: int) -> Node | None:
    """The node that a node is a half of; None for the root, the sum of all parts."""
    above, below = None, (0, parts)
    while below != node:
        above = below
        left, right = halves(below)
        below = left if node[1] <= left[1] else right
    return above


def parts_of(process: int, processes: int, parts: int) -> range:
    """The parts that a process computes: ranges as equal as can be.

    >>> [list(parts_of(k, 3, 8)) for k in range(3)]
    [[0, 1], [2, 3, 4], [5, 6, 7]]
    """
    return range(process * parts // processes, (process + 1) * parts // processes)


def nodes_within(own: range, parts: int) -> list[Node]:
    """The largest nodes of the tree over so many parts that lie within a range of parts, in order.

    Where the number of processes is a power of two that divides the parts, each has one.

    >>> nodes_within(range(2, 5), 8), nodes_within(range(4, 8), 8)
    ([(2, 4), (4, 5)], [(4, 8)])
    """
    found: list[Node] = []
    open_nodes = [(0, parts)]
    while open_nodes:
        node = open_nodes.pop()
        first, end = max(node[0], own.start), min(node[1], own.stop)
        if (first, end) == node:
            found.append(node)
        elif first < end:
            open_nodes += reversed(halves(node))
    return found


def fold(node: Node, values: Mapping[Node, T], add: Callable[[Node, T, T], T]) -> T:
    """The value of a node, from those of nodes below it.

    Arguments:
        add: the value of a node from those of its halves.

    >>> fold((0, 3), {(0, 1): "a", (1, 2): "b", (2, 3): "c"}, lambda node, one, other: f"({one}+{other})")
    '(a+(b+c))'
    """
    if node in values:
        return values[node]
    left, right = (fold(half, values, add) for half in halves(node))
    return add(node, left, right)
