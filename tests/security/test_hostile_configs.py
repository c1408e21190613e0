"""Hostile YAML tags, ``type:`` values and overrides: nothing is imported, called or written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from neon_optim.described import registry
from neon_optim.described.build import from_description
from neon_optim.errors import ConfigError, NeonOptimError
from neon_optim.serialization import load_checkpoint, load_config
from neon_optim.serialization.checkpoint import archive

CANARY = "canary"
EVIL_MODULE = (
    f"open({CANARY!r}, 'w').close()\nclass Evil:\n    gen_class = classmethod(lambda cls, pdict: cls())\n"
)

TAGS = {
    "python/object/apply": f"!!python/object/apply:os.system ['touch {CANARY}']",
    "python/object/apply with args": f"!!python/object/apply:os.system {{args: ['touch {CANARY}']}}",
    "python/object/new": f"!!python/object/new:os.system ['touch {CANARY}']",
    "python/object/new subprocess": f"!!python/object/new:subprocess.Popen [[touch, {CANARY}]]",
    "python/object/new with state": "!!python/object/new:type {args: [z, [], {extend: !!python/name:exec }]}",
    "python/object": "!!python/object:evil.Evil {}",
    "python/name": "!!python/name:os.system",
    "python/module": "!!python/module:evil",
    "python/eval": f"!!python/object/apply:eval [\"open('{CANARY}', 'w')\"]",
    "python/tuple": "!!python/tuple [1, 2]",
    "python/bytes": "!!python/bytes aGk=",
    "python/complex": "!!python/complex 1j",
    "full tag": f"!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {CANARY}']",
    "tag directive": f"%TAG ! tag:yaml.org,2002:python/object/apply:\n---\na: !os.system ['touch {CANARY}']",
    "local tag": "!evil.Evil {}",
    "local tag of a scalar": "!evil x",
    "binary": "!!binary aGk=",
    "set": "!!set {a, b}",
    "ordered map": "!!omap [a: 1]",
    "timestamp tag": "!!timestamp 2001-12-14t21:59:43.10-05:00",
}

TYPES = [
    *(
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "subprocess.check_output",
        "builtins.eval",
        "builtins.exec",
    ),
    *(
        "builtins.open",
        "eval",
        "exec",
        "open",
        "__import__",
        "importlib.import_module",
        "pickle.loads",
        "numpy.load",
    ),
    *("evil", "evil.Evil", "./evil", "./evil.py", "../evil.Evil", "evil:Evil", "/etc/passwd", "file:evil.py"),
    *(
        "neon_optim.evil.Evil",
        "neon_optim.os.system",
        "neon_optim.described.registry.importlib",
        "neon.evil.Evil",
    ),
    *(
        "neon_optim.optimizers.adam.Adam.__init__",
        "neon_optim.optimizers.adam.np",
        "Adam.gen_class",
        "Adam()",
    ),
    *(
        "neon_optim.described.object.NervanaObject",
        "NervanaObject",
        "Optimizer",
        "object",
        "type",
        "__class__",
        "Adam\n",
        "Adam\0",
    ),
    *(
        "{{7*7}}",
        "${HOME}",
        "$(touch canary)",
        "`touch canary`",
        "!!python/name:os.system",
        "a" * 100_000,
        ".",
        "..",
        "",
    ),
]


@pytest.fixture(autouse=True)
def _evil_module(tmp_path, monkeypatch):
    """The present folder, where imports look first, holds a module that leaves a trace when it is imported."""
    (tmp_path / "evil.py").write_text(EVIL_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    assert not os.path.exists(CANARY), "code has run"
    assert "evil" not in sys.modules


def refused(text: str, *, overrides: tuple[str, ...] = ()) -> str:
    with open("config.yaml", "w") as file:
        file.write(text)
    with pytest.raises(ConfigError) as caught:
        load_config("config.yaml", overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    "place", ["{}", "epochs: {}", "optimizer: {}", "optimizer: {{type: Adam, config: {}}}"]
)
@pytest.mark.parametrize("tag", TAGS)
def test_tag(tag, place):
    text = TAGS[tag]
    refused(text if text.startswith("%") else place.format(text) + "\n")


@pytest.mark.parametrize("name", TYPES)
def test_type_of_an_optimizer(name):
    config = {"optimizer": {"type": name, "config": {}}}
    assert len(refused(yaml.safe_dump(config))) < 2000


@pytest.mark.parametrize("name", TYPES)
def test_type_within_an_argument(name):
    described = {"type": name, "config": {"args": ["touch canary"]}}
    refused(yaml.safe_dump({"optimizer": {"type": "Adam", "config": {"schedule": described}}}))
    refused(yaml.safe_dump({"layers": [described]}))
    refused(yaml.safe_dump({"cost": name}))


@pytest.mark.parametrize("name", [name for name in TYPES if name.strip() == name and "\0" not in name])
def test_type_by_override(name):
    refused("optimizer: {type: Adam}\n", overrides=(f"optimizer.type={name}",))


@pytest.mark.parametrize("name", TYPES)
def test_type_in_a_checkpoint(name):
    state = {"written_by": "x", "epoch": 0, "parameters": {}, "backend": None, "model": None}
    described = {"type": name, "config": {"x": 1}}
    archive.write("state", {}, {**state, "optimizer": {"description": described, "counters": {}}})
    found = load_checkpoint("state")
    with pytest.raises(NeonOptimError):
        from_description(found.description)


@pytest.mark.parametrize("name", TYPES)
def test_name_in_the_registry(name):
    with pytest.raises(NeonOptimError):
        registry.resolve(name)


def test_the_attacks_are_real():
    """Negative control: an unsafe loader and an import by name do leave the trace."""
    script = (
        "import os, yaml, importlib\n"
        f'yaml.unsafe_load("{TAGS["python/object/apply"]}")\n'
        f"print(os.path.exists('{CANARY}')); os.unlink('{CANARY}')\n"
        f"importlib.import_module('evil'); print(os.path.exists('{CANARY}')); os.unlink('{CANARY}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "True\nTrue\n", done.stderr
