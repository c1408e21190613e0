"""Names that people gave to numbers, as C++ identifiers."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["identifiers"]

_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await
co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do
double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace
new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires return
short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef
typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
""".split()
_MACROS = "linux unix assert".split()  # of the compiler and its headers; those in capitals are told by that


def identifiers(names: Sequence[str], source: str) -> list[str]:
    """An identifier for each name, which no other name and nothing in the source has.

    >>> identifiers(["beta_1", "for", "x0", "1 - β"], "float x0;")
    ['beta_1', 'for_', 'x0_', 'n1____']
    """
    taken = {*_KEYWORDS, *_MACROS, *re.findall(r"[A-Za-z_]\w*", source)}
    found = []
    for name in names:
        word = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not word[:1].isalpha():
            word = f"n{word}"
        while word in taken or word.isupper():
            word += "_" if word in taken and not word.isupper() else "_n"
        taken.add(word)
        found.append(word)
    return found
