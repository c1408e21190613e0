"""exp, exp2, log, log2, tanh and power: the one definition that engines share, within 1 ulp of the exact values.

The ways are the classical ones: exp and exp2 take the nearest integer power of two out of their argument, log and log2
the exponent, and a polynomial does the rest; where one rounding would cost too much, a value is kept in two parts.
tanh is a polynomial below sqrt(1/2), from there on 1 - 2 / (exp(2x) + 1).

The polynomials are least in their largest error over the range (Lawson's iteration on Chebyshev points in 40 digits,
weighted so that the error is relative to the function); their coefficients were rounded to the type one by one, from
the lowest order on, the others fitted again each time. Their errors are below 2**-27 of the result for float32, 2**-56
for float64.

Special cases are those of C: infinities and zeros have the limits, a subnormal result is rounded once, log of a
negative number is NaN, power(1, y) and power(x, 0) are 1 even for NaN.
"""

from __future__ import annotations

import math
from functools import cache

from neon_optim.backends.formula import Formula, Recorded, formula, select

__all__ = ["ELEMENTARY", "elementary"]


class _Type:
    """What the formulas know of a float type.

    Attributes:
        mantissa, bias: bits after the leading one; what is added to exponents.
        one: the bits of 1.
        root: the bits of the float below sqrt(1/2), where mantissas are cut off.
        sign: the bit of the sign.
        to_integer: 1.5 * 2**mantissa: adding it rounds to an integer, which is then in the lowest bits of the sum.
        integer: 2**mantissa; its bits with an integer below it added are that sum.
        integer_bits: the bits of ``integer``.
        smallest: the smallest normal number.
        ln2: log(2) as a number that is short enough for exact products with exponents, and what it lacks.
    """

    def __init__(self, mantissa: int, bias: int, root: int, ln2: tuple[float, float]):
        self.mantissa, self.bias, self.root, self.ln2 = mantissa, bias, root, ln2
        self.one = bias << mantissa
        self.sign = 1 << (mantissa + bias.bit_length() + 1)
        self.to_integer = 1.5 * 2.0**mantissa
        self.integer = 2.0**mantissa
        self.integer_bits = (bias + mantissa) << mantissa
        self.smallest = 2.0 ** (1 - bias)


_TYPES = {
    "float32": _Type(23, 127, 0x3F3504F3, (0.693145751953125, 1.428606765330187e-06)),
    "float64": _Type(52, 1023, 0x3FE6A09E667F3BCD, (0.693147180559663, 2.8235290563031577e-13)),
}


def _polynomial(x: Recorded, coefficients: tuple[float, ...]) -> Recorded:
    """The lowest order first."""
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        value = value * x + coefficient
    return value


def _times_power_of_two(y: Recorded, shifted: Recorded) -> Recorded:
    """y * 2**k, rounded once; k + to_integer is given. Two factors, since 2**k itself may be no float."""
    t = _TYPES[y.kind]
    k = shifted.bits()
    half = k >> 1
    one = ((half << t.mantissa) + t.one).real()
    other = (((k - half) << t.mantissa) + t.one).real()
    return y * one * other


