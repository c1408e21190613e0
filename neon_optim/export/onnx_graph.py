"""An ONNX graph that is being built: nodes, constants, and names for what goes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.errors import RunError
from neon_optim.version import __version__

__all__ = ["OnnxGraph"]

_OPSETS = {"": 17, "ai.onnx.ml": 3}
_IR = 8
"""What runtimes of 2022 and later read."""
_MOST_BYTES = 2**31 - 2**20


class OnnxGraph:
    """Nodes in the order in which they are added. Values are known by their names.

    Raises:
        RunError: the package onnx is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError:
            raise RunError(
                "ONNX files are written by the package onnx, which is not installed: pip install 'neon_optim[export]'"
            ) from None
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._taken: set[str] = set()
        self._bytes = 0

    def name(self, wanted: str) -> str:
        """A name that nothing has yet."""
        numbered = (f"{wanted}_{k}" if k else wanted for k in range(len(self._taken) + 1))
        found = next(name for name in numbered if name not in self._taken)
        self._taken.add(found)
        return found

    def input(self, name: str, dtype: Any, shape: Sequence[int]) -> str:
        """What a user of the model gives: samples of a shape."""
        name = self.name(name)
        self._inputs.append(self._described(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: Sequence[int]) -> None:
        """What a user of the model gets."""
        name = self.name(name)
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(self._described(name, dtype, shape))

    def constant(self, array: Any, name: str = "constant", dtype: Any = np.float32) -> str:
        """An array that is part of the model; of numbers that are no integers, in a type."""
        array = np.asarray(array)
        if array.dtype.kind not in "iUO":
            array = array.astype(dtype, copy=False)
        self._bytes += array.nbytes
        if self._bytes > _MOST_BYTES:
            raise RunError(
                "an ONNX file holds at most 2 GiB, and the model has more; .npz and .safetensors hold any"
            )
        name = self.name(name)
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        if array.dtype.kind in "UO":
            words = [str(word).encode() for word in array.ravel()]
            made = helper.make_tensor(name, kinds.STRING, array.shape, words)
        else:
            made = self._onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        self._constants.append(made)
        return name

    def add(self, operation: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node; the name of its first output. An input of '' is one that is left out."""
        name = self.name(operation)
        node = self._onnx.helper.make_node(
            operation, list(inputs), [name], name=name, domain=domain, **attributes
        )
        self._nodes.append(node)
        return name

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Samples in another shape."""
        return self.add("Reshape", value, self.constant(np.array([-1, *shape], np.int64), "shape"))

    def cast(self, value: str, dtype: Any) -> str:
        """The same numbers in another type."""
        return self.add("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def rounded(self, value: str, datatype: str) -> str:
        """Numbers rounded to 'float16' or 'bfloat16', in float32."""
        kind = getattr(self._onnx.TensorProto, datatype.upper())
        return self.cast(self.add("Cast", value, to=kind), np.float32)

    def serialized(self, about: Mapping[str, str]) -> bytes:
        """The file.

        Arguments:
            about: texts that go with the model, by name.
        """
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, "neon_optim", self._inputs, self._outputs, initializer=self._constants
        )
        used = {node.domain for node in self._nodes} | {""}
        model = helper.make_model(
            graph,
            producer_name="neon_optim",
            producer_version=__version__,
            ir_version=_IR,
            opset_imports=[
                helper.make_opsetid(domain, version) for domain, version in _OPSETS.items() if domain in used
            ],
        )
        helper.set_model_props(model, dict(about))
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def _described(self, name: str, dtype: Any, shape: Sequence[int]) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, ["samples", *shape])
