"""One CUDA device: its context, memory and compiled kernels. Everything this package asks of PyCUDA is asked here.

PyCUDA is imported when the first device is opened, never with the package.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.backends.gpu.contexts import DeviceContext
from neon_optim.backends.gpu.images import load_image, save_image
from neon_optim.backends.gpu.owned_memory import MirroredMemory, OwnedMemory
from neon_optim.errors import BackendError

__all__ = ["Device", "open_driver"]

FLAGS = ("-fmad=false", "-prec-sqrt=true", "-prec-div=true", "-ftz=false", "-w")
"""IEEE arithmetic, so that results equal the CPU engines' bit for bit."""

_NAMED = 8
"""Kernels that the message of a fault names at most."""

_CLOSED = "the GPU backend has been closed; call gen_backend('gpu') again"

INSTALL = 'pip install "neon_optim[gpu]" (docs/gpu.md says what it needs)'


def open_driver() -> Any:
    """PyCUDA's driver module, initialized.

    Raises:
        BackendError: PyCUDA, the CUDA driver or a device is missing; the message says what to install.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != "pycuda":
            raise
        raise BackendError(f"the GPU backend needs PyCUDA, which is not installed: {INSTALL}") from None
    except ImportError as error:
        raise BackendError(
            f"PyCUDA cannot be loaded ({error}): is the NVIDIA driver (libcuda.so.1) installed?"
        ) from error
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise BackendError(f"the CUDA driver does not start ({error}): see nvidia-smi") from error
    if not count:
        raise BackendError("the CUDA driver finds no device: see nvidia-smi and CUDA_VISIBLE_DEVICES")
    return cuda


class Kernel:
    """A compiled kernel, called with (grid, block, arguments as packed bytes)."""

    def __init__(self, device: Device, name: str, call: Callable[..., object]):
        self._device = device
        self._name = name
        self._call: Callable[..., object] | None = call

    def __call__(self, grid: int, block: int, arguments: bytes) -> None:
        device, call = self._device, self._call
        device.launching(self._name)
        try:
            call((grid, 1), (block, 1, 1), arguments)  # type: ignore[misc]
        except device.error_type as error:
            raise device.fault(error) from error

    def unload(self) -> None:
        """Give its code back."""
        self._call = None


class Device:
    """A device in use, from opening to :meth:`close`.

    A context that is current already (PyTorch's, CuPy's, PyCUDA's own) is shared; else the device's primary context,
    which those libraries use too, becomes current until :meth:`close`. A fault of the device, which may show long after
    the launch that caused it, is a :class:`BackendError` with the names of the kernels that may have.

    Attributes:
        context: ``with`` it, the context is current: in any thread, and where another library's was.
        name: as the driver gives it.
        multiprocessors: number of them; launches are sized by it.
        compute_capability: major and minor number.
    """

    def __init__(self, device_id: int = 0):
        self._cuda = open_driver()
        self.error_type: type[Exception] = self._cuda.Error
        count = self._cuda.Device.count()
        if isinstance(device_id, bool) or not isinstance(device_id, int) or not 0 <= device_id < count:
            raise BackendError(f"device_id must be an integer from 0 to {count - 1}, received {device_id!r}")
        handle = self._cuda.Device(device_id)
        self.device_id = device_id
        self.name = handle.name()
        self.multiprocessors = handle.get_attribute(self._cuda.device_attribute.MULTIPROCESSOR_COUNT)
        self.compute_capability: tuple[int, int] = handle.compute_capability()
        self._architecture = "sm_{}{}".format(*self.compute_capability)
        self.context = DeviceContext(self._cuda, handle)
        self._launched: deque[str] = deque(maxlen=_NAMED)  # since the host last waited
        self._pool = importlib.import_module("pycuda.tools").DeviceMemoryPool()
        self._kernels: dict[tuple[str, str, int], Kernel] = {}
        atexit.register(self.close)  # PyCUDA aborts the process if a context is still current when it ends

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._pool is None

    def close(self) -> None:
        """Give back memory that no tensor holds, and the context if this object made it current."""
        atexit.unregister(self.close)
        if self._pool is None:
            return
        with self.context:
            self._pool.stop_holding()
            self._pool = None
            for kernel in self._kernels.values():  # PyCUDA can unload them in this thread only
                kernel.unload()
            self._kernels.clear()
        if not self.context.leave():
            atexit.register(self.context.leave)  # by the thread that entered it

    # --- memory ---

    def allocate(self, size: int) -> OwnedMemory:
        """Device memory of ``size`` bytes; ``int()`` of it is the address. Freed when the last reference goes.

        Raises:
            BackendError: there is not so much free.
        """
        if self._pool is None:
            raise BackendError(_CLOSED)
        with self._faults():
            try:
                return OwnedMemory(self.context, self._pool.allocate(max(size, 1)))
            except self._cuda.MemoryError:
                self._pool.free_held()
            try:
                return OwnedMemory(self.context, self._pool.allocate(max(size, 1)))
            except self._cuda.MemoryError:
                free, total = self._cuda.mem_get_info()
            raise BackendError(
                f"out of memory on device {self.device_id} ({self.name}): {size:,} bytes are needed, "
                f"{free:,} of {total:,} are free"
            ) from None

    def upload(self, address: int, source: np.ndarray) -> None:
        """Copy a contiguous host array to the device."""
        if source.nbytes:
            with self._faults():
                self._cuda.memcpy_htod(address, source)

    def download(self, target: np.ndarray, address: int) -> None:
        """Copy from the device into a contiguous host array, after all work before it."""
        with self._faults():
            if target.nbytes:
                self._cuda.memcpy_dtoh(target, address)
            else:
                self._cuda.Context.synchronize()
        self._launched.clear()

    def zero(self, address: int, size: int) -> None:
        """Set bytes to 0."""
        with self._faults():
            self._cuda.memset_d8(address, 0, size)

    def constant(self, values: np.ndarray) -> OwnedMemory:
        """Device memory with a copy of a host array."""
        memory = self.allocate(values.nbytes)
        self.upload(int(memory), np.ascontiguousarray(values))
        return memory

    def mirror(self, n_words: int) -> tuple[np.ndarray, int]:
        """Words of host memory that kernels write, and their address on the device. Reading them waits for nothing."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP
        memory = MirroredMemory(
            self.context, self._cuda.pagelocked_zeros(n_words, np.uint64, mem_flags=flags)
        )
        return np.asarray(memory), int(memory)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        with self._faults():
            self._cuda.Context.synchronize()
        self._launched.clear()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Errors of the driver as this package's, which say what ran."""
        try:
            yield
        except self._cuda.Error as error:
            raise self.fault(error) from error

    def launching(self, name: str) -> None:
        """A kernel is about to be launched."""
        if self._pool is None:
            raise BackendError(_CLOSED)
        self._launched.append(name)

    def fault(self, error: Exception) -> BackendError:
        """An error of the driver as this package's."""
        names = ", ".join(dict.fromkeys(self._launched))
        where = f" in one of the last kernels ({names})" if names else ""
        return BackendError(
            f"device {self.device_id} ({self.name}) failed{where}: {error}. "
            "With CUDA_LAUNCH_BLOCKING=1 in the environment the error comes from the launch that caused it"
        )

    # --- kernels ---

    def kernel(self, source: str, name: str, argument_bytes: int) -> Kernel:
        """A kernel, compiled where it is not known yet.

        Raises:
            BackendError: nvcc is missing, or refuses the source.
        """
        key = (source, name, argument_bytes)
        known = self._kernels.get(key)
        if known is None:
            known = self._kernels[key] = self._compile(source, name, argument_bytes)
        return known

    def _compile(self, source: str, name: str, argument_bytes: int) -> Kernel:
        key = (source, *FLAGS, self._architecture, self.name)
        image = load_image(key)
        try:
            function = None if image is None else self._loaded(image, name)
            if function is None:
                image = self._machine_code(source)
                with self._faults():
                    function = self._cuda.module_from_buffer(image).get_function(name)
                save_image(key, image)
        except self._cuda.CompileError as error:
            folder = Path(tempfile.mkdtemp(prefix="neon_optim_cuda_"))
            (folder / f"{name}.cu").write_text(source)
            (folder / f"{name}.log").write_text(str(error))
            raise BackendError(
                f"the kernel {name} does not compile; source and messages are in {folder}"
            ) from error
        function.prepare(f"{argument_bytes}s")

        return Kernel(self, name, function.prepared_call)

    def _loaded(self, image: bytes, name: str) -> Any:
        """The kernel of an image that another process has kept; None where this driver does not take it."""
        try:
            return self._cuda.module_from_buffer(image).get_function(name)
        except self._cuda.Error:
            return None

    def _machine_code(self, source: str) -> bytes:
        if shutil.which("nvcc") is None:
            raise BackendError(
                "nvcc, the CUDA compiler, is not on PATH: install the CUDA toolkit, or put an installed one's bin "
                "folder on PATH (often /usr/local/cuda/bin)"
            )
        compiler = importlib.import_module("pycuda.compiler")
        image: bytes = compiler.compile(
            source, options=list(FLAGS), no_extern_c=True, arch=self._architecture, cache_dir=False
        )
        return image
