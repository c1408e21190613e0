"""The examples of the README work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neon_optim import cleanup_backend
from neon_optim.serialization import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 25
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert (tmp_path / "half.safetensors").exists()
    cleanup_backend()


def test_the_yaml_example():
    (text,) = blocks("yaml")
    config = load_config(text)
    config.require("layers", "cost", "optimizer", "dataset")
    assert config.settings.optimizer.schedule.change == 0.3


def test_every_file_and_option_that_is_named_exists():
    for name in re.findall(r"\]\(([\w/.-]+)\)", README) + re.findall(r"configs/\w+\.yaml", README):
        assert (ROOT / name).exists(), name
    from neon_optim.cli.train import train

    options = {option for parameter in train.params for option in parameter.opts}
    (line,) = re.findall(r"^neon-optim train CONFIG (.*)$", README, re.MULTILINE)
    assert set(re.findall(r"(--?\w+)", line)) <= options


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "docs/neon-differences.md", "docs/training.md"]
)
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert ((ROOT / name).parent / target).exists(), target
