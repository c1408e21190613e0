"""What generated kernels call: memory access by address, claiming of tasks, and operations Numba does not have.

Importing this module imports Numba. Kernels address memory by number, so that one compiled function serves tensors of
any count. A load or store names the slot it belongs to: slots never overlap (a plan makes sure), and telling LLVM so is
what lets it vectorize a rule with many slots without checks at run time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from neon_optim.backends.cpu.compiled.formulas import (  # noqa: F401 (kernels call them as support's)
    exp2_float32,
    exp2_float64,
    exp_float32,
    exp_float64,
    log2_float32,
    log2_float64,
    log_float32,
    log_float64,
    power_float32,
    power_float64,
    tanh_float32,
    tanh_float64,
)
from neon_optim.backends.cpu.compiled.source import LANES_SCOPE, MOST_SCOPES, WORDS_SCOPE
from neon_optim.backends.philox import ROUNDING

_HALF_BITS = 16


def _alias_scopes(module: Any, slot: int) -> tuple[Any, Any]:
    domain = module.add_metadata(["neon_optim"])
    scopes = [module.add_metadata([f"slot {k}", domain]) for k in range(MOST_SCOPES)]
    others = [scope for k, scope in enumerate(scopes) if k != slot]
    return module.add_metadata([scopes[slot]]), module.add_metadata(others)


def _place(builder: Any, llvm_type: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, llvm_type.as_pointer()), [index])


def _mark(instruction: Any, module: Any, slot: int) -> Any:
    own, others = _alias_scopes(module, slot)
    instruction.set_metadata("alias.scope", own)
    instruction.set_metadata("noalias", others)
    return instruction


def _loader(stored: Any) -> Any:
    @intrinsic(prefer_literal=True)
    def load(typing_context: Any, address: Any, index: Any, slot: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = _place(builder, context.get_value_type(stored), args[0], args[1])
            return _mark(builder.load(place), builder.module, slot.literal_value)

        return stored(types.int64, types.int64, slot), generate

    return load


def _storer(stored: Any) -> Any:
    @intrinsic(prefer_literal=True)
    def store(typing_context: Any, address: Any, index: Any, slot: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = _place(builder, context.get_value_type(stored), args[0], args[1])
            _mark(builder.store(args[3], place), builder.module, slot.literal_value)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, slot, stored), generate

    return store


load_float32, store_float32 = _loader(types.float32), _storer(types.float32)
load_float64, store_float64 = _loader(types.float64), _storer(types.float64)
load_uint32, store_uint32 = _loader(types.uint32), _storer(types.uint32)
load_uint16, store_uint16 = _loader(types.uint16), _storer(types.uint16)
load_uint64, store_uint64 = _loader(types.uint64), _storer(types.uint64)
load_uint8, store_uint8 = _loader(types.uint8), _storer(types.uint8)
load_int8, store_int8 = _loader(types.int8), _storer(types.int8)
load_int16, store_int16 = _loader(types.int16), _storer(types.int16)
load_int32, store_int32 = _loader(types.int32), _storer(types.int32)
load_int64, store_int64 = _loader(types.int64), _storer(types.int64)
int8, int16, int32, int64 = types.int8, types.int16, types.int32, types.int64
uint8, uint16, uint32, uint64 = types.uint8, types.uint16, types.uint32, types.uint64


def _reader(stored: Any) -> Any:
    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_place(builder, context.get_value_type(stored), *args))

        return stored(types.int64, types.int64), generate

    return read


read_int64, read_float64 = _reader(types.int64), _reader(types.float64)


def _writer(stored: Any) -> Any:
    @intrinsic
    def write(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _place(builder, context.get_value_type(stored), args[0], args[1]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, stored), generate

    return write


write_int64, write_float64 = _writer(types.int64), _writer(types.float64)


@intrinsic
def _prefetch_line(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = ir.IntType(32)
        place = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        kinds = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kinds)
        to_be_read, into_all_caches, data = number(0), number(3), number(1)
        builder.call(function, [place, to_be_read, into_all_caches, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit
def prefetch(address):  # type: ignore[no-untyped-def]
    """Have the start of an array brought from memory: processors do that by themselves only once they see a pattern."""
    for line in range(4):
        _prefetch_line(address + 64 * line)


@intrinsic
def claim(typing_context: Any, counter: Any) -> Any:
    """The number at an address, which is one larger afterwards, as one indivisible operation."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), generate


# --- bits ---


@intrinsic
def bits_of(typing_context: Any, value: Any) -> Any:
    """The bits of a float as an unsigned integer of the same width."""
    integer = types.uint64 if value == types.float64 else types.uint32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(integer))

    return integer(value), generate


