"""The names of :mod:`neon_optim.described.arguments` that programs import from here: what annotations may say."""

from neon_optim.described.arguments import (
    AnySchedule,
    Flag,
    Fraction,
    Name,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Real,
    RoundBits,
    Scheduled,
)

__all__ = [
    "AnySchedule",
    "Flag",
    "Fraction",
    "Name",
    "NonNegative",
    "NonNegativeInt",
    "Positive",
    "PositiveInt",
    "Real",
    "RoundBits",
    "Scheduled",
]
