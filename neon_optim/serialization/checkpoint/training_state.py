"""Training state ↔ named arrays and a JSON value: what a checkpoint says, apart from how it is written.

Arrays: each parameter as ``layer/param``, each array of its optimizer's state as ``layer/param/slot``, and each array
that a layer keeps beside its parameters (the running statistics of a BatchNorm) as ``layer/array``. The rest is JSON:

```
written_by    "neon_optim 0.1.0"
epoch         epochs done
optimizer     {"description": …, "counters": …}, or null
parameters    {"layer/param": {"optimizer": class that keeps its state, "slots": names of that state}};
              "evaluated": [layer, class of the layer, param] beside them where models are evaluated with other
              weights than the trained ones, which the optimizer computes from these and that state
backend       {"type", "rng_seed", "noise_seed", "rng"}: the random numbers, or null
model         {"description": …, "counters": …, "arrays": names of the arrays that its layers keep}, or null
extra         the user's own
step, metrics where a CheckpointManager wrote the file
```

JSON has no NaN and no infinities; they stand as ``{"$float": "nan"}``, ``"inf"`` and ``"-inf"``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from neon_optim.backends.optree import Symbol
from neon_optim.described import registry
from neon_optim.described.object import NervanaObject
from neon_optim.described.values import plain
from neon_optim.errors import CheckpointError, RegistryError, shown
from neon_optim.serialization.checkpoint.archive import Arrays, State
from neon_optim.serialization.checkpoint.share import Share
from neon_optim.stepping.parameters import NamedParameter, named_parameters
from neon_optim.version import __version__

_FLOAT = "$float"


@dataclass(frozen=True)
class ParameterRecord:
    """What a file says of a parameter: the class that keeps its state (None: nobody), the names of that state.

    ``evaluated`` is where the parameter belongs (layer, class of the layer, name), if models are evaluated with other
    weights than those that are trained; None: with those, or the file does not say it.
    """

    optimizer: str | None
    slots: tuple[str, ...]
    evaluated: tuple[str, str | None, str] | None = None

    def arrays(self, name: str) -> list[str]:
        """The names of its state arrays, given that of the parameter."""
        return [f"{name}/{slot}" for slot in self.slots]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The JSON part of a checkpoint, checked.

    Attributes:
        epoch: epochs done.
        description: of the optimizer; ``neon_optim.described.build.from_description`` rebuilds it. None: the file
        has none.
        counters: step counters of the optimizer.
        parameters: by name, who keeps their state.
        backend: the random numbers.
        model: description and counters of the model, names of the arrays of its layers; None: the file has none.
        extra: what was given to ``save_checkpoint``.
        written_by: the version of this package.
        step, metrics: where a CheckpointManager wrote the file.
    """

    epoch: int
    description: dict[str, Any] | None
    counters: dict[str, Any]
    parameters: dict[str, ParameterRecord]
    backend: dict[str, Any] | None
    model: dict[str, Any] | None
    extra: Any
    written_by: str
    step: int | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)


def capture(
    *, optimizer: Any, layers: Any, epoch: int = 0, model: Any = None, extra: Any = None
) -> tuple[dict[str, Any], State]:
    """The state of a training run as it is now; CPU arrays are not copied, so use them before the next step.

    Arguments as for :func:`neon_optim.serialization.save_checkpoint`. Where a state of a parameter is a
    :class:`~.share.Share`, it stands among the arrays as that.
    """
    if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer) or epoch < 0:
        raise CheckpointError(f"epoch must be an integer >= 0, received {shown(epoch)}")
    if getattr(optimizer, "_evaluating", False):
        raise CheckpointError(
            "the parameters are set for evaluation: save outside of optimizer.evaluation(), or, for these parameters "
            "alone, with optimizer=None"
        )
    arrays: dict[str, Any] = {}
    parameters: State = {}
    for parameter, owner in named_rows(optimizer, layers):
        name, ((param, _), states) = parameter.path, parameter.value
        slots = tuple(owner.slots) if owner is not None else tuple(str(k) for k in range(len(states)))
        if len(states) not in (0, len(slots)):
            raise CheckpointError(
                f"parameter {name!r} has {len(states)} state arrays, {owner.classnm} keeps {len(slots)} "
                f"({', '.join(slots) or 'none'}): another optimizer wrote them"
            )
        parameters[name] = {"optimizer": rule_name(owner), "slots": list(slots)}
        if states and owner is not None and _is_evaluated_otherwise(owner, slots):
            parameters[name]["evaluated"] = [parameter.layer, parameter.layer_class, parameter.name]
        found = {name: param, **{f"{name}/{slot}": state for slot, state in zip(slots, states, strict=False)}}
        if found.keys() & arrays.keys():
            raise CheckpointError(f"two arrays have the name {min(found.keys() & arrays.keys())!r}")
        arrays |= {key: value if isinstance(value, Share) else to_host(value) for key, value in found.items()}
    own = model.get_arrays() if hasattr(model, "get_arrays") else {}
    if own.keys() & arrays.keys():
        raise CheckpointError(f"two arrays have the name {min(own.keys() & arrays.keys())!r}")
    arrays |= {key: to_host(value) for key, value in own.items()}
    described = _described(model)
    state = {
        "written_by": f"neon_optim {__version__}",
        "epoch": int(epoch),
        "optimizer": _described(optimizer),
        "parameters": parameters,
        "backend": backend_state(getattr(optimizer, "be", None) or NervanaObject.be),
        "model": described and {**described, "arrays": sorted(own)},
        "extra": extra,
    }
    try:
        return arrays, encode(state)
    except RecursionError:
        raise CheckpointError("extra, or a description, is nested without end") from None


