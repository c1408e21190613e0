"""The table from opcode to translator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..parser import Instruction

if TYPE_CHECKING:
    from ..function import FunctionTranslator

Translator = Callable[["FunctionTranslator", Instruction], str]
TRANSLATORS: dict[str, Translator] = {}


def instruction(*opcodes: str) -> Callable[[Translator], Translator]:
    """Registers the decorated function for ``opcodes``. It returns C statements."""

    def register(translator: Translator) -> Translator:
        for opcode in opcodes:
            TRANSLATORS[opcode] = translator
        return translator

    return register
