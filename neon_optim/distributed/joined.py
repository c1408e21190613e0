"""Parameters that processes update together: each of them keeps the state of its share."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Backend
from neon_optim.backends.cpu.host_plan import host_array
from neon_optim.backends.identity import same_objects
from neon_optim.backends.optree import Symbol
from neon_optim.backends.sums import CHUNK
from neon_optim.distributed.communicator import Communicator
from neon_optim.distributed.exchange import Exchange
from neon_optim.distributed.greeting import check_alike
from neon_optim.distributed.part_sums import PartSums
from neon_optim.distributed.shares import Span, share_out
from neon_optim.distributed.travel import AsTheyAre, InHalf
from neon_optim.distributed.tree import parts_of
from neon_optim.errors import BackendError, DistributedError, StateError
from neon_optim.serialization.checkpoint.share import Share
from neon_optim.stepping.binding import Binding
from neon_optim.stepping.numbers import Numbers
from neon_optim.stepping.parameters import NamedParameter, NamedParameters, Parameter, named_parameters
from neon_optim.stepping.part import Part
from neon_optim.stepping.rule import Rule
from neon_optim.stepping.states import is_narrow

__all__ = ["Joined"]


class Joined:
    """A list of parameters under one optimizer, on several processes.

    Every process has all parameters, and a row for each: of the elements that it keeps, or of none. So all of them
    have the same rules, count the same steps, and round as one process would.

    Arguments:
        comm: the processes.
        optimizer: what updates the parameters.
        layer_list, rows: the parameters, as they were given, and as tuples.
        parts: how many parts a minibatch is cut into.
        bucket: bytes that are under way at a time.
        compress: whether gradients travel in 16 bits.
        epoch: of the first step.
    """

    def __init__(
        self,
        comm: Communicator,
        optimizer: Any,
        be: Any,
        layer_list: Any,
        rows: Sequence[Parameter],
        parts: int,
        bucket: int,
        compress: bool,
        epoch: float,
    ) -> None:
        self.comm, self.be = comm, be
        self._optimizer = optimizer
        self.named = named_parameters(layer_list)
        self.rules: list[Rule] = [optimizer.rule_for(parameter) for parameter in self.named]
        self._rows = rows
        self._params = [pair[0] for pair, _ in rows]
        if not (isinstance(be, Backend) and be.takes_parts):
            raise BackendError(
                f"processes share out parameters in host memory only, not those of {type(be).__name__}: use the "
                "backend 'cpu'"
            )
        self.flats = [_Flat(param) for param in self._params]
        self._sizes = [flat.array.size for flat in self.flats]
        sums = [self._sum_type(grad) for (_, grad), _ in rows]
        weights = [1.0 + len(rule.slots) for rule in self.rules]
        whole = self._wholes(epoch)
        self.shares = share_out(self._sizes, weights, whole, comm.size)
        travel = InHalf(be, parts) if compress else AsTheyAre()
        self._sums = PartSums(parts_of(comm.rank, comm.size, parts), parts, sums, self._sizes, travel)
        values = [flat.array.dtype for flat in self.flats]
        self._exchange = Exchange(comm, self.shares, sums, values, parts, bucket, travel)
        self._gradients: dict[int, np.ndarray] = {}
        self.own = self._own_rows(sums, whole)
        self.binding = Binding(
            optimizer, be, self.own, [p.value for p in self.own], self if comm.size > 1 else None
        )
        self.samples = 0.0
        self._has_met = False

    def meet(self) -> None:
        """Before the first step: the other processes have the same parameters, and round by the same random numbers.

        Raises:
            DistributedError: a process has others.
        """
        if self._has_met or self.comm.size == 1:
            return
        check_alike(self.comm)
        self.be.noise_seed = self.comm.broadcast(self.be.noise_seed)
        mine = [
            [
                parameter.path,
                [*map(int, param.shape)],
                *(str(param.dtype), str(grad.dtype)),
                rule.classnm,
                hashlib.blake2b(flat.array.view(np.uint8).data, digest_size=8).hexdigest(),
            ]
            for parameter, ((param, grad), _), rule, flat in zip(
                self.named, self._rows, self.rules, self.flats, strict=True
            )
        ]
        for process, theirs in enumerate(self.comm.gather(mine)):
            if theirs != mine:
                raise DistributedError(_difference(self.comm.name_of(process), theirs, mine))
        self._has_met = True

    @staticmethod
    def _sum_type(grad: Any) -> np.dtype:
        """What gradients are added in: float32 where they have 16 bits."""
        return np.dtype(np.float32) if is_narrow(grad) else np.dtype(str(host_array(grad).dtype))

    def _wholes(self, epoch: float) -> list[bool]:
        """Which parameters have rules that need the whole tensor."""
        parts: dict[Rule, Part] = {rule: Part(rule) for rule in self.rules}
        needs = {
            rule: part.per_tensor or part.traced(rule.numbers(epoch, 1.0, True), False).program.reduces_rows
            for rule, part in parts.items()
        }
        return [needs[rule] for rule in self.rules]

    # --- rows ---

    def _own_rows(self, sums: Sequence[np.dtype], whole: Sequence[bool]) -> NamedParameters:
        """The rows of this process."""
        mine = {span.index: span for span in self.shares[self.comm.rank]}
        rows = NamedParameters()
        for k, parameter in enumerate(self.named):
            span = mine.get(k, Span(k, 0, 0))
            if span.size:
                self._gradients[k] = np.empty(span.size, sums[k])
            rows.append(self._own_row(parameter, span, sums[k], whole[k]))
        return rows

    def _own_row(
        self, parameter: NamedParameter, span: Span, sum_type: np.dtype, whole: bool
    ) -> NamedParameter:
        (param, _), states = parameter.value
        flat, size = self.flats[span.index].array, self._sizes[span.index]
        gradient = self._gradients.get(span.index, np.empty(0, sum_type))
        if span.size == size:  # all of it, or a tensor without elements
            shape = tuple(param.shape)
            pair = flat.reshape(shape), gradient.reshape(shape)
        elif whole:
            shape = (0, *tuple(param.shape)[1:])
            pair = flat[:0].reshape(shape), gradient.reshape(shape)
        else:
            pair = flat[span.start : span.stop], gradient
        own = states if self.comm.size == 1 else []
        return parameter._replace(value=(pair, own), start=span.start)

    def is_of(self, rows: Sequence[Parameter]) -> bool:
        """Whether these are the parameters."""
        return same_objects([pair[0] for pair, _ in rows], self._params)

    # --- a step ---

    @property
    def missing(self) -> int:
        """Parts of this process whose gradients have not been added."""
        return self._sums.missing

    @property
    def _step(self) -> int:
        """A number that each step has another of, and that a checkpoint restores."""
        return _steps_done(self._optimizer.get_counters())

    def add(self, rows: Sequence[Parameter], samples: float) -> None:
        """Take the gradient of the next part of this process, a sum over so many samples."""
        self.meet()
        if not self.missing:
            raise StateError(
                f"all {self._sums.count} parts of this process have been added already: call optimize()"
            )
        self._sums.add([_Flat(grad).array for (_, grad), _ in rows] if samples else None, self._step)
        self.samples += samples

    def step(self, rows: Sequence[Parameter], epoch: float, divides: bool) -> Numbers:
        """Join the gradients of all parts, update the own share, and bring the parameters together."""
        samples = float(self.comm.gather_numbers([self.samples]).sum())
        for flat in self.flats:
            flat.load()
        self._exchange.reduce(self._sums.nodes, self._gradients, self._step)
        self.clear()
        self.take_states(rows)
        default = None if self.binding.has_one_rule else self._optimizer.at(epoch)
        self.binding.is_of(self.be, self.own)
        now = self.binding.step(epoch, samples, divides or samples != 1)
        self.spread()
        return default or now[0][-1]

    def clear(self) -> None:
        """Forget the gradients that were added."""
        self._sums.clear()
        self.samples = 0.0

    def spread(self) -> None:
        """Bring the parameters together, each from those who keep it."""
        self._exchange.gather([flat.array for flat in self.flats])
        for flat in self.flats:
            flat.store()

    # --- state ---

    @property
    def are_evaluated_otherwise(self) -> bool:
        """Whether models are evaluated with other parameters than those that are trained."""
        return any(
            rule.evaluated(*map(Symbol, ("param", *rule.slots), itertools.count())) is not None
            for rule in set(self.rules)
        )

    def take_states(self, rows: Sequence[Parameter]) -> None:
        """Take over whole states that stand in the lists of the layers, and keep the own share of them."""
        if self.comm.size == 1:
            return
        for own, rule, (_, states), flat in zip(self.own, self.rules, rows, self.flats, strict=True):
            if not states:
                continue
            (param, grad), kept = own.value
            if len(states) != len(rule.slots):
                raise StateError(
                    f"{own.path}: the state list holds {len(states)} arrays, {rule.classnm} keeps {len(rule.slots)}"
                )
            made = [rule.new_state(slot, param, grad) for slot in rule.slots]
            for new, state in zip(made, states, strict=True):
                values = host_array(state).reshape(-1)
                target = host_array(new)
                if values.size == flat.array.size:
                    values = values[own.start : own.start + param.size]
                if target.size:
                    target[...] = values.reshape(target.shape)
            kept[:] = made
            states.clear()

    def named_rows(self) -> list[tuple[NamedParameter, Any]]:
        """Every parameter, with its share of the state, and the rule that updates it: what checkpoints are made of."""
        return [
            (parameter._replace(value=(parameter.value[0], _OwnStates(own, rule))), rule)
            for parameter, own, rule in zip(
                self.named, self.own, map(_SharedRule, self.rules, self.own, self._params), strict=True
            )
        ]

    # --- what the passes of a step ask the other processes ---

    def sum_of_chunks(self, indices: Sequence[int], sums: Sequence[np.ndarray]) -> float:
        """See :class:`neon_optim.stepping.others.Others`."""
        counts = [{span.index: -(-span.size // CHUNK) for span in share} for share in self.shares]
        sizes = [sum(count.get(k, 0) for k in indices) for count in counts]
        own = np.concatenate([np.zeros(0), *sums])
        arrays = self.comm.gather_arrays(own, sizes)
        places = [0] * self.comm.size
        total = 0.0
        for k in indices:
            of_tensor = 0.0
            for process, count in enumerate(counts):
                begin, n = places[process], count.get(k, 0)
                for value in arrays[process][begin : begin + n].tolist():
                    of_tensor += value
                places[process] = begin + n
            total += of_tensor
        return total

    def all_words(self, words: Sequence[str]) -> list[str]:
        """See :class:`neon_optim.stepping.others.Others`."""
        return [word for said in self.comm.gather(list(words)) for word in said]


class _SharedRule:
    """A rule whose new states are shares: those of the elements that this process keeps."""

    def __init__(self, rule: Rule, own: NamedParameter, param: Any) -> None:
        self._rule, self._own = rule, own
        self._shape = tuple(param.shape)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def share(self, slot: str, state: Any) -> Share:
        """A state as the share that it is."""
        return Share(state, self._rule.state_shape(slot, self._shape), self._own.start)

    def new_state(self, slot: str, param: Any, grad: Any) -> Share:
        """The first value of a state."""
        return self.share(slot, self._rule.new_state(slot, *self._own.value[0]))


class _OwnStates(list[Any]):
    """The states of a row, as shares. What is put here, or taken away, is so in the row."""

    def __init__(self, own: NamedParameter, rule: _SharedRule) -> None:
        self._states = own.value[1]
        super().__init__([rule.share(*pair) for pair in zip(rule.slots, self._states, strict=False)])

    def extend(self, shares: Any) -> None:
        super().extend(shares)
        self._states[:] = [share.values for share in self]

    def clear(self) -> None:
        super().clear()
        self._states.clear()


class _Flat:
    """All elements of an array, in C order, as an array of one axis: the memory itself, or a copy where it has gaps."""

    def __init__(self, value: Any) -> None:
        whole = host_array(value)
        self._gaps = not (whole.flags.c_contiguous and whole.flags.aligned and whole.dtype.isnative)
        self._whole = whole
        self.array = (
            whole.astype(whole.dtype.newbyteorder("=")).reshape(-1) if self._gaps else whole.reshape(-1)
        )

    def load(self) -> None:
        """Bring a copy up to date."""
        if self._gaps:
            self.array[:] = self._whole.reshape(-1)

    def store(self) -> None:
        """Bring the array up to date with its copy."""
        if self._gaps:
            self._whole[...] = self.array.reshape(self._whole.shape)


def _steps_done(counters: Mapping[str, Any]) -> int:
    """The steps of that optimizer which has done most."""
    inner = [_steps_done(value) for value in counters.values() if isinstance(value, Mapping)]
    return max([int(counters.get("t", 0)), *inner])


def _difference(name: str, theirs: Sequence[Any], mine: Sequence[Any]) -> str:
    """In what the parameters of two processes differ."""
    head = f"{name} has other parameters than this process"
    if len(theirs) != len(mine):
        return f"{head}: {len(theirs)} instead of {len(mine)}"
    kinds = ("name", "shape", "dtype", "dtype of the gradient", "rule")
    for one, other in zip(theirs, mine, strict=True):
        for what, a, b in zip(kinds, one, other, strict=False):
            if a != b:
                return f"{head}: the {what} of '{other[0]}' is {a} there, {b} here"
        if one != other:
            return f"{head}: '{other[0]}' has other values there; give all processes the same rng_seed"
    return head