def parse(state: State, file: str) -> TrainingState:
    """Check the JSON part of a file; ``file`` is its name in errors."""
    state = decode(state)
    nothing = type(None)

    def refuse(where: str, value: Any) -> NoReturn:
        raise CheckpointError(f"{file}: not a checkpoint of a training run: {where} is {shown(value)}")

    def take(source: Mapping[str, Any], key: str, kinds: Any, where: str = "") -> Any:
        value = source.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            refuse(where + key, value)
        return value

    optimizer = take(state, "optimizer", (dict, nothing)) or {"description": None, "counters": {}}
    description = take(optimizer, "description", (dict, nothing), "optimizer.")
    if description is not None:
        take(description, "type", str, "optimizer.description.")
        take(description, "config", (dict, nothing), "optimizer.description.")
    model = take(state, "model", (dict, nothing))
    for key in ("description", "counters") if model is not None else ():
        take(model, key, (dict, nothing), "model.")
    own = take(model, "arrays", (list, nothing), "model.") if model is not None else None
    if not all(isinstance(name, str) for name in own or ()):
        refuse("model.arrays", own)
    backend = take(state, "backend", (dict, nothing))
    kinds = {"type": str, "rng_seed": int, "noise_seed": int}
    for key, kind in kinds.items() if backend is not None else ():
        take(backend, key, (kind, nothing), "backend.")
    metrics = take(state, "metrics", (dict, nothing)) or {}
    for name, value in metrics.items():
        if not isinstance(value, int | float | None) or isinstance(value, bool):
            refuse(f"metrics[{name!r}]", value)
    records = {}
    for name, record in take(state, "parameters", dict).items():
        where = f"parameters[{name!r}]"
        if not isinstance(record, dict):
            refuse(where, record)
        slots = take(record, "slots", list, where + ".")
        if not all(isinstance(slot, str) for slot in slots):
            refuse(f"{where}.slots", slots)
        place = take(record, "evaluated", (list, nothing), where + ".")
        if place is not None and [type(part) for part in place] not in ([str, str, str], [str, nothing, str]):
            refuse(f"{where}.evaluated", place)
        rule = take(record, "optimizer", (str, nothing), where + ".")
        records[name] = ParameterRecord(rule, tuple(slots), None if place is None else tuple(place))
    return TrainingState(
        epoch=take(state, "epoch", int),
        description=description,
        counters=take(optimizer, "counters", dict, "optimizer."),
        parameters=records,
        backend=backend,
        model=model,
        extra=state.get("extra"),
        written_by=take(state, "written_by", str),
        step=take(state, "step", (int, nothing)),
        metrics=metrics,
    )


def held_whole(arrays: Mapping[str, np.ndarray | Share]) -> Arrays:
    """Arrays of :func:`capture` for one process to write.

    Raises:
        CheckpointError: it holds less than all of one.
    """
    found: Arrays = {}
    for name, array in arrays.items():
        if not isinstance(array, Share):
            found[name] = array
        elif array.is_partial:
            raise CheckpointError(
                f"of array {name!r} this process holds the elements from {array.start:,} to {array.stop:,} of "
                f"{array.size:,}: those that have the rest save a sharded checkpoint with it (docs/checkpoints.md)"
            )
        else:
            found[name] = to_host(array.values).reshape(array.shape)
    return found


def named_rows(optimizer: Any, layers: Any) -> list[tuple[NamedParameter, Any]]:
    """(parameter with its name, rule that updates it) for each parameter of ``layers``."""
    if optimizer is None:
        return [(parameter, None) for parameter in named_parameters(layers)]
    rows: list[tuple[NamedParameter, Any]] = optimizer.named_parameters(layers)
    return rows


def _is_evaluated_otherwise(owner: Any, slots: tuple[str, ...]) -> bool:
    """Whether a rule has other weights to evaluate with than the parameter's own."""
    return owner.evaluated(*(Symbol(slot, index) for index, slot in enumerate(("param", *slots)))) is not None


