"""Runs of models with BF16, which onnxruntime passes in values of its own, not in numpy's arrays."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.models.ort import onnxruntime
from serving.wire.bf16 import BF16

Array = npt.NDArray[np.generic]

_ONNX_BF16 = 16  # TensorProto.BFLOAT16
_NATIVE = onnxruntime.capi.onnxruntime_pybind11_state


class ValueRunner:
    """Runs a session by onnxruntime's values; called as the session's own `run` is.

    Args:
        session: none of its inputs is text, which onnxruntime cannot take in this way.
    """

    __slots__ = ("_cpu", "_session")

    def __init__(self, session: Any) -> None:
        self._session = session._sess  # noqa: SLF001  (as `serving.models.session.onnx_model` does)
        self._cpu = _NATIVE.OrtDevice(_NATIVE.OrtDevice.cpu(), _NATIVE.OrtDevice.default_memory(), 0)

    def __call__(self, output_names: Sequence[str], feeds: Mapping[str, Array], options: Any) -> list[Array]:
        """The outputs, in the order of their names."""
        # Values borrow the memory of their arrays, which have to live as long.
        arrays = {name: np.asarray(array, order="C") for name, array in feeds.items()}
        values = {name: self._value(array) for name, array in arrays.items()}
        return [_array(value) for value in self._session.run_with_ort_values(values, output_names, options)]

    def _value(self, array: Array) -> Any:
        if array.dtype == BF16:
            return _NATIVE.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view("<u2"), _ONNX_BF16)
        return _NATIVE.OrtValue.ortvalue_from_numpy(array, self._cpu)


def _array(value: Any) -> Array:
    if value.element_type() != _ONNX_BF16:
        return value.numpy()  # type: ignore[no-any-return]
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.ndarray(value.shape(), BF16, data)
