"""Bad configs: what is wrong, where exactly, and never anything but ConfigError."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from toys import MODEL

from neon_optim.errors import ConfigError, Position, Problem
from neon_optim.serialization import load_config

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: *a{n - 1}}}\n" for n in range(1, 60)
)


def problems(text: str, *overrides: str) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(ConfigError) as caught:
        load_config(text + "\n", overrides)
    return [(*problem.place[1:], problem.message) for problem in caught.value.problems]


# name, text, then (line, column, what the message says)
TABLE: list[tuple[str, str, int, int, str]] = [
    ("a list at the top", "- a\n- b", 1, 1, "a config is a mapping of settings (key: value), received a list"),
    ("a word at the top", "hello", 1, 1, "received 'hello'"),
    ("a tab", "layers:\n\t- a", 2, 1, "a tab cannot indent a line or start a value; use spaces"),
    ("two colons", "epochs: a: b", 1, 10, "a second ': ' in one line"),
    ("a bracket left open", "layers: [1, 2", 2, 1, "expected ',' or ']', but got '<stream end>'"),
    ("a quote left open", "backend: 'cpu", 2, 1, "found unexpected end of stream"),
    ("bad indentation", "epochs: 3\n  batchsize: 4", 2, 12, "a second ': ' in one line, or a line indented too far"),
    ("a key without a colon", "epochs: 3\nbatchsize\ncost: X", 2, 1, "a key without ': ' behind it"),
    ("a value without a colon", "epochs 2\nbatchsize: 4", 1, 1, "a key without ': ' behind it"),
    ("no space behind a colon", "epochs:2\n# more\ncost: X", 1, 1, "a key without ': ' behind it"),
    ("the second of two", "epochs 2\nbatchsize 4\ncost: X", 2, 1, "a key without ': ' behind it"),
    ("no colon in a list", "layers:\n- type ToyLinear\n  config: {}", 2, 3, "a key without ': ' behind it"),
    ("two documents", "epochs: 3\n---\nepochs: 4", 2, 1, "a second document"),
    ("no text", "epochs: 3\x00", 1, 10, "U+0000 is no text"),
    ("an object tag", "cost: !!python/object:os.system {}", 1, 7, "the tag !!python/object:os.system is refused"),
    ("a call tag", "cost: !!python/object/apply:os.system ['id']", 1, 7, "is refused"),
    ("a tag on a scalar", "cost: !!python/name:os.system", 1, 7, "is refused"),
    ("an own tag", "cost: !include other.yaml", 1, 7, "the tag !include is refused"),
    ("a wrong tag", "epochs: !!int three", 1, 9, "'three' is no int"),
    ("an octal", "epochs: 010", 1, 9, "010 is 8 in YAML 1.1 and 10 in YAML 1.2; write 10 or 0o10"),
    ("too large a float", "cost: 1e999", 1, 7, "1e999 is too large for a float"),
    ("too small a float", "cost: 1e-999", 1, 7, "1e-999 is too small for a float"),
    ("too long a number", f"epochs: {'9' * 5000}", 1, 9, "a number of 5000 digits is too long"),
    ("an unknown alias", "cost: *nowhere", 1, 7, "*nowhere names no anchor defined before it"),
    ("an endless value", "x: &x [*x]", 1, 8, "*x stands inside the value it names"),
    ("a number as a key", "3: x", 1, 1, "a key must be a string, received 3"),
    ("a list as a key", "? [1]\n: x", 1, 3, "a key must be a string"),
    ("a key twice", "epochs: 3\nepochs: 4", 2, 1, "the key 'epochs' stands twice, first at line 1"),
    ("one key by two names", "batchsize: 3\nbatch_size: 4", 2, 1, "stands twice, first at line 1 (as 'batchsize')"),
    ("a key twice inside", "optimizer:\n  type: ToyAdam\n  type: ToyAdam", 3, 3, "the key 'type' stands twice"),
    ("a merge of a word", "optimizer: {<<: abc, type: ToyAdam}", 1, 17, "'<<' merges a mapping"),
    ("too deep", "x: " + "[" * 60, 1, 43, "nested too deep (at most 40 levels)"),
    ("an alias bomb", BOMB, 5, 4, "aliases expand to too many values (at most 20,000)"),
    ("a merge bomb", MERGE_BOMB, 15, 6, "aliases expand to too many values"),
    ("an unknown key", "epochz: 3", 1, 1, "epochz is unknown; did you mean 'epochs'?"),
    ("a strange key", "zzz: 3", 1, 1, "zzz is unknown; known are layers, cost, optimizer"),
    ("an anchor nobody uses", "wt: &w {type: ToyInit}", 1, 1, "wt is unknown"),
    ("epochs 0", "epochs: 0", 1, 9, "epochs must be an integer >= 1, received 0"),
    ("epochs 2.5", "epochs: 2.5", 1, 9, "epochs must be an integer >= 1, received 2.5"),
    ("quoted epochs", "epochs: '3'", 1, 9, "received '3'; remove the quotes"),
    ("grouped digits", "batchsize: 1_000", 1, 12, "received '1_000'; write 1000"),
    ("an unknown backend", "backend: gpuu", 1, 10, "backend must be one of 'cpu', 'gpu'"),
    ("an unknown engine", "engine: fast", 1, 9, "engine must be one of 'auto', 'numpy', 'numba', received 'fast'"),
    ("an unknown datatype", "datatype: f32", 1, 11, "datatype must be one of 'float16', 'bfloat16', 'float32'"),
    ("a negative seed", "rng_seed: -1", 1, 11, "rng_seed must be an integer >= 0 or None, received -1"),
    ("no layers", "layers: []", 1, 9, "layers must be a list of at least one layer, received []"),
    ("layers a mapping", "layers: {a: 1}", 1, 9, "layers must be a list of at least one layer"),
    ("layers without dashes", "layers:\n  type: ToyLinear\n  config: {nout: 3}\n  type: ToyLinear", 2, 3,
     "layers must be a list of at least one layer; begin each item with '- '"),
    ("layers nothing", "layers:", 1, 8, "layers must be a list of at least one layer, received None"),
    ("a rate at the top", "lr: 0.1", 1, 1, "lr is unknown; did you mean 'optimizer.config.learning_rate'?"),
    ("a loss", "loss: mse", 1, 1, "loss is unknown; did you mean 'cost'?"),
    ("a rate beside the type", "optimizer: {type: ToyAdam, lr: 1}", 1, 28, "did you mean 'learning_rate'?"),
    ("a layer of Keras", "layers: [Dense]", 1, 10, "unknown layer 'Dense'; did you mean 'Affine'?"),
    ("a schedule of PyTorch", "optimizer: {type: ToyAdam, config: {schedule: {type: CosineAnnealingLR}}}", 1, 54,
     "unknown schedule 'CosineAnnealingLR'; did you mean 'Cosine'?"),
    ("a number as a layer", "layers:\n- 5", 2, 3, "layers[0] must be a layer, received 5"),
    ("an unknown layer", "layers:\n- type: ToyLinaer", 2, 9, "layers[0].type: unknown layer 'ToyLinaer'"),
    ("no type", "layers:\n- {tpye: ToyLinear}", 2, 3, "did you misspell 'tpye'?"),
    ("a type that is a list", "layers:\n- type: [ToyLinear]", 2, 9, "must be the name of a class"),
    ("config a list", "optimizer: {type: ToyAdam, config: [1]}", 1, 36, "optimizer.config must be a mapping of argum"),
    ("a cost as an optimizer", "optimizer: ToyCost", 1, 12, "'ToyCost' is a cost, not an optimizer"),
    ("an abstract class", "optimizer: {type: ToyRule}", 1, 19, "'ToyRule' is a base class to derive from"),
    ("an unknown cost", "cost: ToyCots", 1, 7, "unknown cost 'ToyCots'; did you mean 'ToyCost'?"),
    ("a path to import", "cost: {type: os.system}", 1, 14, "unknown cost 'os.system'"),
    ("an evil path", "cost: {type: ./evil}", 1, 14, "unknown cost './evil'"),
    ("no word", "optimizer: {type: ToyAdam, config: {learning_rate: 0.01x}}", 1, 52, "received '0.01x'"),
    ("yes", "optimizer: {type: ToyAdam, config: {nesterov: yes}}", 1, 47, "string in YAML 1.2; write true"),
    ("a quoted rate", "optimizer: {type: ToyAdam, config: {learning_rate: '0.1'}}", 1, 52, "remove the quotes"),
    ("a negative rate", "optimizer: {type: ToyAdam, config: {learning_rate: -1}}", 1, 52, "must be a number > 0"),
    ("nan", "optimizer: {type: ToyAdam, config: {learning_rate: .nan}}", 1, 52, "must be finite: a number > 0"),
    ("a misspelt argument", "optimizer: {type: ToyAdam, config: {wdecya: 0}}", 1, 37, "did you mean 'wdecay'?"),
    ("deep in a list",
     "optimizer:\n  type: ToyAdam\n  config: {schedule: {type: ToySchedule, config: {steps: [1, x]}}}", 3, 62,
     "optimizer.config.schedule.config.steps[1] must be an integer, received 'x'"),
    ("an argument in the wrong place", "layers:\n- {type: ToyLinear, nout: 3}", 2, 21, "put it under config"),
    ("a missing argument", "layers:\n- type: ToyLinear\n  config: {nout: 3}", 3, 11, "config.init is missing"),
    ("a class that fails", "layers:\n- type: ToyFragile", 2, 3, "ToyFragile cannot be built: KeyError: 'key'"),
    ("an unknown dataset", "dataset: {name: toydta}", 1, 17, "unknown dataset 'toydta'; did you mean 'toydata'?"),
    ("a dataset argument", "dataset: {name: toydata, samples: 0}", 1, 35, "dataset.samples must be an integer >= 1"),
    ("a dataset of no name", "dataset: {samples: 1}", 1, 10, "dataset must be {name: <name of a dataset>}"),
    ("a dataset list", "dataset: [toydata]", 1, 10, "dataset must be {name: <name of a dataset>}"),
    ("a dataset of two names", "dataset: {name: toydata, type: toydata}", 1, 10, "dataset must be {name: <name"),
    ("a checkpoint key", "checkpoint: {every: 3}", 1, 14, "checkpoint.every is unknown; did you mean 'every_ep"),
    ("a checkpoint word", "checkpoint: {zzz: 3}", 1, 14, "checkpoint.zzz is unknown; known are every_epochs, e"),
    ("checkpoint a number", "checkpoint: 3", 1, 13, "checkpoint must be a mapping with some of every_epochs"),
    ("checkpoint every 0", "checkpoint: {every_steps: 0}", 1, 27, "every_steps must be an integer >= 1 or None"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [row[1:] for row in TABLE],
    ids=[row[0].replace(" ", "-") for row in TABLE],
)
def test_the_fault_is_told_with_its_place(text: str, line: int, column: int, message: str) -> None:
    found = problems(text)
    assert any((at, over) == (line, column) and message in said for at, over, said in found), (
        f"{message!r} at {line}:{column} is not among {found}"
    )
    assert all(at is not None for at, _, _ in found)


def test_all_faults_of_a_file_are_listed_in_its_order() -> None:
    text = (
        MODEL.replace("1e-3", "0.01x")
        .replace("scale: 0.01", "scale: -1")
        .replace("nout: 100", "nuot: 100")
        .replace("ToyCost", "ToyCots")
        .replace("epochs: 3", "epochs: 0\nepcohs: 1")
    )
    with pytest.raises(ConfigError) as caught:
        load_config(text)
    lines = str(caught.value).splitlines()
    assert [line for line in lines if not re.match(r" +\d* \| ", line)] == [
        "7 problems:",
        "  <text>:4:12: layers[0].config.init.config.scale must be a number > 0, received -1",
        "  <text>:8:5: layers[0].config.nuot is no argument of ToyLinear, received 100; did you mean 'nout'?",
        "  <text>:8:5: layers[0].config.nout is missing; it must be an integer >= 1",
        "  <text>:12:7: cost: unknown cost 'ToyCots'; did you mean 'ToyCost'?",
        "  <text>:16:20: optimizer.config.learning_rate must be a number > 0 or a schedule, received '0.01x'",
        "  <text>:18:9: epochs must be an integer >= 1, received 0",
        "  <text>:19:1: epcohs is unknown; did you mean 'epochs'?",
    ]


def test_the_line_is_shown_with_a_mark_under_the_place() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("# a comment\u2028epochs: '3' # of 5\n")
    assert str(caught.value).splitlines()[1:] == ["   2 | epochs: '3' # of 5", "     |         ^~~"]
    wide = Problem.at(Position("m", 1, 14), "", line="x: '\u4e2d\u6587\x1b', y: z")
    assert wide.excerpt() == ["   1 | x: '\u4e2d\u6587\\x1b', y: z", "     | " + 18 * " " + "^"]
    assert Problem.at(Position("m", 1, 3), "", line="x:").excerpt() == ["   1 | x:", "     |   ^"]
    with pytest.raises(ConfigError) as caught:
        load_config(f"cost: [{'a, ' * 90} 010, {'b, ' * 90}]\nepochz: 1\n", ["epochs=0"])
    message = str(caught.value)
    (shown, mark) = message.splitlines()[2:4]
    assert shown.startswith("     1 | ...")
    assert shown.endswith("...")
    assert shown[mark.index("^") : mark.index("^") + 3] == "010"
    assert mark.endswith(" ^~~")
    assert max(map(len, message.splitlines()[2:4])) <= 80
    assert message.splitlines()[-1].startswith("  --set epochs=0: epochs must be")


@pytest.mark.parametrize("name", ["layers without dashes", "a value without a colon", "a checkpoint key"])
def test_one_mistake_is_one_problem(name: str) -> None:
    (text,) = [row[1] for row in TABLE if row[0] == name]
    assert len(problems(text)) == 1


def test_a_fault_in_an_anchored_value_is_told_once() -> None:
    assert len(problems(MODEL.replace("scale: 0.01", "scale: 0"))) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "an override is path=value"),
        ("=3", "an override is path=value"),
        ("a..b=3", "an override is path=value"),
        ("layers[x]=3", "an override is path=value"),
        ("epochs=0", "epochs must be an integer >= 1, received 0"),
        ("epochs.x=0", "epochs is 3; there is no 'x' in it"),
        ("layers[2].config.nout=0", "layers has 2 items, numbered from 0; there is no item 2"),
        ("layers.first.config.nout=0", "layers is a list of 2: give an item's number, received 'first'"),
        ("optimizer.config.learning_rat=0.1", "did you mean 'learning_rate'?"),
        ("optimizer.config.learning_rate=[1", "expected ',' or ']'"),
        ("optimizer.config.learning_rate=\n[1", "expected ',' or ']'"),
        ("optimizer.config.learning_rate=*a", "names no anchor"),
        ("cost=!!python/name:os.system", "is refused"),
        ("wt_init.config.scale=-1", "layers[0].config.init.config.scale must be a number > 0, received -1"),
        ("learning_rate=0.1", "learning_rate is unknown"),
    ],
)
def test_a_bad_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(MODEL, [override])
    (problem,) = caught.value.problems
    assert message in problem.message
    assert str(caught.value).startswith(f"--set {override}: ") or "[1" in override


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text("")
    (tmp_path / "binary.yaml").write_bytes(b"epochs: 3\nx: \x80\x81")
    (tmp_path / "nulls.yaml").write_bytes(bytes(64))
    (tmp_path / "large.yaml").write_text("# " + "x" * 300_000)
    (tmp_path / "comment.yaml").write_text("# nothing\n")
    cases = {
        tmp_path / "modle.yaml": "there is no such file; did you mean 'model.yaml'?",
        tmp_path / "none" / "x.yaml": "nor a folder",
        tmp_path / "model.yaml": "the config is empty",
        tmp_path / "comment.yaml": "the config is empty",
        tmp_path: "this is a folder",
        tmp_path / "binary.yaml": ":2:4: this is no text file in UTF-8 (byte 0x80)",
        tmp_path / "nulls.yaml": "is this a binary file?",
        tmp_path / "large.yaml": "too large",
        Path("a\0b"): "null byte",
    }
    for path, message in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert message in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads every file")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("epochs: 3\n")
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_config(path)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{n}: 1\n" for n in range(6_000)),
        "layers:\n" + "- 5\n" * 19_000,
        "layers: [" + "{type: x}, " * 6_000 + "]\n",
        "optimizer: {type: ToyAdam, config: {" + ", ".join(f"a{n}: 1" for n in range(9_000)) + "}}\n",
        "cost: " + "x" * 250_000 + "\n",
        "a: [" + "*a, " * 9_000 + "]\n",
        "- " * 100_000,
        "{" * 200_000,
        "? " * 100_000,
    ],
    ids=["keys", "layers", "types", "arguments", "name", "aliases", "dashes", "braces", "questions"],
)
def test_large_nonsense_gets_a_short_answer_soon(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(text + "\n")
    assert time.process_time() - started < 10
    assert len(str(caught.value)) < 45_000, "fifty problems, each with the names of all layers"
