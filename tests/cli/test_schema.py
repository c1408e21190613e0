"""`neon-optim schema`: what the schema says of a config is what loading it says."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from functools import partial

import jsonschema
import pytest
from runs import CONFIG, ROOT

from neon_optim.described import registry
from neon_optim.described.arguments import Positive
from neon_optim.optimizers import Optimizer
from neon_optim.serialization import ConfigError, dump_config, load_config
from neon_optim.serialization.config.schema import config_schema
from neon_optim.serialization.config.yaml_tree import parse_yaml

RICH = """
backend: cpu
engine: numpy
epochs: 3
batch_size: 32
datatype: float32
rng_seed: 1
stochastic_round: 7
deterministic: true
checkpoint: {every_epochs: 2, every_steps: null, keep_last: 3}
stop: {metric: valid_accuracy, patience: 3, min_change: 0.01, mode: max, restore_best: true, name: first}
metrics: {accuracy: Accuracy, squares: {type: MeanSquared}}
loggers: [jsonl, csv]
callbacks: [{type: TimeLimit, config: {minutes: 50}}, {type: EarlyStopping, config: {patience: 2, name: second}}]
dataset: {name: digits, validation: 0.25, split_seed: 3, normalize: true}
layers:
- type: Conv
  config: {fshape: [3, 3, 4], init: Kaiming, padding: {pad_h: 1, pad_w: 1}, batch_norm: true, activation: Rectlin}
- {type: Pooling, config: {fshape: 2, op: max}}
- {type: Dropout, config: {keep: 0.9}}
- {type: neon.layers.layer.Linear, config: {nout: 8, init: {type: Gaussian, config: {loc: 0.0, scale: 0.01}}}}
- {type: Bias, config: {init: {type: Constant}}}
- {type: Affine, config: {nout: 10, init: GlorotUniform, bias: null, activation: Softmax, name: last}}
cost: CrossEntropyMulti
optimizer:
  type: EMA
  config:
    decay: 0.99
    optimizer:
      type: MultiOptimizer
      config:
        optimizer_mapping:
          last: {type: neon_optim.optimizers.RMSProp, config: {learning_rate: {type: Cosine, config: {length: 3}}}}
          default:
            type: Adam
            config:
              learning_rate: 1e-3
              beta_1: 0.9
              gradient_clip_norm: 1.0
              no_decay: ["*/beta"]
              on_nonfinite: skip
              stochastic_round: false
              amsgrad: false
              schedule: {type: Schedule, config: {step_config: [1, 2], change: 0.5}}
"""

WRONG = ["zzz!", "", [1], [], {"x": 1}, None, True, -1, 0, 0.5, 7]


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(json.dumps(config_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def loads(values):
    """Whether a config is right, as far as the file alone shows it."""
    try:
        load_config(dump_config(values)).require("layers", "cost", "optimizer", "dataset")
    except ConfigError:
        return False
    return True


def places(value, path=()):
    """The path to every value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(values, path, change):
    """A copy in which the mapping or list that holds a value was changed."""
    found = copy.deepcopy(values)
    holder = found
    for part in path[:-1]:
        holder = holder[part]
    change(holder, path[-1])
    return found


def misspell(holder, key):
    if isinstance(holder, dict):
        holder[f"{key[:-1]}q"] = holder.pop(key)


def replace(value, holder, key):
    holder[key] = value


def mutants(values):
    """(what was done, the config) for every name misspelt and every value replaced."""
    for path in places(values):
        where = ".".join(map(str, path))
        yield f"{where} misspelt", changed(values, path, misspell)
        for wrong in WRONG:
            yield f"{where}={wrong!r}", changed(values, path, partial(replace, wrong))


def is_beyond_a_schema(what):
    """Mistakes that no schema can know, beside those of names, types and ranges."""
    free_key = what.endswith(" misspelt") and "." not in what  # it may hold an anchor
    default_is_missing = what.endswith("optimizer_mapping.default misspelt")
    other_length = "schedule.config.change=[" in what  # than that of step_config
    return free_key or default_is_missing or other_length


