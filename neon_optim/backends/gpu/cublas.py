"""Matrix products by cuBLAS, where its library is installed; called through ctypes."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.backends.gpu.memory import address_of

__all__ = ["Cublas", "load_cublas"]

_NAMES = ("libcublas.so.13", "libcublas.so.12")
_SUCCESS = 0
_PLAIN, _TRANSPOSED = 0, 1
_GEMM = {
    np.dtype(np.float32): ("cublasSgemm_v2", ctypes.c_float),
    np.dtype(np.float64): ("cublasDgemm_v2", ctypes.c_double),
}


def load_cublas() -> Cublas | None:
    """cuBLAS for the current context, from the wheel nvidia-cublas or the system; None where there is none."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
            handle = ctypes.c_void_p()
            if library.cublasCreate_v2(ctypes.byref(handle)) == _SUCCESS:
                return Cublas(library, handle)
        except (OSError, AttributeError):  # not there, or something else of that name
            continue
    return None


def _candidates() -> list[str]:
    package = importlib.util.find_spec("nvidia")  # the namespace that NVIDIA's wheels share
    folders = [Path(place) for place in (package.submodule_search_locations or [])] if package else []
    wheels = [f / sub / "lib" / name for f in folders for sub in ("cu13", "cublas") for name in _NAMES]
    return [str(path) for path in wheels if path.exists()] + list(_NAMES)


class Cublas:
    """An open cuBLAS; results are those of its default mode, in which float32 is not rounded to TF32."""

    def __init__(self, library: Any, handle: ctypes.c_void_p):
        self._library = library
        self._handle = handle

    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> bool:
        """out = left · right for described matrices; False where their types or strides are not BLAS's."""
        known = _GEMM.get(out.dtype)
        if known is None or not out.dtype == left.dtype == right.dtype or not left.size or not right.size:
            return False
        places = [_leading(matrix) for matrix in (left, right, out)]
        if None in places or not out.flags.c_contiguous:
            return False
        (op_left, ld_left), (op_right, ld_right), (_, ld_out) = places  # type: ignore[misc]
        name, number = known
        rows, depth, columns = *left.shape, right.shape[1]
        # BLAS counts along columns: what it sees of row-major matrices is their transposes, out' = right' · left'.
        status = getattr(self._library, name)(
            self._handle,
            op_right,
            op_left,
            columns,
            rows,
            depth,
            ctypes.byref(number(1.0)),
            ctypes.c_void_p(address_of(right)),
            ld_right,
            ctypes.c_void_p(address_of(left)),
            ld_left,
            ctypes.byref(number(0.0)),
            ctypes.c_void_p(address_of(out)),
            ld_out,
        )
        return bool(status == _SUCCESS)

    def close(self) -> None:
        """Give back what cuBLAS holds."""
        self._library.cublasDestroy_v2(self._handle)


def _leading(matrix: np.ndarray) -> tuple[int, int] | None:
    """Whether BLAS sees a matrix plain or transposed, and the distance of its rows (or columns); None: neither."""
    item = matrix.itemsize
    (rows, columns), (down, across) = matrix.shape, matrix.strides
    if across == item and down % item == 0 and down >= columns * item:
        return _PLAIN, down // item
    if down == item and across % item == 0 and across >= rows * item:
        return _TRANSPOSED, across // item
    return None
