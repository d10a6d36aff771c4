"""Tensors as values of onnxruntime: those with BF16 have to be, those between the steps of a graph are."""

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
_CPU = _NATIVE.OrtDevice(_NATIVE.OrtDevice.cpu(), _NATIVE.OrtDevice.default_memory(), 0)


class ValueRunner:
    """Runs a session by onnxruntime's values; called as the session's own `run` is.

    Args:
        session: none of its inputs is text, which onnxruntime cannot take in this way.
    """

    __slots__ = ("_session",)

    def __init__(self, session: Any) -> None:
        self._session = session._sess  # noqa: SLF001  (as `serving.models.session.onnx_model` does)

    def __call__(self, output_names: Sequence[str], feeds: Mapping[str, Array], options: Any) -> list[Array]:
        """The outputs, in the order of their names."""
        # Values borrow the memory of their arrays, which have to live as long.
        arrays = {name: np.asarray(array, order="C") for name, array in feeds.items()}
        values = {name: as_value(array) for name, array in arrays.items()}
        made = self._session.run_with_ort_values(values, output_names, options)
        return [as_array(made[place]) for place in range(len(made))]  # to iterate over it takes 34 us


def as_value(tensor: Any) -> Any:
    """A value that borrows the memory of an array without text, which has to live as long; or itself."""
    if isinstance(tensor, _NATIVE.OrtValue):
        return tensor
    if tensor.dtype == BF16:
        return _NATIVE.OrtValue.ortvalue_from_numpy_with_onnx_type(tensor.view("<u2"), _ONNX_BF16)
    return _NATIVE.OrtValue.ortvalue_from_numpy(tensor, _CPU)


def as_array(tensor: Any) -> Array:
    """The array of a value, or itself, if it is one."""
    if not isinstance(tensor, _NATIVE.OrtValue):
        return tensor  # type: ignore[no-any-return]
    if tensor.element_type() != _ONNX_BF16:
        return tensor.numpy()  # type: ignore[no-any-return]
    data = ctypes.string_at(tensor.data_ptr(), tensor.tensor_size_in_bytes())
    return np.ndarray(tensor.shape(), BF16, data)
