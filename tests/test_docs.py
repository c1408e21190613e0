"""Pages made from docstrings are up to date, and nothing public is undocumented."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from neon_optim import cleanup_backend
from neon_optim.described import registry
from neon_optim.described.build import from_description
from neon_optim.optimizers import Optimizer
from neon_optim.serialization import load_config

DOCS = Path(__file__).parents[1] / "docs"


BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {
    str(path.relative_to(DOCS.parent)): blocks
    for path in (DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md")))
    if path.name != "architecture.md"  # shows generated code
    and (blocks := BLOCK.findall(path.read_text(encoding="utf-8")))
}


@pytest.mark.parametrize("page", PAGES)
def test_every_example_runs_as_it_stands(page, tmp_path, monkeypatch):
    """The blocks of a page in order, with nothing but what they define, in an empty folder."""
    if any("import torch" in block for block in PAGES[page]):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    registry.available()  # all of ours are known by now
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    cleanup_backend()
    names = {"__name__": "__main__"}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for block in PAGES[page]:
        if not block.startswith(">>>"):
            exec(compile(block, page, "exec"), names)  # noqa: S102
            continue
        test = doctest.DocTestParser().get_doctest(block, {}, page, page, 0)
        test.globs = names
        assert doctest.DocTestRunner(optionflags=flags).run(test, clear_globs=False).failed == 0
    cleanup_backend()


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


def test_pages_are_what_the_docstrings_say(generate):
    expected = generate.pages()
    for path, text in expected.items():
        assert (DOCS / path).read_text(encoding="utf-8") == text, f"{path}: run python docs/generate.py"
    for folder in ("optimizers", "schedules", "model"):
        assert {f"{folder}/{file.name}" for file in (DOCS / folder).glob("*.md")} <= set(expected)


def test_every_optimizer_says_when_to_use_it(generate):
    for cls in generate.public(generate.optimizers, Optimizer):
        assert "Use it" in cls.__doc__, cls.__name__


def test_the_page_of_the_model_lists_every_class(generate):
    from neon_optim import model

    text = generate.model_page()
    listed = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    kinds = {kind for _, kind, _ in generate.MODEL_KINDS}
    known = {name for name in model.__all__ if registry.kind_of(getattr(model, name)) in kinds}
    assert {name for name in known if not registry.is_abstract(getattr(model, name))} <= set(listed)
    assert {"Validation", "MetricsLog", "Checkpoints", "ArrayIterator"} <= set(listed)
    assert len(set(listed)) == len(listed)


def test_a_meaning_of_several_lines_is_kept_whole(generate):
    assert generate.argument_texts("    a, b: one\n        two\n    c: three") == {
        "a": "one two",
        "b": "one two",
        "c": "three",
    }
    assert generate.argument_texts("    only: one\n        two") == {"only": "one two"}


def test_the_yaml_on_the_pages_can_be_built(generate):
    for text in (generate.OPTIMIZERS_IN_YAML, generate.SCHEDULES_IN_YAML):
        optimizer = load_config(text).described
        assert isinstance(optimizer, Optimizer)
        assert from_description(optimizer.get_description()).get_description() == optimizer.get_description()


def test_links_and_pictures_are_there(generate):
    for path, text in generate.pages().items():
        for target in generate.re.findall(r"\]\(([^)]+)\)", text):
            assert (DOCS / path).parent.joinpath(target).exists(), f"{path}: {target}"


def test_what_is_undocumented_stops_the_build(generate, monkeypatch):
    class Bare:
        pass

    monkeypatch.setattr(generate.optimizers, "Bare", Bare, raising=False)
    monkeypatch.setattr(generate.optimizers, "__all__", ["Bare"])
    with pytest.raises(generate.UndocumentedError, match="Bare has no docstring"):
        generate.public(generate.optimizers, Optimizer)

    class Half(Optimizer):
        """Does something.

        >>> 1
        1
        """

        def __init__(self, strength: float = 1.0, **options):
            super().__init__(**options)
            self.strength = strength

    with pytest.raises(generate.UndocumentedError, match="Half: the argument strength is not described"):
        generate.page(Half, Optimizer)
