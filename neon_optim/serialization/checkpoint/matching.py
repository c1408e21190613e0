"""Fits the arrays of a file to the parameters of layers, by name: first all are compared, then all are set."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from neon_optim.described.object import NervanaObject
from neon_optim.errors import CheckpointError, NeonOptimError, printable
from neon_optim.serialization.checkpoint.share import Share
from neon_optim.serialization.checkpoint.stored import StoredArray
from neon_optim.serialization.checkpoint.training_state import (
    ParameterRecord,
    TrainingState,
    backend_state,
    described_rule,
    dtype_of,
    named_rows,
    restore_backend,
    rule_name,
    same_rule,
)
from neon_optim.stepping.states import is_narrow

_LISTED = 8


class Matching:
    """What of a file fits where.

    Attributes:
        missing, unexpected, mismatched: as in :class:`neon_optim.serialization.checkpoint.checkpoint.Checkpoint`.
    """

    def __init__(
        self,
        file: str,
        arrays: Mapping[str, np.ndarray | StoredArray],
        found: TrainingState,
        rename: Mapping[str, str],
        reset_state: bool,
        evaluated: Mapping[str, np.ndarray],
    ) -> None:
        self.file = file
        self.arrays = arrays
        self.evaluated = evaluated
        self.found = found
        self.reset_state = reset_state
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.mismatched: dict[str, str] = {}
        self._checks: list[Callable[[], None]] = []
        self._actions: list[Callable[[], None]] = []
        self._sources = self._renamed(rename)

    def _renamed(self, rename: Mapping[str, str]) -> dict[str, str]:
        """Name in the layers → name in the file, for every parameter of the file and every array that layers keep."""
        names = [*self.found.parameters, *((self.found.model or {}).get("arrays") or ())]
        found: dict[str, str] = {}
        for source in names:
            renamed = [_translate(old, new, source) for old, new in rename.items()]
            target = next((name for name in renamed if name is not None), source)
            if target in found:
                raise CheckpointError(
                    f"rename makes both {found[target]!r} and {source!r} of {self.file} {target!r}"
                )
            found[target] = source
        unused = [
            old for old, new in rename.items() if all(_translate(old, new, name) is None for name in names)
        ]
        if unused:
            raise CheckpointError(
                f"rename: {unused[0]!r} matches no parameter of {self.file}: {_listed(names)}"
            )
        return found

    def check_optimizer(self, optimizer: Any) -> None:
        """Refuse an optimizer of another class than the one that wrote the file."""
        written, wanted = described_rule(self.found.description), str(rule_name(optimizer))
        if written is None:
            raise CheckpointError(
                f"{self.file} holds no state of an optimizer. Pass reset_state=True to load the parameters and start "
                f"{optimizer.classnm} fresh."
            )
        if not same_rule(written, wanted):
            self._refuse(written, wanted, "")

    def _refuse(self, written: str, wanted: str, where: str) -> None:
        written, wanted = printable(_short(written)), _short(wanted)
        raise CheckpointError(
            f"{self.file}: its optimizer state{where} was written by {written} and cannot go on under {wanted}. Use "
            f"{written}, or pass reset_state=True to load the parameters and start {wanted} fresh."
        )

    def match(self, optimizer: Any, layers: Any) -> None:
        """Compare every parameter of ``layers``, and its state, with the file."""
        wanted = set()
        for parameter, owner in named_rows(optimizer, layers):
            name, ((param, grad), states) = parameter.path, parameter.value
            wanted.add(name)
            source = self._sources.get(name)
            if source is None or source not in self.arrays or source not in self.found.parameters:
                self.missing.append(name)
                continue
            self._match_array(name, param, self.evaluated.get(source, self.arrays[source]))
            if self.reset_state or source in self.evaluated:
                self._actions.append(states.clear)
            else:
                self._match_states(name, source, param, grad, states, owner)
        self._expect(wanted, self.found.parameters)

    def match_arrays_of(self, model: Any, inference: bool) -> None:
        """Compare the arrays that layers keep beside their parameters with the file.

        Arguments:
            inference: only those that outputs outside of training depend on; for the others the file may have any.
        """
        wanted = model.get_arrays(inference)
        written = self.found.model or {}
        names = written.get("arrays") or ()
        needed = model.get_arrays(True) if written.get("starts_anew") else wanted
        for name, array in wanted.items():
            source = self._sources.get(name)
            if source is not None and source in names and source in self.arrays:
                self._match_array(name, array, self.arrays[source])
            elif name in needed:
                self.missing.append(name)
            else:  # what goes on from minibatch to minibatch, in a file that does not have it
                self._actions.append(partial(array.fill, 0.0))
        self._expect(model.get_arrays() if inference else wanted, names)

    def _expect(self, wanted: Collection[str], names: Collection[str]) -> None:
        """Note which of some names in the file nobody wants."""
        self.unexpected += [
            source for name, source in self._sources.items() if source in names and name not in wanted
        ]

    def _match_states(self, name: str, source: str, param: Any, grad: Any, states: list, owner: Any) -> None:
        record: ParameterRecord = self.found.parameters[source]
        slots = record.slots
        if owner is not None:
            if not same_rule(record.optimizer, rule_name(owner)):
                self._refuse(record.optimizer or "no optimizer", str(rule_name(owner)), f" for {source!r}")
            if slots != tuple(owner.slots):
                written = printable(", ".join(slots)) or "none"
                self.mismatched[name] = (
                    f"state {written} in the file, {', '.join(owner.slots) or 'none'} here"
                )
                return
        present = [slot for slot in slots if f"{source}/{slot}" in self.arrays]
        if not present:  # saved before the first step
            self._actions.append(states.clear)
            return
        if len(present) != len(slots):
            self.missing += [f"{name}/{slot}" for slot in slots if slot not in present]
            return
        if states and len(states) != len(slots):
            self.mismatched[name] = f"{len(slots)} state arrays in the file, {len(states)} here"
            return
        values = [self.arrays[f"{source}/{slot}"] for slot in slots]
        targets = list(states)
        if not targets:
            targets = [
                _new_state(owner, slot, param, grad, value) for slot, value in zip(slots, values, strict=True)
            ]
        fits = [
            self._match_array(f"{name}/{slot}", target, value)
            for slot, target, value in zip(slots, targets, values, strict=True)
        ]
        if not all(fits):
            del self._actions[len(self._actions) - sum(fits) :]  # the state of a parameter is restored whole
        elif not states:
            self._actions.append(lambda: states.extend(targets))

    def _match_array(self, name: str, target: Any, value: np.ndarray | StoredArray) -> bool:
        """Plan to copy ``value`` into ``target``, or note why that cannot be.

        Of what is still in its files, only what ``target`` takes will be read, and is verified before anything is set.
        """
        held = target if isinstance(target, Share) else Share(target, target.shape, 0)
        store = _store_into(held.values)
        shape = tuple(int(n) for n in target.shape)
        if store is None:
            self.mismatched[name] = "the array here cannot be written"
        elif dtype_of(target) != value.dtype:
            self.mismatched[name] = f"dtype {value.dtype} in the file, {dtype_of(target)} here"
        elif _as_2d(shape) != _as_2d(value.shape):
            self.mismatched[name] = f"shape {value.shape} in the file, {shape} here"
        else:
            if isinstance(value, StoredArray):
                self._checks.append(partial(value.check, held.start, held.stop))
            self._actions.append(lambda: _set(held, value, store))
            return True
        return False

    def require_all(self) -> None:
        """Raise an error that lists everything that does not fit."""
        if not (self.missing or self.unexpected or self.mismatched):
            return
        lines = [f"{self.file} does not fit; nothing was changed:"]
        if self.missing:
            lines.append(f"  missing in the file ({len(self.missing)}): {_listed(self.missing)}")
        if self.unexpected:
            lines.append(f"  not in the layers ({len(self.unexpected)}): {_listed(self.unexpected)}")
        for name, difference in list(self.mismatched.items())[:_LISTED]:
            lines.append(f"  {printable(name)}: {difference}")
        if len(self.mismatched) > _LISTED:
            lines.append(f"  and {len(self.mismatched) - _LISTED} more that differ")
        lines.append("rename={'old/*': 'new/*'} translates names; strict=False restores what fits.")
        raise CheckpointError("\n".join(lines))

    def apply(self, optimizer: Any, model: Any, be: Any) -> None:
        """Set what fits: counters and random numbers, which may still refuse, then arrays, which cannot."""
        for check in self._checks:
            check()
        undo: list[Callable[[], None]] = []
        try:
            if optimizer is not None and not self.reset_state:
                self._set_counters(optimizer, self.found.counters, undo)
                before = backend_state(be)
                if before is not None and self.found.backend is not None:
                    undo.append(lambda: restore_backend(be, before, self.file))
                    restore_backend(be, self.found.backend, self.file)
            if model is not None and hasattr(model, "set_counters") and self.found.model is not None:
                self._set_counters(model, self.found.model.get("counters") or {}, undo)
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        for action in self._actions:
            action()

    def _set_counters(self, thing: Any, counters: dict[str, Any], undo: list[Callable[[], None]]) -> None:
        before = thing.get_counters()
        undo.append(lambda: thing.set_counters(before))
        try:
            thing.set_counters(counters)
        except Exception as error:  # whatever a class makes of counters that are not its own
            reason = error if isinstance(error, NeonOptimError) else repr(error)
            raise CheckpointError(
                f"{self.file}: counters do not fit {type(thing).__name__}: {reason}"
            ) from error


def _new_state(owner: Any, slot: str, param: Any, grad: Any, value: np.ndarray | StoredArray) -> Any:
    """An array for a state that the layers do not have yet, of the kind that a first step would make.

    Where the optimizer leaves its type open, a state goes on in the 16 bits that an older version has kept it in.
    """
    be = NervanaObject.be
    if be is None:
        return np.zeros(value.shape, value.dtype)
    if owner is not None:
        made = owner.new_state(slot, param, grad)
        as_before = is_narrow(grad) and dtype_of(grad) == value.dtype
        if owner.algorithm.state_dtype is not None or not as_before:
            return made
    return be.zeros(value.shape, value.dtype)


def _store_into(target: Any) -> Callable[[np.ndarray], Any] | None:
    """What copies an array of the same dtype and shape into ``target``; None where that is impossible."""
    if isinstance(target, np.ndarray):
        shared = target
    elif hasattr(target, "set"):
        return target.set
    elif hasattr(target, "get"):  # a tensor of another backend
        return lambda value: target.__setitem__(slice(None), value)
    else:
        shared = np.asarray(target)
        if shared.size and not np.shares_memory(shared, np.asarray(target)):
            return None
    return (lambda value: np.copyto(shared, value, casting="equiv")) if shared.flags.writeable else None


def _set(held: Share, value: np.ndarray | StoredArray, store: Callable[[np.ndarray], Any]) -> None:
    """Put the elements of ``value`` that a process holds where it holds them; from a file without other memory, where
    that is host memory."""
    shape = tuple(int(n) for n in held.values.shape)
    if not isinstance(value, StoredArray):
        store(value.reshape(-1)[held.start : held.stop].reshape(shape))
        return
    own = _host_memory(held.values)
    if own is not None and own.dtype == value.dtype and own.flags.c_contiguous:
        value.read(held.start, held.stop, own.reshape(-1))
    else:
        store(value.read(held.start, held.stop).reshape(shape))


def _host_memory(target: Any) -> np.ndarray | None:
    """The writable memory of an array or a tensor; None where it is elsewhere."""
    if isinstance(target, np.ndarray) or not hasattr(target, "__array__"):
        return target if isinstance(target, np.ndarray) else None
    first, second = np.asarray(target), np.asarray(target)
    return first if first.flags.writeable and np.shares_memory(first, second) else None


def _translate(pattern: str, replacement: str, name: str) -> str | None:
    """``name`` after ``old/*`` → ``new/*``; None where the pattern does not match."""
    if "*" not in pattern:
        return replacement if name == pattern else None
    head, tail = pattern.split("*", 1)
    if len(name) < len(head) + len(tail) or not (name.startswith(head) and name.endswith(tail)):
        return None
    return replacement.replace("*", name[len(head) : len(name) - len(tail)], 1)


def _as_2d(shape: Sequence[int]) -> tuple[int, ...]:
    dimensions = tuple(int(n) for n in shape)
    return dimensions + (1,) * (2 - len(dimensions))


def _short(name: str) -> str:
    """Class names without their modules."""
    return re.sub(r"[\w.]*\.", "", name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more
