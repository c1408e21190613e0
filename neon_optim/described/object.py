"""NervanaObject: the base of everything that can be described, rebuilt and named in YAML."""

from __future__ import annotations

import inspect
import itertools
from abc import ABCMeta
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from neon_optim.described import registry
from neon_optim.described.arguments import REQUIRED, Name, check_arguments, constructor_arguments
from neon_optim.described.build import build
from neon_optim.described.values import plain, python_numbers
from neon_optim.errors import ArgumentError, NeonOptimError, shown


class CheckedArguments(ABCMeta):
    """Metaclass: checks the annotated constructor arguments before `__init__` runs.

    NumPy's numbers become Python's: a float32 rate would make float32 arithmetic of what is float64 once it is
    restored from a description.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        check_arguments(cls, args, kwargs)
        return super().__call__(
            *map(python_numbers, args), **{key: python_numbers(kwargs[key]) for key in kwargs}
        )

    @property
    def __signature__(cls) -> inspect.Signature:
        """What `help` and editors show: the arguments taken through `**options` included."""
        kinds = inspect.Parameter
        return inspect.Signature(
            [
                kinds(argument.name, argument.kind, default=argument.default, annotation=argument.annotation)
                for argument in constructor_arguments(cls).values()
            ]
        )


class NervanaObject(metaclass=CheckedArguments):
    """Base class: shared backend, a name, a description that rebuilds the object.

    A subclass keeps each constructor argument in an attribute of the same name. Class keywords: `kind`
    ('optimizer', 'schedule', 'layer', …) says what the class and those derived from it are; `abstract=True`
    marks a class to derive from, which no file can name.

    Arguments: name — a string, or None for an automatic one (`Class_0`, `Class_1`, …).

    >>> from neon_optim.described.arguments import Positive
    >>> class Gain(NervanaObject):
    ...     def __init__(self, rate: Positive, power: float = 1.0, name: Name = None):
    ...         super().__init__(name)
    ...         self.rate, self.power = rate, power
    >>> gain = Gain(1e-05, name="g")
    >>> gain.get_description()["config"]
    {'rate': 1e-05, 'name': 'g'}
    >>> Gain.gen_class({"rate": 0.5}).rate
    0.5
    >>> Gain(-1)
    Traceback (most recent call last):
    neon_optim.errors.ArgumentError: Gain: rate must be a number > 0, received -1
    """

    be: ClassVar[Any] = None
    kind: ClassVar[str | None] = None
    _numbers: ClassVar[Iterable[int]]

    def __init_subclass__(cls, kind: str | None = None, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind is not None:
            cls.kind = kind
        registry.add_class(cls, abstract=abstract)

    def __init__(self, name: Name = None) -> None:
        if name is None:
            cls = type(self)
            if "_numbers" not in vars(cls):
                cls._numbers = itertools.count()
            name = f"{cls.__name__}_{next(cls._numbers)}"  # type: ignore[call-overload]
        self.name = name

    @property
    def classnm(self) -> str:
        """The name of the class: `Adam`."""
        return type(self).__name__

    @property
    def modulenm(self) -> str:
        """The full path of the class: `neon_optim.optimizers.adam.Adam`."""
        return registry.full_name(type(self))

    def get_description(self, skip: Iterable[str] = ()) -> dict[str, Any]:
        """What rebuilds this object: `{'type': full class path, 'config': {arguments unlike their default}}`.

        Arguments: skip — names of arguments to leave out.
        Returns a dict of dicts, lists, strings, numbers, booleans and None that `gen_class` and YAML take;
        nested objects are described the same way. Values are those of now, not those given to the
        constructor.
        """
        config: dict[str, Any] = {}
        for argument in constructor_arguments(type(self)).values():
            if argument.name in skip:
                continue
            if not hasattr(self, argument.name):
                raise NeonOptimError(
                    f"{self.classnm} cannot be described: it keeps no attribute of the name of its argument"
                    f" '{argument.name}'"
                )
            value = plain(getattr(self, argument.name))
            if argument.default is REQUIRED or value != plain(argument.default):
                config[argument.name] = value
        return {"type": self.modulenm, "config": config}

    def __repr__(self) -> str:
        try:
            config = self.get_description()["config"]
        except Exception:  # a repr must not fail, on a half-built object least of all
            return f"<{self.classnm}>"
        return f"{self.classnm}({', '.join(f'{key}={value!r}' for key, value in config.items())})"

    @classmethod
    def gen_class(cls, pdict: Mapping[str, Any]) -> Any:
        """An object of this class from the `config` part of a description, which stays as it is.

        Values of the form `{'type': …, 'config': …}` (`config` may lack) become objects, inside lists and
        mappings too; where the argument is due to be an object, a bare class name will do.
        Errors: `RegistryError` for an unknown class, `ArgumentError` for anything else that does not fit.
        """
        if not isinstance(pdict, Mapping):
            raise ArgumentError(f"{cls.__name__}: the config must be a mapping, received {shown(pdict)}")
        arguments = constructor_arguments(cls)
        built = {
            key: build(value, arguments[key].check if key in arguments else None)
            for key, value in pdict.items()
        }
        return cls(**built)

    @classmethod
    def recursive_gen(cls, pdict: dict[str, Any], key: str) -> None:
        """Replace `pdict[key]`, where it is a description, by the object (neon's helper for `gen_class`)."""
        pdict[key] = build(pdict[key])