def _upper_half(x: Recorded, one_bit_less: bool = False) -> Recorded:
    """A float without the lower half of its mantissa: its product with another one of half the bits is exact."""
    t = _TYPES[x.kind]
    return (x.bits() & (2 * t.sign - (1 << (t.mantissa + 1) // 2 + one_bit_less))).real()


def _times_split(high: Recorded, low: Recorded, factor: tuple[float, float]) -> tuple[Recorded, Recorded]:
    """A product of numbers in two parts each, as an exact part and what it lacks."""
    return high * factor[0], low * factor[0] + (high + low) * factor[1]


# --- exp ---

_EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}
"""Beyond it exp rounds to zero or overflows."""

_EXP = {
    "float32": (0.49999994, 0.16666521, 0.0416682, 0.008368673, 0.0013827777),
    "float64": (
        0.5,
        0.16666666666666435,
        0.04166666666660394,
        0.008333333333499178,
        0.0013888888926803127,
        0.0001984126946749172,
        2.4801508677530228e-05,
        2.755763935267335e-06,
        2.762518943658347e-07,
        2.497921963900459e-08,
    ),
}
"""(exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2."""


def _exp(x: Recorded) -> Recorded:
    r, rest, shifted = _exp_parts(x.between(*_EXP_RANGE[x.kind]))
    return _times_power_of_two(r + rest + 1.0, shifted)


def _exp_parts(x: Recorded) -> tuple[Recorded, Recorded, Recorded]:
    """r, y and k + to_integer where exp(x) = 2**k * (1 + (r + y)) and y is small."""
    t = _TYPES[x.kind]
    shifted = x * math.log2(math.e) + t.to_integer
    k = shifted - t.to_integer
    high, low = x - k * t.ln2[0], k * t.ln2[1]
    r = high - low
    return r, r * r * _polynomial(r, _EXP[x.kind]) + ((high - r) - low), shifted


# --- exp2 ---

_EXP2_RANGE = {"float32": (-151.0, 129.0), "float64": (-1076.0, 1025.0)}

_EXP2 = {
    "float32": (0.24022648, 0.055503625, 0.009618496, 0.0013390037, 0.00015331856),
    "float64": (
        0.24022650695910122,
        0.05550410866482073,
        0.009618129107597032,
        0.0013333558146687394,
        0.00015403530453979915,
        1.52527335451549e-05,
        1.3215436664039313e-06,
        1.0178185614057433e-07,
        7.073568343990274e-09,
        4.4361626664427285e-10,
    ),
}
"""((2**r - 1) / r - log(2)) / r for |r| <= 1/2."""

_LN2 = {
    "float32": (0.693115234375, 3.194618329871446e-05),
    "float64": (0.6931471824645996, -1.904654299957768e-09),
}
"""log(2) in half the bits of a mantissa, and what it lacks."""


def _exp2(x: Recorded) -> Recorded:
    t = _TYPES[x.kind]
    x = x.between(*_EXP2_RANGE[x.kind])
    shifted = x + t.to_integer
    r = x - (shifted - t.to_integer)
    high = _upper_half(r)
    exact, more = _times_split(high, r - high, _LN2[x.kind])
    return _times_power_of_two(exact + (more + r * r * _polynomial(r, _EXP2[x.kind])) + 1.0, shifted)


# --- log, log2 ---

_LOG = (
    0.33333313,
    -0.2500001,
    0.20002069,
    -0.16667973,
    0.14220434,
    -0.1240666,
    0.118833154,
    -0.11667406,
    0.06746803,
)
"""float32: (log(1 + f) - f + f**2 / 2) / f**3 for sqrt(1/2) <= 1 + f <= sqrt(2)."""

_LOG_WIDE = (
    0.6666666666666734,
    0.39999999999417124,
    0.2857142874185973,
    0.22222198623743142,
    0.18183561972783485,
    0.15314101731065707,
    0.14795545088592613,
)
"""float64: (log(1 + f) / s - 2) / s**2 as a polynomial in s**2, where s = f / (2 + f)."""

_LOG2_E = {
    "float32": (1.44287109375, -0.00017605285393074155),
    "float64": (1.4426950514316559, -1.0542692476429138e-08),
}
"""log2(e) in half the bits of a mantissa, and what it lacks."""


def _exponent_and_fraction(x: Recorded) -> tuple[Recorded, Recorded]:
    """k and f where x = 2**k * (1 + f) for a positive number."""
    t = _TYPES[x.kind]
    small = x < t.smallest
    bits = select(small, x * t.integer, x).bits() + (t.one - t.root)
    k = ((bits >> t.mantissa) + t.integer_bits).real() - select(
        small, x.constant(t.integer + t.bias + t.mantissa, x.kind), t.integer + t.bias
    )
    return k, ((bits & ((1 << t.mantissa) - 1)) + t.root).real() - 1.0


def _log_cases(x: Recorded, value: Recorded) -> Recorded:
    """The value, or what log is at zero, at infinity, at NaN and below zero."""
    value = select(x < math.inf, value, x)
    value = select(x < 0.0, math.nan, value)
    return select(x.equals(0.0), -math.inf, value)


def _log_of_fraction(f: Recorded) -> Recorded:
    """log(1 + f) - f."""
    square = f * f
    if f.kind == "float32":
        return square * f * _polynomial(f, _LOG) - square * 0.5
    s = f / (f + 2.0)
    z = s * s
    return s * (square * 0.5 + z * _polynomial(z, _LOG_WIDE)) - square * 0.5


def _log(x: Recorded) -> Recorded:
    high, low = _TYPES[x.kind].ln2
    k, f = _exponent_and_fraction(x)
    return _log_cases(x, k * high + (f + (_log_of_fraction(f) + k * low)))


def _log2_of_number(x: Recorded) -> Recorded:
    """log2 of a positive number other than infinity."""
    k, f = _exponent_and_fraction(x)
    rest = _log_of_fraction(f)
    high = _upper_half(f + rest)
    exact, more = _times_split(high, (f - high) + rest, _LOG2_E[x.kind])
    total = k + exact
    return total + (((k - total) + exact) + more)


def _log2(x: Recorded) -> Recorded:
    return _log_cases(x, _log2_of_number(x))


# --- tanh ---

_TANH = {
    "float32": (-0.33333322, 0.13332914, -0.053913973, 0.021540679, -0.007823632, 0.0018523043),
    "float64": (
        -0.33333333333333026,
        0.13333333333291278,
        -0.05396825394812939,
        0.021869488051973675,
        -0.008863228681588306,
        0.0035920661017540176,
        -0.0014554585872104209,
        0.0005884572193542231,
        -0.00023456701922033166,
        8.774256979291569e-05,
        -2.6758963104785526e-05,
        4.691630760366178e-06,
    ),
}
"""(tanh(x) / x - 1) / x**2 as a polynomial in x**2, for x**2 <= 1/2."""

_TANH_IS_ONE = {"float32": 10.0, "float64": 20.0}


def _tanh(x: Recorded) -> Recorded:
    size = abs(x)
    z = size * size
    small = size + size * z * _polynomial(z, _TANH[x.kind])
    value = select(z < 0.5, small, _tanh_by_exp(size.at_most(_TANH_IS_ONE[x.kind])))
    return (value.bits() | (x.bits() & _TYPES[x.kind].sign)).real()


def _tanh_by_exp(x: Recorded) -> Recorded:
    """1 - 2 / (exp(2x) + 1) for x from 0 on; what each step rounds off is added in the end."""
    t = _TYPES[x.kind]
    r, rest, shifted = _exp_parts(x * 2.0)
    power = ((shifted.bits() << t.mantissa) + t.one).real()
    less_one = r + rest
    whole = less_one + 1.0
    exp = whole * power
    below = exp + 1.0
    lost = (exp - below) + 1.0 + ((1.0 - whole) + less_one) * power
    quotient = 2.0 / below
    value = 1.0 - quotient
    return value + (((1.0 - value) - quotient) + quotient * quotient * 0.5 * lost)


# --- power ---


_POWER = (
    0.4285714285714976,
    0.33333333330011955,
    0.27272727909113686,
    0.2307685927826047,
    0.2000364749484584,
    0.17527504127527924,
    0.17866953514687278,
)
"""((3 atanh(s) / s - 3 - z) / z**2 - 3/5) / z as a polynomial in z = s**2, where s = f / (2 + f) as for log."""

_THREE_FIFTHS = (0.5999999940395355, 5.960464477539063e-09)
"""In half the bits of a mantissa, and what it lacks."""

_TWO_THIRDS = (0.9617966860532761, 7.872699542894897e-09)
"""2 / (3 log(2)) in half the bits of a mantissa, and what it lacks."""


def _power(x: Recorded, y: Recorded) -> Recorded:
    """float32, by way of float64."""
    base, exponent = x.widen(), y.widen()
    return _power_cases(base, exponent, _exp2(exponent * _log2(abs(base)))).narrow()


def _power_wide(x: Recorded, y: Recorded) -> Recorded:
    """float64: the logarithm, and its product with y, are numbers in two parts."""
    log_high, log_low = _log2_in_parts(abs(x))
    y_bounded = y.between(-(2.0**70), 2.0**70)  # beyond it powers are 0, 1 or infinite
    y_high = _upper_half(y_bounded)
    high = y_high * log_high
    low = (y_bounded - y_high) * log_high + y_bounded * log_low
    whole = high + low
    value = _exp2_of_parts(whole, select(abs(whole) < 2000.0, (high - whole) + low, 0.0))
    limit = (abs(x).equals(0.0) & (y < 0.0)) | (abs(x).equals(math.inf) & (y > 0.0))
    extreme = abs(x).equals(0.0) | abs(x).equals(math.inf)
    value = select(extreme, select(limit, x.constant(math.inf, x.kind), 0.0), value)
    return _power_cases(x, y, select(x.equals(x) & y.equals(y), value, math.nan))


def _power_cases(x: Recorded, y: Recorded, value: Recorded) -> Recorded:
    """x**y, where ``value`` is that of the size of x and usual numbers. The square is a product, its ties too."""
    value = select(abs(x).equals(1.0) & y.equals(y), 1.0, value)
    value = select(y.equals(2.0), x * x, value)
    half = y * 0.5
    whole = y.rint().equals(y)
    odd = whole & ~half.rint().equals(half)
    value = (value.bits() | select(odd, x.bits() & _TYPES[x.kind].sign, 0)).real()
    value = select((x < 0.0) & (x > -math.inf) & ~whole, math.nan, value)
    return select(x.equals(1.0) | y.equals(0.0), 1.0, value)


def _log2_in_parts(x: Recorded) -> tuple[Recorded, Recorded]:
    """log2 of a positive float64 other than infinity, to some 64 bits; the first part has half of a mantissa's.

    log(1 + f) = 2/3 s (3 + z + 3/5 z**2 + z**3 Q(z)), where z = s**2; all but the last term are in two parts.
    """
    k, f = _exponent_and_fraction(x)
    d = f + 2.0
    s = f / d
    s_high, d_high = _upper_half(s, one_bit_less=True), _upper_half(d)
    s_low = ((f - s_high * d_high) - s_high * (f - (d_high - 2.0))) / d
    z, z_high, z_low = s * s, s_high * s_high, s_low * (s_high + s)
    z_upper = _upper_half(z_high, one_bit_less=True)
    square = z_upper * z_upper
    square_low = (z_high + z_upper) * (z_high - z_upper) + (z_high * 2.0 + z_low) * z_low
    square_upper = _upper_half(square)
    fifths, fifths_low = _times_split(square_upper, (square - square_upper) + square_low, _THREE_FIFTHS)
    t_rest = z_low + (fifths_low + z * z * z * _polynomial(z, _POWER))
    t_high = _upper_half(z_high + 3.0 + (fifths + t_rest))
    t_low = t_rest - (((t_high - 3.0) - z_high) - fifths)
    u, v = s_high * t_high, s_low * t_high + t_low * s
    p_high = _upper_half(u + v)
    exact, more = _times_split(p_high, v - (p_high - u), _TWO_THIRDS)
    high = _upper_half(k + (exact + more), one_bit_less=True)
    return high, more - ((high - k) - exact)


def _exp2_of_parts(x: Recorded, low: Recorded) -> Recorded:
    """2**(x + low), where low is below the last bit of x."""
    t = _TYPES[x.kind]
    x = x.between(*_EXP2_RANGE[x.kind])
    shifted = x + t.to_integer
    rest = x - (shifted - t.to_integer)
    r = rest + low
    high = _upper_half(r)
    exact, more = _times_split(high, (r - high) + ((rest - r) + low), _LN2[x.kind])
    return _times_power_of_two(exact + (more + r * r * _polynomial(r, _EXP2[x.kind])) + 1.0, shifted)


ELEMENTARY = ("exp", "exp2", "log", "log2", "tanh", "power")
"""The operations that are defined here."""

_DEFINITIONS = {"exp": _exp, "exp2": _exp2, "log": _log, "log2": _log2, "tanh": _tanh}


@cache
def elementary(op: str, real: str) -> Formula | None:
    """The formula of an operation in 'float32' or 'float64'; None for one that has none."""
    if op == "power":
        return formula(f"power_{real}", _power if real == "float32" else _power_wide, real, real)
    return formula(f"{op}_{real}", _DEFINITIONS[op], real) if op in _DEFINITIONS else None
