"""Names resolve to classes that are already known; a file can never make us import something."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest

from neon_optim.described import registry, words
from neon_optim.described.arguments import constructor_arguments
from neon_optim.described.object import NervanaObject
from neon_optim.described.registry import available, register, resolve
from neon_optim.errors import RegistryError

NEON_NAMES = {
    "neon.optimizers.optimizer.Adam": "neon_optim.optimizers.adam.Adam",
    "neon.optimizers.Adam": "neon_optim.optimizers.adam.Adam",
    "neon.optimizers.optimizer.GradientDescentMomentum": (
        "neon_optim.optimizers.gradient_descent_momentum.GradientDescentMomentum"
    ),
    "neon.optimizers.optimizer.MultiOptimizer": "neon_optim.optimizers.multi_optimizer.MultiOptimizer",
    "neon.optimizers.optimizer.StepSchedule": "neon_optim.schedules.neon.StepSchedule",
}


@pytest.mark.parametrize(("name", "ours"), NEON_NAMES.items())
def test_neons_names_are_ours(name: str, ours: str) -> None:
    cls = resolve(name)
    assert registry.full_name(cls) == ours
    assert resolve(ours) is cls
    assert resolve(cls.__name__) is cls
    assert resolve(f"neon_optim.optimizers.{cls.__name__}") is cls


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "neon.optimizers.optimizer.os",
        "neon_optim.described.registry.resolve",
        "neon_optim.described.object.Adam",
        "neon.layers.layer.Adam",
        "neon.Adam",
        ".Adam",
        "Adam.",
        "..",
        "./evil",
        "Adam\n",
        "",
    ],
)
def test_other_names_do_not_resolve(name: str) -> None:
    with pytest.raises(RegistryError):
        resolve(name)


def test_nothing_named_is_imported() -> None:
    sys.modules.pop("wsgiref.handlers", None)
    with pytest.raises(RegistryError, match="a class of yours must be imported"):
        resolve("wsgiref.handlers.SimpleHandler")
    assert "wsgiref.handlers" not in sys.modules


def test_unknown_names_get_a_suggestion_or_the_list() -> None:
    with pytest.raises(RegistryError, match="unknown optimizer 'Adm'; did you mean 'Adam'"):
        resolve("Adm", "optimizer")
    with pytest.raises(RegistryError, match=r"the schedules are: .*ExpSchedule, .*PolySchedule"):
        resolve("zzz", "schedule")
    with pytest.raises(RegistryError, match="'Adam' is an optimizer, not a schedule"):
        resolve("Adam", "schedule")
    with pytest.raises(RegistryError, match="'Optimizer' is a base class"):
        resolve("Optimizer", "optimizer")


def test_every_class_is_listed_once() -> None:
    for kind in (*registry._KINDS, None):
        names = available(kind)
        classes = [resolve(name, kind) for name in names if kind is not None]
        assert len(set(classes)) == len(classes)
    assert {"digits", "mnist"} <= set(available("dataset"))
    assert not {"Digits", "MNIST"} & set(available("dataset"))


@pytest.mark.parametrize(
    ("theirs", "kind", "ours"),
    [
        ("ReLU", "activation", "Rectlin"),
        ("sigmoid", "activation", "Logistic"),
        ("Dense", "layer", "Affine"),
        ("He", "initializer", "Kaiming"),
        ("he_normal", "initializer", "Kaiming"),
        ("torch.nn.MSELoss", "cost", "MeanSquared"),
        ("StepLR", "schedule", "Schedule"),
    ],
)
def test_classes_of_other_libraries_are_known(theirs: str, kind: str, ours: str) -> None:
    with pytest.raises(RegistryError, match=f"did you mean '{ours}'?"):
        resolve(theirs, kind)


def test_what_is_suggested_exists() -> None:
    from neon_optim.serialization.config.settings import CheckpointSettings, Settings

    known = {*available(), "optimizer.config.learning_rate"}
    for cls in (*filter(registry._is_ours, registry._classes.values()), Settings, CheckpointSettings):
        known |= set(constructor_arguments(cls))
    assert {word for ours in words._THEIRS for word in ours.split()} <= known


def test_a_source_is_loaded_when_a_name_is_asked_for_and_again_if_it_failed() -> None:
    calls: list[str] = []

    def broken_once() -> None:
        calls.append("called")
        if len(calls) == 1:
            raise ImportError("not yet")
        available()  # while it is loaded, names may be looked up

    registry.add_source(broken_once)
    assert calls == []
    with pytest.raises(ImportError, match="not yet"):
        resolve("Adam")
    assert resolve("Adam").__name__ == "Adam"
    assert available("optimizer")
    assert len(calls) == 2


def test_subclasses_are_known_without_registering() -> None:
    class JustDefined(NervanaObject):
        pass

    assert resolve("JustDefined") is JustDefined
    assert resolve(registry.full_name(JustDefined)) is JustDefined


def test_registered_names_and_aliases() -> None:
    @register(name="house_rule", aliases=("hr",))
    class HouseRule(NervanaObject, kind="optimizer"):
        pass

    assert resolve("house_rule", "optimizer") is resolve("hr") is resolve("HouseRule") is HouseRule
    assert "house_rule" in available("optimizer")
    assert not {"hr", "HouseRule"} & set(available("optimizer"))

    class Another(NervanaObject):
        pass

    with pytest.raises(RegistryError, match="'hr' is already registered"):
        register(Another, name="hr")


def test_two_classes_of_one_name_need_their_full_names() -> None:
    def one() -> type:
        class Doubled(NervanaObject):
            pass

        return Doubled

    def two() -> type:
        class Doubled(NervanaObject):
            pass

        return Doubled

    first, second = one(), two()
    with pytest.raises(RegistryError, match=r"stands for several classes.*one.*two"):
        resolve("Doubled")
    assert resolve(registry.full_name(first)) is first
    assert resolve(registry.full_name(second)) is second


def test_a_short_name_of_ours_means_ours() -> None:
    from neon_optim.optimizers import RMSProp

    def theirs() -> type:
        class RMSProp(NervanaObject, kind="optimizer"):
            pass

        return RMSProp

    other = theirs()
    assert resolve("RMSProp") is RMSProp
    assert resolve(registry.full_name(other)) is other


def test_the_kind_chooses_between_classes_of_one_name() -> None:
    def theirs() -> type:
        class Adagrad(NervanaObject, kind="layer"):
            pass

        return Adagrad

    layer = theirs()
    assert resolve("Adagrad", "layer") is layer
    assert resolve("Adagrad", "optimizer").__module__.startswith("neon_optim.")


class Distribution:
    name, version = "their-wheel", "1.2"


class Point:
    """What importlib.metadata gives for one line of a distribution's entry points."""

    dist = Distribution()

    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value
        self.module = value.partition(":")[0]

    def load(self) -> Any:
        self.loaded = True
        module, _, attribute = self.value.partition(":")
        return getattr(sys.modules[module], attribute)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Point]]:
    """Entry points as an installed distribution would offer them, by group."""
    module = ModuleType("their_wheel")
    monkeypatch.setitem(sys.modules, "their_wheel", module)
    points = {
        "neon_optim.optimizers": [
            Point("Lightning", "their_wheel:Lightning"),
            Point("Broken", "their_wheel:Missing"),
            Point("NoClass", "their_wheel:number"),
        ]
    }
    module.number = 3
    monkeypatch.setattr(metadata, "entry_points", lambda group: points.get(group, []))
    registry._entry_points.cache_clear()
    yield points
    registry._entry_points.cache_clear()


