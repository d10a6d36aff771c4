"""The models that foreign clients are tried on, and what onnxruntime itself makes of their inputs."""

import shutil

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from harness.system import MODELS

# datatype of the protocol -> that of ONNX and that of numpy
DATATYPES = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, np.object_),
}

node = helper.make_node


def value(name, datatype, shape):
    return helper.make_tensor_value_info(name, DATATYPES[datatype][0], shape)


def model(nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "zoo", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def echo(datatype, shape=("rows", "columns")):
    """y = x, bit for bit."""
    return model(
        [node("Identity", ["x"], ["y"])], [value("x", datatype, shape)], [value("y", datatype, shape)]
    )


def several():
    """Inputs and outputs of different datatypes, ranks and orders."""
    nodes = [
        node("Add", ["a", "a"], ["twice"]),
        node("Identity", ["c"], ["text"]),
        node("Neg", ["b"], ["minus"]),
    ]
    inputs = [value("a", "FP32", ["rows", 2]), value("b", "INT64", ["n"]), value("c", "BYTES", ["n"])]
    outputs = [
        value("text", "BYTES", ["n"]),
        value("twice", "FP32", ["rows", 2]),
        value("minus", "INT64", ["n"]),
    ]
    return model(nodes, inputs, outputs)


def bfloat16():
    """y = x + x in BF16, and w = x in FP32."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["rows", "columns"]) for name in ("x", "y")
    )
    nodes = [
        node("Cast", ["x"], ["w"], to=TensorProto.FLOAT),
        node("Add", ["w", "w"], ["twice"]),
        node("Cast", ["twice"], ["y"], to=TensorProto.BFLOAT16),
    ]
    return model(nodes, [x], [y, value("w", "FP32", ["rows", "columns"])])


def echo_name(datatype):
    return f"echo-{datatype.lower()}"


def build(root):
    """The repository; returns the names of its models, each with the one version 1."""
    models = {echo_name(datatype): echo(datatype) for datatype in DATATYPES}
    models |= {"scalar": echo("FP64", ()), "scalar-text": echo("BYTES", ())}
    models |= {"several": several(), "bfloat16": bfloat16()}
    for name, proto in models.items():
        folder = root / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
    shutil.copytree(MODELS / "digits" / "1", root / "digits" / "1")
    return [*models, "digits"]


def sample(datatype, shape=(3, 5), seed=0, *, finite=False):
    """Values over the whole range of a datatype; floats are random bits, NaN payloads and all, or finite."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(DATATYPES[datatype][1])
    if datatype == "BYTES":
        texts = ["", "a", "é\0ü", "𝔘nicode", "line\nbreak", '"quoted" \\', "x" * 300]
        return np.array(random.choice(texts, size=shape), dtype=np.object_).reshape(shape)
    if datatype == "BOOL":
        return random.integers(0, 2, size=shape).astype(np.bool_)
    if dtype.kind == "f" and finite:
        return np.asarray(random.normal(size=shape) * 10.0 ** random.integers(-4, 4, size=shape)).astype(
            dtype
        )
    count = int(np.prod(shape))
    return np.frombuffer(random.bytes(count * dtype.itemsize), dtype).reshape(shape)


def not_finite(datatype):
    """NaN, infinities of both signs and numbers, in no order."""
    values = [[np.nan, 1.5, np.inf], [-np.inf, 0.1, np.nan], [np.inf, -0.0, np.inf]]
    return np.array(values, DATATYPES[datatype][1])


def direct(root, name, **inputs):
    """The outputs by name as onnxruntime gives them."""
    session = onnxruntime.InferenceSession(
        root / name / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def bits(array):
    """What must be equal bit for bit: shape, datatype, bytes; texts as UTF-8."""
    array = np.asarray(array)
    if array.dtype.kind != "O":
        return array.shape, array.dtype.str, array.tobytes()
    return array.shape, "text", [t if isinstance(t, bytes) else t.encode() for t in array.ravel().tolist()]