MUTANTS = dict(mutants(parse_yaml(RICH)))
SAMPLE = sorted(random.Random(0).sample(sorted(MUTANTS), 100))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_ready_config_is_right(validator, path):
    values = parse_yaml(path.read_text())
    assert [error.message for error in validator.iter_errors(values)] == []


def test_a_config_of_many_things_is_right(validator):
    assert loads(parse_yaml(RICH))
    assert [error.message for error in validator.iter_errors(parse_yaml(RICH))] == []
    assert validator.is_valid(parse_yaml(CONFIG))


@pytest.mark.parametrize("what", SAMPLE)
def test_schema_and_validate_agree_on_a_faulty_config(validator, what):
    values = MUTANTS[what]
    fits, right = validator.is_valid(values), loads(values)
    assert fits or not right, "the schema refuses what validate takes"
    assert right or not fits or is_beyond_a_schema(what), (
        "validate refuses a name, a type or a range that fits"
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Adam",
            "neon.optimizers.optimizer.Adam",
            "neon_optim.optimizers.Adam",
            "neon_optim.optimizers.adam.Adam",
        ),
        *(
            "adam",
            "Adamm",
            "Optimizer",
            "neon.Adam",
            "neon.layers.Adam",
            "optimizers.Adam",
            "os.system",
            "Linear",
            "",
        ),
    ],
)
def test_a_class_has_the_names_that_it_has_in_a_config(validator, name):
    values = parse_yaml(CONFIG)
    for optimizer in (name, {"type": name}, {"type": name, "config": None}, {"type": name, "config": {}}):
        values["optimizer"] = optimizer
        assert validator.is_valid(values) == loads(values)


@pytest.mark.parametrize(
    "dataset",
    [
        *(
            "digits",
            "Digits",
            "imagenet",
            {},
            None,
            3,
            {"name": "digits"},
            {"type": "digits"},
            {"name": "imagenet"},
        ),
        *(
            {"name": "digits", "validation": 0.5},
            {"type": "digits", "validation": 0.5},
            {"name": "digits", "valid": 1},
        ),
        *({"name": "digits", "validation": 2}, {"name": "digits", "type": "digits"}, {"validation": 0.5}),
        *({"type": "digits", "config": {"validation": 0.5}}, {"name": "digits", "config": None}),
        *(
            {"type": "digits", "config": {"validation": 5}},
            {"name": "digits", "config": {}, "validation": 0.5},
        ),
        {"type": "neon_optim.model.datasets.Digits", "config": {"name": "mine"}},
        *(
            {"name": "csv", "path": "a.csv", "target": "y", **more}
            for more in (
                {},
                {"missing": "mean"},
                {"missing": "no"},
                {"features": ["x"]},
                {"features": "x"},
                {"z": 1},
            )
        ),
        *(
            {"name": "csv", "target": "y"},
            {"name": "csv"},
            "csv",
            {"name": "images", "path": "a", "color": "red"},
        ),
        *({"name": "npz", "path": "a", "inputs": "X"}, {"name": "images", "path": "a", "height": 0}),
        *({"name": "images", "path": "a", "height": 8}, {"name": "npz", "path": "a", "standardize": 1}),
    ],
    ids=str,
)
def test_a_dataset_is_written_as_in_a_config(validator, dataset):
    values = parse_yaml(CONFIG) | {"dataset": dataset}
    assert validator.is_valid(values) == loads(values)


def test_a_config_that_extends_another_tells_what_is_different(validator):
    assert validator.is_valid({"extends": "base.yaml", "optimizer": {"config": {"learning_rate": 0.1}}})
    assert validator.is_valid(
        {"extends": ["base.yaml", "more.yaml"], "dataset": {"validation": 0.5}, "epochs": 3}
    )
    assert not validator.is_valid({"extends": 3})
    assert not validator.is_valid({"extends": "base.yaml", "epochs": 0})
    assert not validator.is_valid({"extends": "base.yaml", "layers": []})