@intrinsic
def float_of(typing_context: Any, bits: Any) -> Any:
    """The float with these bits."""
    real = types.float64 if bits == types.uint64 else types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(real))

    return real(bits), generate


@intrinsic
def widen_float16(typing_context: Any, bits: Any) -> Any:
    """float32 from the bits of a float16, exactly."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def narrow_float16(typing_context: Any, value: Any) -> Any:
    """The bits of the float16 nearest to a float32, ties to even."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(_HALF_BITS))

    return types.uint16(types.float32), generate


@njit
def odd_float32(value):  # type: ignore[no-untyped-def]
    """A float64 as float32, rounded to odd: rounding that to 16 bits then gives what one rounding would."""
    near = types.float32(value)
    bits = bits_of(near)
    if abs(types.float64(near)) > abs(value):
        bits = types.uint32(bits - types.uint32(1))
    if types.float64(near) != value:
        bits = types.uint32(bits | types.uint32(1))
    return float_of(bits)


@njit
def widen_bfloat16(bits):  # type: ignore[no-untyped-def]
    """float32 from the bits of a bfloat16, exactly."""
    return float_of(types.uint32(types.uint32(bits) << types.uint32(16)))


@njit
def narrow_bfloat16(value):  # type: ignore[no-untyped-def]
    """The bits of the bfloat16 nearest to a float32, ties to even."""
    bits = bits_of(value)
    even = (bits >> types.uint32(16)) & types.uint32(1)
    rounded = types.uint32(bits + types.uint32(0x7FFF) + even)
    quiet = types.uint32(bits | types.uint32(0x400000))
    return types.uint16((rounded if value == value else quiet) >> types.uint32(16))


# --- operations ---


