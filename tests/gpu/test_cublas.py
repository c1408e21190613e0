"""The arguments for cuBLAS, on a stand-in that follows BLAS's rules: the emulated device's memory is the host's."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.gpu.cublas import Cublas

pytestmark = pytest.mark.gpu


class StandIn:
    """gemm as BLAS defines it, on column-major matrices."""

    def __init__(self):
        self.calls = 0

    def _gemm(self, kind, handle, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        self.calls += 1
        ctypes.CDLL(
            "libcuda.so.1"
        ).cuCtxSynchronize()  # a library's work comes after what was asked for before
        assert alpha._obj.value == 1.0
        assert beta._obj.value == 0.0

        def matrix(pointer, op, rows, columns, leading):
            stored = (rows, columns) if op == 0 else (columns, rows)
            assert leading >= stored[0]
            flat = np.ctypeslib.as_array((kind * (leading * stored[1])).from_address(pointer.value))
            view = flat.reshape(stored[1], leading).T[: stored[0]]
            return view if op == 0 else view.T

        matrix(c, 0, m, n, ldc)[:] = matrix(a, op_a, m, k, lda) @ matrix(b, op_b, k, n, ldb)
        return 0

    def cublasSgemm_v2(self, *arguments):  # noqa: N802
        return self._gemm(ctypes.c_float, *arguments)

    def cublasDgemm_v2(self, *arguments):  # noqa: N802
        return self._gemm(ctypes.c_double, *arguments)

    def cublasDestroy_v2(self, handle):  # noqa: N802
        return 0


@pytest.fixture
def library(emulator):
    return StandIn()


@pytest.fixture(params=["float32", "float64"])
def be(request, library):
    be = gen_backend("gpu", datatype=request.param)
    be._arrays.cublas = Cublas(library, ctypes.c_void_p(0))
    yield be
    cleanup_backend()


@pytest.mark.parametrize("transpose_left", [False, True])
@pytest.mark.parametrize("transpose_right", [False, True])
def test_products_of_plain_and_transposed_matrices(be, library, transpose_left, transpose_right):
    rng = np.random.RandomState(0)
    a = rng.randn(*((4, 5) if transpose_left else (5, 4)))
    b = rng.randn(*((7, 4) if transpose_right else (4, 7)))
    left, right, out = be.array(a), be.array(b), be.empty((5, 7))
    out[:] = be.dot(left.T if transpose_left else left, right.T if transpose_right else right)
    expected = (a.T if transpose_left else a) @ (b.T if transpose_right else b)
    np.testing.assert_allclose(out.get(), expected, rtol=1e-5, atol=1e-6)
    assert library.calls == 1


def test_parts_of_matrices(be, library):
    a = np.random.RandomState(1).randn(9, 8)
    whole, out = be.array(a), be.empty((3, 3))
    out[:] = be.dot(whole[2:5, 1:5], whole[5:9, 4:7])
    np.testing.assert_allclose(out.get(), a[2:5, 1:5] @ a[5:9, 4:7], rtol=1e-5, atol=1e-6)
    assert library.calls == 1


def test_what_blas_cannot_do_is_left_to_our_kernel(be, library):
    a = np.random.RandomState(2).randn(6, 8)
    whole, out = be.array(a), be.empty((6, 6))
    out[:] = be.dot(whole[:, ::2], whole[:, ::2].T)
    half = be.array(a, dtype=np.float16)
    narrow = be.empty((6, 6), dtype=np.float32)
    narrow[:] = be.dot(half, half.T)
    np.testing.assert_allclose(out.get(), a[:, ::2] @ a[:, ::2].T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(narrow.get(), a @ a.T, rtol=2e-2, atol=2e-2)
    assert library.calls == 0
