"""Docstrings: their sections, and what they say of each argument."""

from __future__ import annotations

import inspect
import re
import textwrap

__all__ = ["argument_docs", "argument_texts", "plain_text", "sections"]


def sections(doc: str) -> dict[str, str]:
    """The text before, and the parts named ``Arguments:``, ``References:``, ...; examples under ``>>>``."""
    parts: dict[str, list[str]] = {"": []}
    here = parts[""]
    for line in inspect.cleandoc(doc).splitlines():
        heading = re.fullmatch(r"([A-Z][A-Za-z]+):", line)
        if heading:
            here = parts.setdefault(heading[1], [])
        elif line.startswith(">>> ") and here is not parts.get(">>>"):
            here = parts.setdefault(">>>", [])
            here.append(line)
        elif line and not line.startswith(" ") and here not in (parts[""], parts.get(">>>")):
            here = parts[""]
            here.append(line)
        else:
            here.append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in parts.items()}


def argument_texts(text: str) -> dict[str, str]:
    """From ``name: what it is``, with lines that go on further in; ``a, b: both`` counts for each."""
    found: dict[str, str] = {}
    for item in re.split(r"\n(?=\w)", textwrap.dedent(text)):
        names, _, meaning = item.strip().partition(":")
        for name in names.split(","):
            found[name.strip()] = " ".join(meaning.split())
    return found


def argument_docs(cls: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each argument."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if "__doc__" in vars(base) and base.__doc__:
            found |= argument_texts(sections(base.__doc__).get("Arguments", ""))
    return found


def plain_text(text: str) -> str:
    """reStructuredText as the docstrings use it, on one line and without its marks.

    >>> plain_text("How :class:`~neon_optim.optimizers.Adam` takes ``beta_1``.")
    'How Adam takes beta_1.'
    """
    text = re.sub(r":[a-z]+:`~?([^`]+)`", lambda match: match[1].rpartition(".")[2] or match[1], text)
    return " ".join(text.replace("``", "").split())
