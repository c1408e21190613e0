"""What a YAML scalar stands for: the YAML 1.2 core schema, with everything ambiguous refused.

Differences from YAML 1.1, which neon's PyYAML reads: `1e-8` and `1e3` are numbers; `yes`, `no`, `on`, `off`,
`1_000`, `1:30` and dates are strings; `010` (8 there, 10 in YAML 1.2) is refused.
"""

from __future__ import annotations

import re
from typing import Any

_PREFIX = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TRUTH_OF_YAML_1_1 = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
_MOST_DIGITS = 400

ALLOWED_TAGS = ("!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq")


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar.

    Errors: ValueError, whose message says what is wrong with the text, for one that is no clear value.

    >>> [plain_scalar(text) for text in ("1e-8", "0x10", "yes", "true", "", "1.e3")]
    [1e-08, 16, 'yes', True, None, 1000.0]
    >>> plain_scalar("010")
    Traceback (most recent call last):
    ValueError: 010 is 8 in YAML 1.1 and 10 in YAML 1.2; write 10 or 0o10
    """
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first not in "+-.0123456789":
        return text
    if _DECIMAL.fullmatch(text):
        return _integer(text)
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if match := _INFINITY.fullmatch(text):
        return float(match.group(1) + "inf")
    return float("nan") if text in (".nan", ".NaN", ".NAN") else text


def tagged_scalar(tag: str, text: str) -> Any:
    """The value of a scalar with an explicit tag; ValueError for a tag that stands for no plain value."""
    kind = tag.removeprefix(_PREFIX)
    if kind == "str" or tag == "!":
        return text
    types: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "bool": (bool,),
        "null": (type(None),),
    }
    if tag.startswith(_PREFIX) and kind in types:
        value: Any = plain_scalar(text)
        if isinstance(value, types[kind]) and (kind == "bool" or not isinstance(value, bool)):
            return float(str(value)) if kind == "float" else value
        raise ValueError(f"'{text[:80]}' is no {kind}")
    raise ValueError(refused_tag(tag))


def refused_tag(tag: str) -> str:
    """The message for a tag that is not taken."""
    shown = f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag
    return f"the tag {shown[:80]} is refused: a config holds plain data ({', '.join(ALLOWED_TAGS)})"


def is_plain_tag(tag: str | None, kind: str) -> bool:
    """May a collection of this kind ('map', 'seq') have this tag?"""
    return tag in (None, "!", _PREFIX + kind)


def meant(text: str, quoted: bool) -> list[tuple[Any, str]]:
    """What a string may have been meant as by someone used to YAML 1.1, each with the advice to give."""
    found: list[tuple[Any, str]] = []
    if text.lower() in _TRUTH_OF_YAML_1_1:
        truth = _TRUTH_OF_YAML_1_1[text.lower()]
        found.append((truth, f"'{text}' is a string in YAML 1.2; write {str(truth).lower()}"))
    for candidate, advice in ((text, "remove the quotes"), (text.replace("_", ""), "write {}")):
        try:
            value = plain_scalar(candidate)
        except ValueError:
            continue
        if not isinstance(value, str) and (quoted or candidate != text):
            found.append((value, advice.format(candidate)))
    return found


def _integer(digits: str, base: int = 10) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is too long (at most {_MOST_DIGITS})")
    if base == 10 and _LEADING_ZERO.fullmatch(digits):
        value = int(digits)
        try:
            octal = str(int(digits, 8))
        except ValueError:
            octal = "no number"
        raise ValueError(
            f"{digits} is {octal} in YAML 1.1 and {value} in YAML 1.2; write {value} or {_octal(digits)}"
        )
    return int(digits, base)


def _octal(digits: str) -> str:
    return "0o" + digits.lstrip("+-0") if "-" not in digits else "quote it"


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is too large for a float; infinity is written .inf")
    mantissa = re.split("[eE]", text)[0]
    if value == 0 and mantissa.strip("+-.0"):
        raise ValueError(f"{text[:40]} is too small for a float")
    return value
