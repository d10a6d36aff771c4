"""What a message may be made of, looked at before protobuf makes objects of it.

gRPC bounds the bytes of a message, not what they become: two bytes are an input, an output or a parameter,
which takes several hundred in memory and microseconds to read. What is raw is taken as it is, and bounded by
the message.
"""

from typing import Final

from serving.errors import InvalidInput, TooLarge
from serving.wire.protobuf import fields_of
from serving.wire.tensors import MAX_RANK

MAX_PARTS: Final = 16_384
"""Fields of a message, its inputs and its outputs, without what their values are made of."""
MAX_BYTES_BESIDE_RAW: Final = 8 << 20
UNCOUNTED_BYTES: Final = 4096
"""Messages up to here can hold no more than is read in a few milliseconds."""
_INPUTS, _OUTPUTS, _RAW = 5, 6, 7  # fields of a ModelInferRequest
_SHAPE = 3  # a field of an input
_MAX_SHAPE_BYTES = MAX_RANK * 10  # as many as the longest number takes


def refuse_overfull(data: bytes) -> None:
    """Refuse a `ModelInferRequest` of more parts than are read, or with more beside its raw tensors.

    Raises:
        InvalidInput: it is no message, or of too many parts; the text names the place.
        TooLarge: its tensors are to be sent raw.
    """
    if len(data) <= UNCOUNTED_BYTES:
        return
    try:
        _count(memoryview(data))
    except (ValueError, IndexError):
        raise InvalidInput("the message is no ModelInferRequest") from None


def _count(message: memoryview) -> None:
    left, raw, place = MAX_PARTS, 0, {_INPUTS: -1, _OUTPUTS: -1}
    for field in fields_of(message):
        left -= 1
        if field.number == _RAW:
            raw += len(field.value)
        elif field.number in place:
            place[field.number] += 1
            left = _counted(field.value, left, place[_INPUTS] if field.number == _INPUTS else None)
        _refuse_below_nothing(left)
    if len(message) - raw > MAX_BYTES_BESIDE_RAW:
        raise TooLarge(
            f"the message has {len(message) - raw} bytes beside 'raw_input_contents', "
            f"{MAX_BYTES_BESIDE_RAW} are the limit; send tensors raw"
        )


def _counted(tensor: memoryview, left: int, index: int | None) -> int:
    """How many parts are left behind an input (of that index) or an output."""
    for field in fields_of(tensor):
        left -= 1
        _refuse_below_nothing(left)
        if index is not None and field.number == _SHAPE and len(field.value) > _MAX_SHAPE_BYTES:
            raise InvalidInput(f"inputs[{index}]: the shape has more dimensions than {MAX_RANK}, the limit")
    return left


def _refuse_below_nothing(left: int) -> None:
    if left < 0:
        raise InvalidInput(
            f"the message has more than {MAX_PARTS} inputs, outputs, parameters and fields of them; "
            "send many columns as one tensor"
        )