def define_lightning() -> type:
    cls = type(NervanaObject)(
        "Lightning", (NervanaObject,), {"__module__": "their_wheel", "kind": "optimizer"}
    )
    # Defined by now, but not yet known: as if the import happened when the entry point is loaded.
    registry._classes.pop("their_wheel.Lightning", None)
    sys.modules["their_wheel"].Lightning = cls
    return cls


@pytest.mark.parametrize("name", ["Lightning", "their_wheel.Lightning"])
def test_entry_points_are_loaded_when_their_name_is_asked_for(plugins: dict, name: str) -> None:
    cls = define_lightning()
    point = plugins["neon_optim.optimizers"][0]
    assert "Lightning" in available("optimizer")
    assert not hasattr(point, "loaded")
    assert resolve(name, "optimizer") is cls
    assert point.loaded
    registry._classes.pop("their_wheel.Lightning")


def test_a_broken_plugin_is_named_and_harms_no_other(plugins: dict) -> None:
    define_lightning()
    with pytest.raises(
        RegistryError, match=r"plug-in 'Broken' .* of the distribution their-wheel 1.2 does not load"
    ):
        resolve("Broken", "optimizer")
    with pytest.raises(RegistryError, match="is no optimizer class, received 3"):
        resolve("NoClass", "optimizer")
    assert resolve("Adam").__name__ == "Adam"
    assert resolve("Lightning").__name__ == "Lightning"
    registry._classes.pop("their_wheel.Lightning")


@pytest.mark.parametrize("kind", registry._KINDS)
def test_each_kind_has_its_group(plugins: dict, kind: str) -> None:
    own = {"__module__": "their_wheel", "kind": kind}
    theirs = type("Storm", (), {} if kind == "callback" else own)
    sys.modules["their_wheel"].Storm = theirs
    plugins[f"neon_optim.{kind}s"] = [Point("Storm", "their_wheel:Storm")]
    assert "Storm" in available(kind)
    assert resolve("Storm", kind) is theirs
    registry._classes.pop(registry.full_name(theirs))