def rule_name(owner: Any) -> str | None:
    """What keeps a state: the full name of an optimizer's class, with that of the one that it wraps."""
    if owner is None:
        return None
    inner = getattr(owner, "optimizer", None)
    return f"{owner.modulenm}({rule_name(inner)})" if hasattr(inner, "modulenm") else str(owner.modulenm)


def same_rule(one: str | None, other: str | None) -> bool:
    """Do two :func:`rule_name` name the same classes? A class keeps its name in files when its module moves."""
    return one == other or (one is not None and other is not None and _today(one) == _today(other))


def _today(rule: str) -> str:
    """A rule name with every class by the path that it has in this version, as far as it is known."""
    return re.sub(r"[^()]+", lambda match: _path_of(match[0]), rule)


def _path_of(name: str) -> str:
    try:
        return registry.full_name(registry.resolve(name, "optimizer"))
    except RegistryError:
        return name


def described_rule(description: Mapping[str, Any] | None) -> str | None:
    """:func:`rule_name` of the optimizer that a description stands for."""
    if description is None:
        return None
    config, name = description.get("config"), str(description.get("type"))
    inner = config.get("optimizer") if isinstance(config, dict) else None
    return f"{name}({described_rule(inner)})" if isinstance(inner, dict) else name


def to_host(value: Any) -> np.ndarray:
    """A NumPy array with the contents of an array or a tensor; shares memory where it can."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "asnumpyarray"):
        return np.asarray(value.asnumpyarray())
    return np.asarray(value.get() if hasattr(value, "get") else value)


def dtype_of(value: Any) -> np.dtype:
    """The NumPy type of an array or a tensor, of another library's too, in the machine's byte order."""
    try:
        dtype = np.dtype(value.dtype)
    except TypeError:
        dtype = np.asarray(value).dtype
    return dtype.newbyteorder("=")


def backend_state(be: Any) -> State | None:
    """The random numbers of a backend: state of its generator, key of the counter-based ones."""
    if be is None or not hasattr(be, "rng_get_state"):
        return None
    return {
        "type": getattr(be, "name", type(be).__name__),
        "rng_seed": getattr(be, "rng_seed", None),
        "noise_seed": getattr(be, "noise_seed", None),
        "rng": plain(list(be.rng_get_state())),
    }


def restore_backend(be: Any, state: State, file: str) -> None:
    """Set the random numbers of ``be`` to those of :func:`backend_state`."""
    rng, noise_seed = state.get("rng"), state.get("noise_seed")
    if rng is not None:
        be.rng_set_state(mersenne_twister(rng, file))
    if noise_seed is not None and hasattr(be, "noise_seed"):
        if not 0 <= noise_seed < 2**32:
            raise CheckpointError(f"{file}: the seed of the random numbers is damaged: {shown(noise_seed)}")
        be.noise_seed = noise_seed


def mersenne_twister(state: Any, file: str) -> tuple:
    """What ``RandomState.set_state`` takes, checked in full: NumPy reads outside of its memory at a wrong position."""
    if isinstance(state, list | tuple) and len(state) == 5:
        kind, keys, position, has_gauss, gauss = state
        words = keys.tolist() if isinstance(keys, np.ndarray) else keys
        if (
            kind == "MT19937"
            and isinstance(words, list)
            and len(words) == 624
            and all(type(word) is int and 0 <= word < 2**32 for word in words)
            and (type(position) is int and 0 <= position <= 624)
            and (type(has_gauss) is int and has_gauss in (0, 1))
            and type(gauss) is float
        ):
            return kind, np.array(words, np.uint32), position, has_gauss, gauss
    raise CheckpointError(
        f"{file}: the state of the random numbers is damaged, or not one of MT19937: {shown(state)}"
    )


def encode(value: Any, path: str = "state") -> Any:
    """``value`` with the floats that JSON does not have as ``{"$float": …}``; tuples become lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(float(value))}
    if isinstance(value, list | tuple):
        return [encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        if _FLOAT in value:
            raise CheckpointError(f"{path} has the key {_FLOAT!r}, which is reserved")
        return {key: encode(item, f"{path}.{key}") for key, item in value.items()}
    return value


def decode(value: Any) -> Any:
    """The opposite of :func:`encode`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {_FLOAT} and value[_FLOAT] in ("nan", "inf", "-inf"):
            return float(value[_FLOAT])
        return {key: decode(item) for key, item in value.items()}
    return value


def _described(thing: Any) -> State | None:
    """Description and counters of an optimizer or a model, as far as it has them."""
    if thing is None:
        return None
    description = thing.get_description() if hasattr(thing, "get_description") else None
    counters = thing.get_counters() if hasattr(thing, "get_counters") else {}
    return {"description": plain(description), "counters": plain(counters)}
