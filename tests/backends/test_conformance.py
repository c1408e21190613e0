"""Every backend has every method of the contract, with the same signature. A new backend is one row."""

from __future__ import annotations

import inspect

import pytest

from neon_optim.backends.algebra import Algebra
from neon_optim.backends.contract import Backend, Plan, Tensor
from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.backends.cpu.host_plan import HostPlan
from neon_optim.backends.cpu.tensor import CPUTensor
from neon_optim.backends.gpu.backend import GPUBackend
from neon_optim.backends.gpu.device_plan import DevicePlan
from neon_optim.backends.gpu.tensor import GPUTensor

BACKENDS = {"cpu": (CPUBackend, CPUTensor, HostPlan), "gpu": (GPUBackend, GPUTensor, DevicePlan)}

NEONS_NAMES = """
    array empty zeros ones zeros_like empty_like add subtract multiply divide power sqrt square exp log log2 exp2
    safelog absolute sgn rint clip maximum minimum shift sig tanh equal not_equal less less_equal greater greater_equal
    sum mean
    max min argmax argmin var std dot compound_dot take onehot transpose negative reciprocal sig2 tanh2
    gen_rng rng_reset rng_get_state rng_set_state
""".split()

NEONS_TENSOR = "shape dtype size name rounding get set asnumpyarray fill copy_from reshape T".split()


def members(cls):
    return {name: value for name, value in inspect.getmembers(cls) if not name.startswith("_")}


@pytest.mark.parametrize("contract", [Backend, Tensor, Plan])
@pytest.mark.parametrize("name", BACKENDS)
def test_every_member_of_the_contract_is_there_with_its_signature(name, contract):
    cls = next(c for c in BACKENDS[name] if issubclass(c, contract))
    assert not inspect.isabstract(cls)
    for member, declared in members(contract).items():
        mine = getattr(cls, member)
        if not inspect.isfunction(declared):
            continue
        expected = inspect.signature(declared).parameters
        received = inspect.signature(mine).parameters
        assert [(p.name, p.kind, p.default) for p in received.values()] == [
            (p.name, p.kind, p.default) for p in expected.values()
        ], f"{cls.__name__}.{member}"


@pytest.mark.parametrize("name", BACKENDS)
def test_neons_names_are_there(name):
    backend, tensor, _ = BACKENDS[name]
    assert [m for m in NEONS_NAMES if not callable(getattr(backend, m, None))] == []
    slots = {slot for cls in tensor.__mro__ for slot in getattr(cls, "__slots__", ())}
    assert [m for m in NEONS_TENSOR if m not in slots and not hasattr(tensor, m)] == []


def test_every_function_of_the_algebra_has_a_docstring():
    assert [name for name, value in members(Algebra).items() if not inspect.getdoc(value)] == []


def test_a_missing_method_is_noticed():
    """Negative control: a backend that leaves something out stays abstract."""

    class Incomplete(Backend):
        def empty(self, shape, dtype=None, name=None, persist_values=True, parallel=False, distributed=False):
            raise NotImplementedError

    assert inspect.isabstract(Incomplete)
