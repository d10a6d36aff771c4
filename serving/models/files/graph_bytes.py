"""What onnxruntime does not tell of a graph, and what it cannot give as the protocol has it. Pure.

The onnx package, which would read all of a model, is not imported where models are served. This reads the
wire format of protobuf itself, and only the lists of the main graph (onnx.proto for the numbers of fields).
What is no such file is left as it is: onnxruntime refuses it.
"""

from collections.abc import Iterator

from serving.wire.protobuf import Field, fields_of, read_varint, varint

_MODEL_GRAPH, _MODEL_OPSET = 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTS, _ATTRIBUTE_STRINGS = 1, 8, 9
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE, _SHAPE_DIMENSION, _DIMENSION_LENGTH = 1, 1, 2, 1, 1
_FLOAT = 1
_LABELS = (b"classlabels_int64s", b"classlabels_strings")


def unfolded(graph: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A model whose ZipMaps at its end give the tensor that they were to fold into dictionaries.

    A ZipMap names the columns of a tensor [rows, classes] of floats, row by row: a list of dictionaries,
    which no inference protocol carries. The output keeps its name.

    Returns:
        The model, and the labels of the columns of the last such output; as it was, and none, where no
        output is of that kind or something else in the graph needs the dictionaries.
    """
    if b"ZipMap" not in graph:
        return graph, ()
    try:
        [main] = [field for field in fields_of(memoryview(graph)) if field.number == _MODEL_GRAPH]
        body, labels = _unfolded(main.value)
    except (ValueError, IndexError):
        return graph, ()
    if not labels:
        return graph, ()
    return graph[: main.begin] + _bytes(_MODEL_GRAPH, body) + graph[main.end :], labels


def opset(graph: bytes) -> int:
    """The version of ONNX's own operators that it is made for; 0 where it does not say."""
    try:
        for field in fields_of(memoryview(graph)):
            if field.number == _MODEL_OPSET and _first(field.value, _OPSET_DOMAIN) in {b"", b"ai.onnx"}:
                return read_varint(memoryview(_first(field.value, _OPSET_VERSION)), 0)[0]
    except (ValueError, IndexError):
        pass
    return 0


def unranked(graph: bytes) -> frozenset[str]:
    """The inputs and outputs that say nothing of their rank; onnxruntime shows them as scalars."""
    names = set()
    try:
        for main in fields_of(memoryview(graph)):
            if main.number == _MODEL_GRAPH:
                for field in fields_of(main.value):
                    if field.number in {_GRAPH_INPUT, _GRAPH_OUTPUT} and _is_unranked(field.value):
                        names.add(_text(_first(field.value, _VALUE_NAME)))
    except (ValueError, IndexError):
        pass
    return frozenset(names)


def _unfolded(body: memoryview) -> tuple[bytes, tuple[str, ...]]:
    fields = list(fields_of(body))
    outputs = {_first(field.value, _VALUE_NAME) for field in fields if field.number == _GRAPH_OUTPUT}
    nodes = [list(fields_of(field.value)) for field in fields if field.number == _GRAPH_NODE]
    needed = {bytes(part.value) for node in nodes for part in node if part.number == _NODE_INPUT}
    columns: dict[bytes, tuple[str, ...]] = {}
    parts: list[bytes | memoryview] = []
    for field in fields:
        data: bytes | memoryview = body[field.begin : field.end]
        if field.number == _GRAPH_NODE and _first(field.value, _NODE_OPERATOR) == b"ZipMap":
            output = _first(field.value, _NODE_OUTPUT)
            if output in outputs - needed:
                columns[output] = _class_labels(field.value)
                data = _bytes(_GRAPH_NODE, _identity(field.value))
        parts.append(data)
    for place, field in enumerate(fields):  # nodes come before outputs, but need not
        name = _first(field.value, _VALUE_NAME) if field.number == _GRAPH_OUTPUT else b""
        if name in columns:
            parts[place] = _bytes(_GRAPH_OUTPUT, _matrix(name, len(columns[name])))
    return b"".join(parts), next(reversed(columns.values()), ())


def _identity(node: memoryview) -> bytes:
    kept = {_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME}
    parts = [node[field.begin : field.end] for field in fields_of(node) if field.number in kept]
    return b"".join((*parts, _bytes(_NODE_OPERATOR, b"Identity")))


def _matrix(name: bytes, columns: int) -> bytes:
    """The ValueInfoProto of a tensor of floats, with any number of rows."""
    width = _bytes(_SHAPE_DIMENSION, _number(_DIMENSION_LENGTH, columns))
    shape = _bytes(_SHAPE_DIMENSION, b"") + width
    tensor = _number(_TENSOR_ELEMENT, _FLOAT) + _bytes(_TENSOR_SHAPE, shape)
    return _bytes(_VALUE_NAME, name) + _bytes(_VALUE_TYPE, _bytes(_TYPE_TENSOR, tensor))


def _class_labels(node: memoryview) -> tuple[str, ...]:
    for attribute in (field.value for field in fields_of(node) if field.number == _NODE_ATTRIBUTE):
        if _first(attribute, _ATTRIBUTE_NAME) in _LABELS:
            fields = list(fields_of(attribute))
            texts = [_text(field.value) for field in fields if field.number == _ATTRIBUTE_STRINGS]
            return tuple(texts) or tuple(_integers(fields))
    raise ValueError("a ZipMap without labels")


def _integers(fields: list[Field]) -> Iterator[str]:
    for field in fields:
        if field.number == _ATTRIBUTE_INTS:
            place = 0
            while place < len(field.value):  # one, or several packed into one field
                number, place = read_varint(field.value, place)
                yield str(number - (1 << 64) if number >> 63 else number)


def _is_unranked(value: memoryview) -> bool:
    tensor = memoryview(_first(memoryview(_first(value, _VALUE_TYPE)), _TYPE_TENSOR))
    return bool(tensor) and all(field.number != _TENSOR_SHAPE for field in fields_of(tensor))


def _first(message: memoryview, number: int) -> bytes:
    """The first field of that number; empty where there is none."""
    return next((bytes(field.value) for field in fields_of(message) if field.number == number), b"")


def _text(value: bytes | memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


def _bytes(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)
