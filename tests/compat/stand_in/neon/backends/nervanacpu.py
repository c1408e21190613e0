"""The backend that runs op-trees with NumPy, operation by operation."""

import numpy as np

from neon.backends.backend import REDUCTIONS, Backend, OpTreeNode, Tensor

RUNS = {
    "neg": np.negative,
    "abs": np.abs,
    "sgn": np.sign,
    "sqrt": np.sqrt,
    "sqr": np.square,
    "exp": np.exp,
    "log": np.log,
    "exp2": np.exp2,
    "log2": np.log2,
    "tanh": np.tanh,
    "rint": np.rint,
    "sig": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "sig2": lambda x: 1.0 / (1.0 + np.exp2(-x)),
    "tanh2": lambda x: (np.exp2(2.0 * x) - 1.0) / (np.exp2(2.0 * x) + 1.0),
    "transpose": np.transpose,
    "safelog": lambda x: np.log(np.maximum(x, np.exp(-50.0))),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "pow": np.power,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "dot": np.dot,
    **{op: getattr(np, op) for op in REDUCTIONS},
}


class CPUTensor(Tensor):
    def __init__(self, backend, ary, name=None):
        self.backend, self._tensor, self.name = backend, ary, name
        self.shape, self.dtype, self.size = ary.shape, ary.dtype, ary.size

    def __getitem__(self, key):
        return self if key == slice(None) else type(self)(self.backend, self._tensor[key])

    def __setitem__(self, key, value):
        view = self[key]
        if isinstance(value, (Tensor, OpTreeNode)):
            OpTreeNode.build("assign", view, value)
        else:
            view.set(value)

    def set(self, value):
        self._tensor[...] = value
        return self

    def get(self):
        return self._tensor.copy()

    def reshape(self, *shape):
        return type(self)(self.backend, self._tensor.reshape(*shape))

    @property
    def T(self):  # noqa: N802
        return type(self)(self.backend, self._tensor.T)


class NervanaCPU(Backend):
    backend_name = "cpu"

    def __init__(self, rng_seed=None, default_dtype=np.float32, compat_mode=None, num_devices=None,
                 stochastic_round=None, device_id=None, deterministic=None):  # fmt: skip
        super().__init__(rng_seed, default_dtype, compat_mode)
        self.tensor_cls = CPUTensor
        self.runs = 0  # how many trees this backend has run itself

    def array(self, ary, dtype=None):
        return self.tensor_cls(self, np.array(ary, dtype or self.default_dtype, ndmin=2))

    def zeros(self, shape, dtype=None):
        return self.tensor_cls(self, np.zeros(shape, dtype or self.default_dtype))

    def zeros_like(self, ary, dtype=None):
        return self.zeros(ary.shape, dtype)

    def execute(self, tree):
        self.runs += 1
        _, target, value = tree
        target._tensor[:] = self._value(value)
        return target

    def _value(self, x):
        if isinstance(x, CPUTensor):
            return x._tensor
        if not isinstance(x, OpTreeNode):
            return x
        what, left, right = x
        if what["op"] == "onehot":
            return np.arange(3)[:, None] == what["idx"]._tensor.reshape(1, -1)
        operands = [self._value(a) for a in (left, right) if a is not None]
        if what["op"] in REDUCTIONS:
            return RUNS[what["op"]](*operands, axis=what["axis"], keepdims=True)
        return RUNS[what["op"]](*operands)

    def compound_dot(self, A, B, C, alpha=1.0, beta=0.0, relu=False, bsum=None):
        product = np.dot(A._tensor, B._tensor)
        C._tensor[...] = product if beta == 0 else C._tensor * beta + product * alpha
        if relu:
            np.maximum(C._tensor, 0, out=C._tensor)
        if bsum is not None:
            bsum[:] = self.sum(C, axis=1)
        return C
