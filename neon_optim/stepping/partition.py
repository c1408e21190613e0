"""Which parameters belong together, kept from step to step while the parameters stay the same."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from neon_optim.stepping.parameters import NamedParameter, Parameter, get_param_list, named_parameters

__all__ = ["Groups", "partition"]


class Groups(NamedTuple):
    """The parameters of a step by group.

    Attributes:
        rows: the tuples of this step.
        names: their names, of the step when they were grouped; the tuples in there are old ones.
        members: for each group, in order of its first member, the indices of its parameters.
    """

    rows: list[Parameter]
    names: list[NamedParameter]
    members: dict[Any, list[int]]


_kept: weakref.WeakKeyDictionary[Any, tuple[list[Any], Any, Groups]] = weakref.WeakKeyDictionary()


def partition(
    owner: Any, layer_list: Any, choose: Callable[[NamedParameter], Hashable], rules: object
) -> Groups:
    """The groups of parameters that ``choose`` gives one value for.

    Arguments:
        owner: for whom the result is kept.
        choose: asked again where a parameter is another array than in the step before, or the rules are others.
        rules: what ``choose`` goes by, to compare.
    """
    rows = get_param_list(layer_list)
    params = [row[0][0] for row in rows]
    known = _kept.get(owner)
    if known is not None:
        old, old_rules, groups = known
        if len(old) == len(params) and all(map(operator.is_, old, params)) and old_rules == rules:
            return groups._replace(rows=rows)
    names = named_parameters(layer_list)
    members: dict[Any, list[int]] = {}
    for index, parameter in enumerate(names):
        members.setdefault(choose(parameter), []).append(index)
    groups = Groups(rows, list(names), members)
    _kept[owner] = (params, rules, groups)
    return groups
