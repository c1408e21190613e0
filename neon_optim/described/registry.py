"""Names → classes. A file may name a class; it can never make this package import one.

A name resolves to

1. a class of this package: its short name (`Adam`), its full name (`neon_optim.optimizers.adam.Adam`, or by a
   package that exports it, `neon_optim.optimizers.Adam`), or neon's name for it
   (`neon.optimizers.optimizer.Adam`);
2. a class that was registered with `@register`, or any other `NervanaObject` subclass already imported;
3. a class that an installed distribution offers under the entry-point group of its kind (`neon_optim.optimizers`,
   `neon_optim.layers`, …: `_KINDS`), loaded when its name is first asked for.

A short name that stands for a class of this package always means that class; a plug-in of the same name is
reached by its full name. Two plug-ins of one name are both reached by their full names only.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from neon_optim.described.words import suggestion
from neon_optim.errors import RegistryError, shown

_OURS = "neon_optim"

# What the classes of a (sub)package are, for ours and for neon's names: `<root>.<package>.….<Class>`.
_KINDS_IN_PACKAGE: dict[str, frozenset[str]] = {
    "optimizers": frozenset({"optimizer", "schedule"}),
    "schedules": frozenset({"schedule"}),
    "model": frozenset(
        {"model", "layer", "activation", "cost", "initializer", "dataset", "metric", "callback"}
    ),
    "layers": frozenset({"layer", "cost"}),
    "initializers": frozenset({"initializer"}),
    "transforms": frozenset({"activation", "cost", "metric"}),
    "data": frozenset({"dataset"}),
    "models": frozenset({"model"}),
    "backends": frozenset({"backend"}),
}
_KINDS = (
    *("optimizer", "schedule", "backend", "layer", "activation", "cost", "initializer", "dataset", "metric"),
    "callback",
)
_GROUP_OF_KIND = {kind: f"neon_optim.{kind}s" for kind in _KINDS}
# A backend may be any class or function, a callback any class with the methods of one.
_KINDLESS: dict[str, tuple[None, ...]] = {"backend": (None,), "callback": (None,)}
_KIND_OF_GROUP = {group: kind for kind, group in _GROUP_OF_KIND.items()}

_classes: dict[str, Any] = {}  # full name → class
_registered: dict[str, list[str]] = {}  # short name or alias, given to `register` → full names
_abstract: set[str] = set()
_aliases: dict[str, str] = {}  # package → what its classes call it
_sources: list[Callable[[], object]] = []  # what still has to be imported

_Class = TypeVar("_Class", bound=Callable)


def full_name(cls: Any) -> str:
    """The dotted path of a class: `neon_optim.optimizers.adam.Adam`."""
    module = cls.__module__
    for package, alias in _aliases.items():
        if f"{module}.".startswith(f"{package}."):
            module = alias + module.removeprefix(package)
    return f"{module}.{cls.__qualname__}"


def alias_package(package: str, alias: str) -> None:
    """Call the classes of a package by another path; no file names them, as theirs are the names of others here."""
    _aliases[package] = alias


def add_class(cls: Any, *, abstract: bool = False) -> None:
    """Make a class known by its full and its short name; of two with one full name the later counts."""
    name = full_name(cls)
    if any(f"{cls.__module__}.".startswith(f"{package}.") for package in _aliases):
        return
    _classes[name] = cls
    (_abstract.add if abstract else _abstract.discard)(name)


def register(
    cls: _Class | str | None = None, *, name: str | None = None, aliases: tuple[str, ...] = ()
) -> Any:
    """Class decorator: make a class of your own usable by name in YAML and checkpoints.

    Subclasses of `NervanaObject` are known by their own names without it; it gives them others.

    Arguments: name — the short name (default: the class's own); aliases — further names.
    Errors: `RegistryError` where a name is already taken by a class of this package or registered for another
    class.

    >>> from neon_optim.described.object import NervanaObject
    >>> @register(aliases=("mine",))
    ... class DocumentedExample(NervanaObject): pass
    >>> resolve("mine") is resolve("DocumentedExample") is DocumentedExample
    True
    """
    if isinstance(cls, str):
        name, cls = cls, None

    def decorate(target: _Class) -> _Class:
        if not callable(target):
            raise RegistryError(f"@register takes a class, received {shown(target)}")
        full = full_name(target)
        for label in (name or target.__name__, *aliases):
            taken = [other for other in _registered.get(label, []) if other != full]
            if taken:
                raise RegistryError(
                    f"the name '{label}' is already registered for {taken[0]}; give {full} another one"
                )
            _registered[label] = [full]
        add_class(target)
        return target

    return decorate if cls is None else decorate(cls)


def resolve(name: str, kind: str | None = None) -> Any:
    """The class that `name` stands for.

    Arguments: name — a short or full name; kind — one of `_KINDS`, or None for any.
    Errors: `RegistryError` for a name that is unknown, stands for several classes or for one of another kind,
    or whose plug-in does not load.
    """
    if not isinstance(name, str) or not name:
        raise RegistryError(f"a class name must be a string that is not empty, received {shown(name)}")
    _load_sources()
    broken: list[str] = []
    known = _known(name)
    fitting: list[Any] = next((fits for group in known if (fits := _of_kind(group, kind))), [])
    if not fitting:
        known.append(_from_entry_points(name, kind, broken))
        fitting = _of_kind(known[-1], kind)
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        names = " and ".join(sorted(full_name(cls) for cls in fitting))
        raise RegistryError(f"'{name}' stands for several classes; write the full name of one: {names}")
    for cls in itertools.chain(*known):
        raise RegistryError(f"'{name}' is {_a(kind_of(cls))}, not {_a(kind)}; {_listing(kind)}")
    if broken:
        raise RegistryError("\n".join(broken))
    if any(full.rpartition(".")[2] == name.rpartition(".")[2] for full in _abstract):
        raise RegistryError(f"'{name}' is a base class to derive from; {_listing(kind)}")
    raise RegistryError(_unknown(name, kind))


def available(kind: str | None = None) -> list[str]:
    """The short names that can be written, sorted; those of entry points are listed without being loaded."""
    _load_sources()
    labels: dict[str, str] = {}  # the name that a class was registered with stands for all its names
    for label, registered in _registered.items():
        for full in registered:
            labels.setdefault(full, label)
    names = {
        labels.get(full, cls.__name__)
        for full, cls in _classes.items()
        if full not in _abstract and _fits(cls, kind)
    }
    return sorted(names | {point.name for _, point in _entry_points(kind)})


def spellings(kind: str) -> dict[Any, tuple[list[str], str]]:
    """Every class of a kind that a file can name, with how: its short names, and a pattern of its dotted ones.

    Plug-ins are loaded; one that does not load is left out.
    """
    names = {*available(kind), *(cls.__name__ for cls in _classes.values() if _fits(cls, kind)), *_registered}
    found: dict[Any, list[str]] = {}
    for name in sorted(names):
        with contextlib.suppress(RegistryError):
            cls = resolve(name, kind)
            if not is_abstract(cls):
                found.setdefault(cls, []).append(name)
    for cls in list(_classes.values()):
        if _fits(cls, kind) and not is_abstract(cls):
            found.setdefault(cls, [])  # one of two with the same name: it has its full name only
    return {cls: (names, _dotted_pattern(cls)) for cls, names in found.items()}


def _dotted_pattern(cls: Any) -> str:
    """A regular expression for the dotted names of a class."""
    short, full = re.escape(cls.__name__), re.escape(full_name(cls))
    if _is_ours(cls):
        places = sorted(package for package, kinds in _KINDS_IN_PACKAGE.items() if kind_of(cls) in kinds)
        return rf"{full}|(neon|{_OURS})\.({'|'.join(places)})\.([^.]+\.)*{short}" if places else full
    first, *rest = map(re.escape, cls.__module__.split("."))
    inner = "".join(rf"(\.{part}" for part in rest) + ")?" * len(rest)
    return rf"{full}|{first}{inner}\.{short}"


def kind_of(cls: Any) -> str | None:
    """What a class is: its `kind`, set by the base class it derives from."""
    kind = getattr(cls, "kind", None)
    return kind if isinstance(kind, str) else None


def is_abstract(cls: Any) -> bool:
    """Is this a base class to derive from, which cannot be built?"""
    return full_name(cls) in _abstract or bool(getattr(cls, "__abstractmethods__", ()))


def _fits(cls: Any, kind: str | None) -> bool:
    return cls is not None and (kind is None or kind_of(cls) == kind)


def _of_kind(classes: list[Any], kind: str | None) -> list[Any]:
    return [cls for cls in classes if kind is None or kind_of(cls) in (kind, *_KINDLESS.get(kind, ()))]


def _known(name: str) -> list[list[Any]]:
    """Groups of classes that a name may stand for; a class of an earlier group is preferred."""
    if name in _classes:
        return [[_classes[name]]]
    if "." not in name:
        named = _named(name)
        return [
            [cls for cls in named if _is_ours(cls)],
            [_classes[full] for full in _registered.get(name, [])],
            named,
        ]
    package, _, short = name.rpartition(".")
    root, _, rest = package.partition(".")
    if root in ("neon", _OURS):
        kinds = _KINDS_IN_PACKAGE.get(rest.partition(".")[0], frozenset())
        return [[cls for cls in _named(short) if _is_ours(cls) and kind_of(cls) in kinds]]
    return [[cls for cls in _named(short) if f"{cls.__module__}.".startswith(f"{package}.")]]


def _named(short: str) -> list[Any]:
    return [cls for full, cls in _classes.items() if cls.__name__ == short and full not in _abstract]


def _is_ours(cls: Any) -> bool:
    return cls.__module__.partition(".")[0] == _OURS


def add_source(load: Callable[[], object]) -> None:
    """Have `load` called before the first name is resolved: it imports a package, whose classes are then known."""
    _sources.append(load)


def _load_sources() -> None:
    while _sources:
        load = _sources.pop(0)
        try:
            load()
        except BaseException:
            _sources.insert(0, load)
            raise


@cache
def _entry_points(kind: str | None) -> list[tuple[str, metadata.EntryPoint]]:
    groups = _KIND_OF_GROUP if kind is None else [_GROUP_OF_KIND[kind]] if kind in _GROUP_OF_KIND else []
    return [(group, point) for group in groups for point in metadata.entry_points(group=group)]


def _from_entry_points(name: str, kind: str | None, broken: list[str]) -> list[Any]:
    points = _entry_points(kind)
    wanted = [item for item in points if item[1].name == name or item[1].value.replace(":", ".") == name]
    if not wanted and "." in name:
        # The path in a description may be a module below the one that the distribution names.
        root = name.partition(".")[0]
        wanted = [item for item in points if item[1].module.partition(".")[0] == root]
    loaded: dict[str, Any] = {}
    for group, point in wanted:
        try:
            cls = _load_entry_point(group, point)
        except RegistryError as error:
            broken.append(str(error))
        else:
            loaded[full_name(cls)] = cls
    if "." not in name:
        return list(loaded.values())
    return list(itertools.chain(*_known(name)))


def _load_entry_point(group: str, point: metadata.EntryPoint) -> Any:
    source = f"plug-in '{point.name}' ({point.value}) of the distribution {_distribution(point)}"
    try:
        cls = point.load()
    except Exception as error:
        raise RegistryError(f"the {source} does not load: {type(error).__name__}: {error}") from error
    kind = _KIND_OF_GROUP[group]
    if not callable(cls) or kind_of(cls) not in (kind, *_KINDLESS.get(kind, ())):
        raise RegistryError(f"the {source} is no {kind} class, received {shown(cls)}")
    add_class(cls)
    return cls


def _distribution(point: metadata.EntryPoint) -> str:
    dist = point.dist
    return f"{dist.name} {dist.version}" if dist is not None else "(unknown)"


def _a(kind: str | None) -> str:
    return "a class of no kind" if kind is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _listing(kind: str | None) -> str:
    names = available(kind)
    what = f"the {kind}s are" if kind else "known are"
    return f"{what}: {', '.join(names)}" if names else f"no {kind or 'class'} is known"


def _unknown(name: str, kind: str | None) -> str:
    what = kind or "class"
    hint = suggestion(name.rpartition(".")[2], available(kind)) or f"; {_listing(kind)}"
    text = f"unknown {what} {shown(name)}{hint}"
    if "." in name and name.partition(".")[0] not in ("neon", _OURS):
        text += "; a class of yours must be imported before the file is read, or be an installed plug-in"
    return text
