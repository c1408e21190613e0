"""Op-trees (what, left, right), tensors that build them, and backends that register themselves."""

from abc import ABCMeta

import numpy as np

UNARY = "neg abs sgn sqrt sqr exp log exp2 log2 sig sig2 tanh tanh2 transpose safelog rint".split()
BINARY = "add sub mul div eq ne lt le gt ge pow minimum maximum dot".split()
REDUCTIONS = "sum max min argmax argmin".split()
METHODS = {
    "negative": "neg",
    "absolute": "abs",
    "square": "sqr",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "power": "pow",
}


class Arithmetic:
    __hash__ = object.__hash__


def operator(op, swapped):
    def method(self, other=None):
        left, right = (other, self) if swapped else (self, other)
        return OpTreeNode.build(op, left, right)

    return method


for name, op in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow"}.items():
    setattr(Arithmetic, f"__{name}__", operator(op, False))
    setattr(Arithmetic, f"__r{name}__", operator(op, True))
Arithmetic.__neg__ = operator("neg", False)


class Tensor(Arithmetic):
    pass


class OpTreeNode(Arithmetic, tuple):
    @staticmethod
    def build(op, left, right, out=None, **settings):
        for operand in (left, right):
            if not isinstance(operand, (int, float, Tensor, OpTreeNode, type(None))):
                return NotImplemented
        node = OpTreeNode(({"op": op, **settings}, left, right))
        if op == "assign":
            return left.backend.execute(node)
        if out is not None:
            return out.backend.execute(OpTreeNode(({"op": "assign"}, out, node)))
        return node

    @property
    def T(self):  # noqa: N802
        return OpTreeNode.build("transpose", self, None)


class Registering(ABCMeta):
    def __init__(cls, name, bases, members):
        super().__init__(name, bases, members)
        if bases and "backend_name" in members:
            cls.backends[members["backend_name"]] = cls


class Backend(metaclass=Registering):
    backends = {}

    def __init__(self, rng_seed=None, default_dtype=np.float32, compat_mode=None):
        self.default_dtype = default_dtype
        self.rng = np.random.RandomState(rng_seed)
        self.bsz = None

    def cleanup_backend(self):
        pass

    def clip(self, a, a_min, a_max, out=None):
        return self.minimum(self.maximum(a, a_min), a_max, out=out)

    def onehot(self, indices, axis, out=None):
        return OpTreeNode.build("onehot", None, None, idx=indices, axis=axis, out=out)

    def sum(self, a, axis=None, out=None):
        if axis is None:
            return self.sum(self.sum(a, axis=0), axis=1, out=out)
        return OpTreeNode.build("sum", a, None, axis=axis, out=out)


def function(op):
    if op in UNARY:
        return lambda self, a, out=None: OpTreeNode.build(op, a, None, out=out)
    if op in BINARY:
        return lambda self, a, b, out=None: OpTreeNode.build(op, a, b, out=out)
    return lambda self, a, axis=1, out=None: OpTreeNode.build(op, a, None, axis=axis, out=out)


for op in (*UNARY, *BINARY, *REDUCTIONS[1:]):
    setattr(Backend, {op: name for name, op in METHODS.items()}.get(op, op), function(op))
