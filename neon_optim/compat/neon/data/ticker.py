"""neon's tasks of the Neural Turing Machine: minibatches that are made up, sequences of one length in each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from neon_optim.described.object import NervanaObject

__all__ = ["CopyTask", "PrioritySortTask", "RepeatCopyTask", "Task", "Ticker"]


class Task(NervanaObject):
    """Sequences of random bits, and what is to be made of them.

    All numbers come from NumPy's global generator, as in neon.

    Arguments:
        seq_len_max: most vectors of a sequence.
        vec_size: bits of a vector.
        channels: rows of the inputs beside those of the bits.
        outputs: rows of the outputs beside those of the bits.

    Attributes:
        nin, nout: rows of the inputs and outputs.
        time_steps_func: steps of a task, of its length (and count).
        time_steps_max: most steps; those of a minibatch that are not used are masked.

    References:
        Graves, Wayne and Danihelka, Neural Turing machines, 2014.
    """

    time_steps_func: Callable[..., int]
    time_steps_max: int

    def __init__(self, seq_len_max: int, vec_size: int, channels: int, outputs: int = 0):
        super().__init__(name=None)
        self.seq_len_max = seq_len_max
        self.vec_size = vec_size
        self.nin = vec_size + channels
        self.nout = vec_size + outputs

    def set_steps(self, steps: Callable[..., int], *most: int) -> None:
        """Say how many steps a task takes, and what it takes at most."""
        self.time_steps_func = steps
        self.time_steps_max = steps(*most)
        self.max_columns = self.time_steps_max * self.be.bsz

    @abstractmethod
    def synthesize(self, in_tensor: Any, out_tensor: Any, mask: Any) -> None:
        """Make up a minibatch.

        Arguments:
            in_tensor, out_tensor, mask: tensors that are filled: inputs, outputs, and 1 for the steps that are used.
        """

    def fetch_io(self, time_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Zeros for the inputs and outputs of so many steps."""
        columns = time_steps * self.be.bsz
        return np.zeros((self.nin, columns)), np.zeros((self.nout, columns))

    def fill_buffers(
        self,
        time_steps: int,
        inputs: np.ndarray,
        outputs: np.ndarray,
        in_tensor: Any,
        out_tensor: Any,
        mask: Any,
    ) -> None:
        """Fill the tensors of a minibatch; what is behind its steps is 0."""
        columns = time_steps * self.be.bsz
        for array, tensor in ((inputs, in_tensor), (outputs, out_tensor)):
            whole = np.zeros((len(array), self.max_columns))
            whole[:, :columns] = array
            tensor.set(whole)
        mask[:, :columns] = 1
        if columns < self.max_columns:
            mask[:, columns:] = 0

    def _begun(self, seq_len: int, time_steps: int, begin: int, end: int, mark: float = 1) -> Any:
        """Inputs with their marks for the beginning and end of a sequence, outputs, and the columns between."""
        size = self.be.bsz
        inputs, outputs = self.fetch_io(time_steps)
        stop = size * (seq_len + 1)
        inputs[begin, :size] = 1
        inputs[end, stop : stop + size] = mark
        return inputs, outputs, slice(size, stop)


class CopyTask(Task):
    """Give a sequence of vectors back.

    Arguments:
        seq_len_max: most vectors of a sequence.
        vec_size: bits of a vector.
    """

    def __init__(self, seq_len_max: int, vec_size: int):
        super().__init__(seq_len_max, vec_size, channels=2)
        self.set_steps(lambda length: 2 * length + 2, seq_len_max)

    def synthesize(self, in_tensor: Any, out_tensor: Any, mask: Any) -> None:
        """Make up a minibatch; see :class:`Task`."""
        seq_len = np.random.randint(1, self.seq_len_max + 1)
        time_steps = self.time_steps_func(seq_len)
        inputs, outputs, between = self._begun(seq_len, time_steps, begin=-2, end=-1)
        sequence = np.random.randint(2, size=(self.vec_size, seq_len * self.be.bsz))
        inputs[: self.vec_size, between] = sequence
        outputs[:, self.be.bsz * (seq_len + 2) :] = sequence
        self.fill_buffers(time_steps, inputs, outputs, in_tensor, out_tensor, mask)