def _extremum(first_if: str, join_zeros: str) -> Any:
    """IEEE 754-2019 maximum or minimum: NaN if either is, and -0 below +0."""

    @intrinsic
    def extremum(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y = args
            integer = ir.IntType(a.bitwidth)
            bits = getattr(builder, join_zeros)(builder.bitcast(x, integer), builder.bitcast(y, integer))
            equal = builder.select(
                builder.fcmp_ordered("==", x, y), builder.bitcast(bits, x.type), builder.fadd(x, y)
            )
            second = builder.select(builder.fcmp_ordered(first_if, y, x), y, equal)
            return builder.select(builder.fcmp_ordered(first_if, x, y), x, second)

        return a(a, a), generate

    return extremum


maximum, minimum = _extremum(">", "and_"), _extremum("<", "or_")


@njit
def at_least(a, bound):  # type: ignore[no-untyped-def]
    """The maximum of a and a number that is neither zero nor NaN: one instruction."""
    return bound if bound > a else a


@njit
def at_most(a, bound):  # type: ignore[no-untyped-def]
    """The minimum of a and a number that is neither zero nor NaN: one instruction."""
    return bound if bound < a else a


@intrinsic
def sgn(typing_context: Any, a: Any) -> Any:
    """1, 0 or -1; NaN for NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,) = args
        zero, one, minus_one = (ir.Constant(x.type, number) for number in (0.0, 1.0, -1.0))
        at_zero = builder.select(builder.fcmp_ordered("==", x, zero), zero, x)
        below = builder.select(builder.fcmp_ordered("<", x, zero), minus_one, at_zero)
        return builder.select(builder.fcmp_ordered(">", x, zero), one, below)

    return a(a), generate


def _shifter(real: Any, unsigned: Any, mantissa_bits: int, smallest: float, root: int) -> Any:
    carry = unsigned((1 << mantissa_bits) - 1 - root)
    exponent = unsigned(((1 << (8 if mantissa_bits == 23 else 11)) - 1) << mantissa_bits)
    up, down, normal = real(2.0**64), real(2.0**-64), real(smallest)

    @njit
    def shift(a, b):  # type: ignore[no-untyped-def]
        """a times the power of two nearest to b, with b's sign."""
        size = abs(b)
        scaled = size * up if size < normal else size
        power = float_of(unsigned((bits_of(scaled) + carry) & exponent))  # the carry rounds the exponent up
        nearest = power * down if size < normal else power
        return a * sgn(b) * (nearest if (size > 0) & (size < real(np.inf)) else size)

    return shift


shift_float32 = _shifter(types.float32, types.uint32, 23, 2.0**-126, 0x3504F3)
shift_float64 = _shifter(types.float64, types.uint64, 52, 2.0**-1022, 0x6A09E667F3BCD)


# --- lanes of a sum, see cpu/sums.py ---


@njit
def lanes_used(n, lanes):  # type: ignore[no-untyped-def]
    """The smallest power of two that holds n lanes, at most all: the others are zero, and adding zero is nothing."""
    width = 1
    while width < n and width < lanes:
        width *= 2
    return width


@njit
def fill_lanes(lanes_at, width, start):  # type: ignore[no-untyped-def]
    """Set lanes to the value that a reduction starts with."""
    for lane in range(width):
        store_float64(lanes_at, lane, LANES_SCOPE, start)


def _joiner(join: Any) -> Any:
    @njit
    def of_lanes(lanes_at, width):  # type: ignore[no-untyped-def]
        while width > 1:
            width //= 2
            for lane in range(width):
                one = load_float64(lanes_at, lane, LANES_SCOPE)
                other = load_float64(lanes_at, lane + width, LANES_SCOPE)
                store_float64(lanes_at, lane, LANES_SCOPE, join(one, other))
        return load_float64(lanes_at, 0, LANES_SCOPE)

    return of_lanes


@njit
def _add(a, b):  # type: ignore[no-untyped-def]
    return a + b


sum_of_lanes, max_of_lanes, min_of_lanes = _joiner(_add), _joiner(maximum), _joiner(minimum)


# --- stochastic rounding, see cpu/stochastic.py ---


@njit
def fill_words(words_at, first, n, seed, stream, step):  # type: ignore[no-untyped-def]
    """The random words of n elements from ``first``, a multiple of 4, on."""
    word = types.uint64(0xFFFFFFFF)
    half = types.uint64(32)
    for block in range((n + 3) // 4):
        c0, c1 = types.uint64(first // 4 + block), types.uint64(stream) & word
        c2, c3 = types.uint64(step) & word, types.uint64(step) >> half
        k0, k1 = types.uint64(seed) & word, types.uint64(ROUNDING)
        for _ in range(10):
            product0, product1 = c0 * types.uint64(0xD2511F53), c2 * types.uint64(0xCD9E8D57)
            c0, c2 = (product1 >> half) ^ c1 ^ k0, (product0 >> half) ^ c3 ^ k1
            c1, c3 = product1 & word, product0 & word
            k0, k1 = (k0 + types.uint64(0x9E3779B9)) & word, (k1 + types.uint64(0xBB67AE85)) & word
        store_uint32(words_at, 4 * block, WORDS_SCOPE, types.uint32(c0))
        store_uint32(words_at, 4 * block + 1, WORDS_SCOPE, types.uint32(c1))
        store_uint32(words_at, 4 * block + 2, WORDS_SCOPE, types.uint32(c2))
        store_uint32(words_at, 4 * block + 3, WORDS_SCOPE, types.uint32(c3))


@njit
def drop_bits_float32(x, word, drop):  # type: ignore[no-untyped-def]
    """A float32 without its last bits, rounded up in size where the word is small enough."""
    excess = types.uint32(~word) >> types.uint32(32 - drop)
    mask = types.uint32(0xFFFFFFFF) << types.uint32(drop)
    return float_of(types.uint32((bits_of(x) + excess) & mask)) if abs(x) < types.float32(np.inf) else x


@njit
def drop_bits_float64(x, word, drop):  # type: ignore[no-untyped-def]
    """A float64 without its last bits, rounded up in size where the word is small enough."""
    excess = types.uint64(types.uint32(~word))
    excess = excess << types.uint64(drop - 32) if drop > 32 else excess >> types.uint64(32 - drop)
    mask = types.uint64(0xFFFFFFFFFFFFFFFF) << types.uint64(drop)
    return float_of(types.uint64((bits_of(x) + excess) & mask)) if abs(x) < types.float64(np.inf) else x


def _coarse_rounder(real: Any, drop_bits: Any) -> Any:
    @njit
    def round_coarsely(x, word, drop, smallest, quantum):  # type: ignore[no-untyped-def]
        """The same for a storage type with fewer exponents, whose smallest numbers are multiples of a quantum."""
        size = abs(x)
        multiple = (size if size < real(smallest) else real(0)) * real(1.0 / quantum)
        low = np.floor(multiple)
        up = types.uint64(word) < types.uint64((multiple - low) * real(2.0**32))
        small = (low + (real(1) if up else real(0))) * real(quantum)
        small = -small if x < 0 else small
        return small if (size < real(smallest)) & (x != 0) else drop_bits(x, word, drop)

    return round_coarsely


round_coarsely_float32 = _coarse_rounder(types.float32, drop_bits_float32)
round_coarsely_float64 = _coarse_rounder(types.float64, drop_bits_float64)
