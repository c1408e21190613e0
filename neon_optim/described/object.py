"""NervanaObject: the base of everything that can be described, rebuilt and named in YAML."""

from __future__ import annotations

import inspect
import itertools
from abc import ABCMeta
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from neon_optim.described import registry
from neon_optim.described.arguments import REQUIRED, check_arguments, constructor_arguments
from neon_optim.described.assigning import assign, is_unknown, set_fields, settings_of
from neon_optim.described.build import build, is_description
from neon_optim.described.fields import state_fields
from neon_optim.described.values import plain, python_numbers
from neon_optim.described.words import suggestion
from neon_optim.errors import ArgumentError, NeonOptimError, shown

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**options: Any) -> Any:
        return lambda cls: cls


@dataclass_transform()
class CheckedArguments(ABCMeta):
    """Metaclass: checks the annotated constructor arguments before `__init__` runs.

    NumPy's numbers become Python's: a float32 rate would make float32 arithmetic of what is float64 once it is
    restored from a description.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        check_arguments(cls, args, kwargs)
        made = super().__call__(
            *map(python_numbers, args), **{key: python_numbers(kwargs[key]) for key in kwargs}
        )
        if isinstance(made, cls):
            made.check_fields()
            vars(made)["_changes"] = 0
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """What `help` shows: all arguments, each with what it must be, those taken through `**options` included."""
        return inspect.Signature(
            [
                inspect.Parameter(
                    a.name, a.kind, default=a.default, annotation=a.check.allowed if a.check else a.annotation
                )
                for a in constructor_arguments(cls).values()
            ]
        )


class NervanaObject(metaclass=CheckedArguments):
    """Base class: shared backend, a name, checked settings, a description that rebuilds the object.

    A subclass states its constructor arguments as annotated attributes; :mod:`neon_optim.described.fields` says
    how. The constructor sets them, gives a name where there is none, and calls :meth:`__post_init__`. Setting one
    later is checked like constructing. A subclass may write out its `__init__` instead; it then keeps each argument
    in an attribute of the same name.

    Class keywords: `kind` ('optimizer', 'schedule', 'layer', …) says what the class and those derived from it are;
    `abstract=True` marks a class to derive from, which no file can name; `inherit_fields=False` leaves out the
    arguments of base classes.

    Attributes:
        closed: a public attribute that the class does not have cannot be set.
        _changes: how often a setting has been set since construction. What lacks it is under construction, and takes
            everything as it comes.

    >>> from neon_optim.described.arguments import Name, Positive
    >>> class Gain(NervanaObject):
    ...     rate: Positive
    ...     power: float = 1.0
    ...     name: Name = None
    >>> gain = Gain(1e-05, name="g")
    >>> gain.get_description()["config"]
    {'rate': 1e-05, 'name': 'g'}
    >>> Gain.gen_class({"rate": 0.5}).rate
    0.5
    >>> gain.rate = -1
    Traceback (most recent call last):
    neon_optim.errors.ArgumentError: Gain: rate must be a number > 0, received -1
    """

    be: ClassVar[Any] = None
    kind: ClassVar[str | None] = None
    closed: ClassVar[bool] = False
    _fields_root: ClassVar[bool] = True
    _named_by_class: ClassVar[bool] = False
    """An automatic name is that of the class, and a class without fields takes no name."""
    _numbers: ClassVar[Iterable[int]]

    def __init_subclass__(
        cls, kind: str | None = None, abstract: bool = False, inherit_fields: bool = True, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if kind is not None:
            cls.kind = kind
        state_fields(cls, inherit_fields)
        registry.add_class(cls, abstract=abstract)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        set_fields(self, args, kwargs)
        if "name" not in vars(self):
            self.name: Any = self.new_name()
        self.__post_init__()

    def __post_init__(self) -> None:
        """Set what is no argument; the fields are set. A subclass calls `super().__post_init__()` first."""

    def check_fields(self) -> None:
        """Raise ArgumentError where fields do not go together: after construction, and after each is set."""

    def new_name(self) -> str:
        """The name of an object that was given none."""
        cls = type(self)
        if cls._named_by_class:
            return cls.__name__
        if "_numbers" not in vars(cls):
            cls._numbers = itertools.count()
        return f"{cls.__name__}_{next(cls._numbers)}"  # type: ignore[call-overload]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in settings_of(type(self)) and "_changes" in vars(self):
            assign(self, name, value)
        elif self.closed and is_unknown(self, name):
            hint = suggestion(name, [*constructor_arguments(type(self)), *vars(self)])
            raise AttributeError(f"{self.classnm} has no attribute '{name}'{hint}")
        else:
            super().__setattr__(name, value)

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
        shown = {key: getattr(self, key) if is_description(value) else value for key, value in config.items()}
        return f"{self.classnm}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

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
