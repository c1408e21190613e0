"""Patterns that say which parameters are meant: globs (``conv*``) and regular expressions (``/conv[0-9]+/``)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache

from neon_optim.described.arguments import refuse
from neon_optim.stepping.parameters import NamedParameter

__all__ = ["check_patterns", "is_pattern", "matches"]


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern rather than a name: it holds one of ``*?[``, or stands between slashes.

    >>> is_pattern("conv*"), is_pattern("/conv[0-9]+/"), is_pattern("conv1/W")
    (True, True, False)
    """
    return _is_regex(text) or any(character in text for character in "*?[")


def matches(pattern: str, parameter: NamedParameter) -> bool:
    """Whether a pattern (or a plain name) fits the layer's name, its class name or ``layer/name``, in full.

    >>> weight = NamedParameter("conv1", "Convolution", "W", ((None, None), []))
    >>> [matches(p, weight) for p in ("conv*", "*/W", "/conv[0-9]+/", "Convolution", "conv", "Conv*/W")]
    [True, True, True, True, False, False]
    """
    names = (parameter.layer, parameter.layer_class, parameter.path)
    return _matches(pattern, names)


@lru_cache(maxsize=65_536)
def _matches(pattern: str, names: tuple[str | None, ...]) -> bool:
    compiled = _compiled(pattern)
    return any(name is not None and compiled.fullmatch(name) is not None for name in names)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern[1:-1] if _is_regex(pattern) else fnmatch.translate(pattern))


def _is_regex(text: str) -> bool:
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def check_patterns(owner: str, argument: str, patterns: Iterable[str]) -> None:
    """Raise an ArgumentError for a regular expression that is none."""
    for pattern in patterns:
        try:
            _compiled(pattern)
        except re.error as error:
            refuse(owner, argument, pattern, f"must hold regular expressions between slashes ({error})")