class RepeatCopyTask(Task):
    """Give a sequence of vectors back several times, then a mark.

    Arguments:
        seq_len_max: most vectors of a sequence.
        repeat_count_max: most times.
        vec_size: bits of a vector.
    """

    def __init__(self, seq_len_max: int, repeat_count_max: int, vec_size: int):
        super().__init__(seq_len_max, vec_size, channels=2, outputs=1)
        self.repeat_count_max = repeat_count_max
        self.set_steps(lambda length, count: length * (count + 1) + 3, seq_len_max, repeat_count_max)

    def synthesize(self, in_tensor: Any, out_tensor: Any, mask: Any) -> None:
        """Make up a minibatch; see :class:`Task`."""
        size = self.be.bsz
        seq_len = np.random.randint(1, self.seq_len_max + 1)
        count = np.random.randint(1, self.repeat_count_max + 1)
        time_steps = self.time_steps_func(seq_len, count)
        inputs, outputs, between = self._begun(seq_len, time_steps, begin=-2, end=-1, mark=count)
        sequence = np.random.randint(2, size=(self.vec_size, seq_len * size))
        inputs[: self.vec_size, between] = sequence
        first = size * (seq_len + 2)
        outputs[:-1, first : first + count * sequence.shape[1]] = np.tile(sequence, count)
        outputs[-1, -size:] = 1
        self.fill_buffers(time_steps, inputs, outputs, in_tensor, out_tensor, mask)


class PrioritySortTask(Task):
    """Give a sequence of vectors back in the order of their priorities, which are a further row of the inputs.

    Arguments:
        seq_len_max: most vectors of a sequence.
        vec_size: bits of a vector.
    """

    def __init__(self, seq_len_max: int, vec_size: int):
        super().__init__(seq_len_max, vec_size, channels=3)
        self.set_steps(lambda length: 2 * length + 2, seq_len_max)

    def synthesize(self, in_tensor: Any, out_tensor: Any, mask: Any) -> None:
        """Make up a minibatch; see :class:`Task`."""
        size = self.be.bsz
        seq_len = np.random.randint(1, self.seq_len_max + 1)
        time_steps = self.time_steps_func(seq_len)
        inputs, outputs, between = self._begun(seq_len, time_steps, begin=-3, end=-2)
        sequence = np.random.randint(2, size=(self.nin, seq_len * size)).astype(float)
        sequence[-3:] = 0
        sequence[-1] = np.random.uniform(-1, 1, size=seq_len * size)
        inputs[:, between] = sequence
        for sample in range(size):
            own = sequence[:, sample::size]
            own[:] = own[:, own[-1].argsort()]
        outputs[:, size * (seq_len + 2) :] = sequence[: self.nout]
        self.fill_buffers(time_steps, inputs, outputs, in_tensor, out_tensor, mask)


class Ticker(NervanaObject):
    """100 minibatches of a task, made up anew each time.

    Arguments:
        task: the task.
    """

    def __init__(self, task: Any):
        super().__init__(name=None)
        self.task = task
        self.batch_index = 0
        self.nbatches = 100
        self.ndata = self.nbatches * self.be.bsz
        self.nout = task.nout
        self.nin = task.nin
        self.shape = (self.nin, task.time_steps_max)
        self.dev_X = self.be.iobuf(self.shape)
        self.dev_y, self.mask = (self.be.iobuf((self.nout, task.time_steps_max)) for _ in range(2))

    def reset(self) -> None:
        """Nothing: no minibatch comes twice."""

    def __iter__(self) -> Iterator[tuple[Any, tuple[Any, Any]]]:
        """Pairs (inputs, (outputs, mask))."""
        self.batch_index = 0
        while self.batch_index < self.nbatches:
            self.task.synthesize(self.dev_X, self.dev_y, self.mask)
            self.batch_index += 1
            yield self.dev_X, (self.dev_y, self.mask)