def test_a_reference_may_stand_for_every_value(validator):
    values = parse_yaml(RICH)
    for path in places(values):
        assert validator.is_valid(changed(values, path, partial(replace, "${a.b}")))
    values["epochs"] = "epochs"
    assert not validator.is_valid(values)


def test_the_place_of_a_mistake_is_told(validator):
    text = CONFIG.replace("learning_rate: 0.01", "learning_rat: 0.01").replace("nout: 16", "nout: -16")
    found = {tuple(error.absolute_path): error.message for error in validator.iter_errors(parse_yaml(text))}
    assert set(found) == {("layers", 1, "config", "nout"), ("optimizer", "config")}
    assert "'learning_rat' was unexpected" in found["optimizer", "config"]


def test_classes_of_others_are_in_it():
    class Descent(Optimizer):
        """Goes down.

        Arguments:
            rate: how far; see :class:`~neon_optim.optimizers.Adam` and ``beta_1``.
        """

        positional = ()
        rate: Positive = 0.5

    try:
        registry.register(name="descent", aliases=("down",))(Descent)
        schema = config_schema()
        validator = jsonschema.Draft202012Validator(schema)
        values = parse_yaml(CONFIG)
        full = registry.full_name(Descent)
        for name in ("Descent", "descent", "down", full, f"{Descent.__module__}.Descent", "other.Descent"):
            for config in ({"rate": 2.0}, {"rate": 0}, {"speed": 1}):
                values["optimizer"] = {"type": name, "config": config}
                assert validator.is_valid(values) == loads(values)
        names = schema["$defs"]["optimizer"]["anyOf"][0]
        assert names["enumDescriptions"][names["enum"].index("descent")] == "Goes down."
        of_class = [
            part["then"]["properties"]["config"]["else"]["then"]["properties"]
            for part in schema["$defs"]["optimizer"]["then"]["allOf"]
            if "|descent|" in part["if"]["properties"]["type"]["pattern"]
        ]
        rate = of_class[0]["rate"]
        assert rate == {
            "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"\$\{"}],
            "default": 0.5,
            "description": "how far; see Adam and beta_1. It must be a number > 0.",
        }
    finally:
        for label in ("descent", "down"):
            registry._registered.pop(label, None)
        registry._classes.pop(registry.full_name(Descent), None)


def test_the_command_prints_it(run):
    code, out, _ = run("schema")
    schema = json.loads(out)
    assert code == 0
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["backend"]["default"] == "cpu"
    assert schema["properties"]["epochs"]["description"].startswith("passes over the training data")


@pytest.mark.slow
def test_another_program_says_the_same_of_files(run, here):
    """check-jsonschema reads YAML and schema by itself, as editors do."""
    pytest.importorskip("check_jsonschema")
    (here / "schema.json").write_text(run("schema")[1])
    faulty = {
        what: MUTANTS[what] for what in SAMPLE if not loads(MUTANTS[what]) and not is_beyond_a_schema(what)
    }
    for number, values in enumerate(faulty.values()):
        (here / f"faulty_{number}.yaml").write_text(dump_config(values))

    def check(*files):
        command = [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--schemafile",
            "schema.json",
            "-o",
            "json",
            *files,
        ]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True)
        found = json.loads(done.stdout)
        return done.returncode, {error["filename"] for error in found.get("errors", ())}

    ready = [str(path) for path in (ROOT / "configs").glob("*.yaml")]
    assert check(*ready) == (0, set())
    files = {f"faulty_{number}.yaml" for number in range(len(faulty))}
    assert len(files) > 60
    assert check(*sorted(files)) == (1, files)
