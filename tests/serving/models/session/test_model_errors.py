"""What onnxruntime raises, in words that a client can use, and whose fault it is."""

import pytest

from serving.errors import InvalidInput, ModelFailed
from serving.models.session.model_errors import failed, unequal_lengths

CODE = "/onnxruntime_src/onnxruntime/core/providers/cpu"


def raised(kind: str, text: str) -> Exception:
    """As onnxruntime raises it: classes of the C++ side, without a base of their own."""
    return type(kind, (Exception,), {})(text)


def node(operator: str, text: str, status: str = "1 : FAIL") -> str:
    return (
        f"[ONNXRuntimeError] : {status} : Non-zero status code returned while running {operator} node."
        f" Name:'model/{operator}_7' Status Message: {text}"
    )


TOLD = [
    (
        node("Reshape", f"{CODE}/tensor/reshape_helper.h:45 onnxruntime::ReshapeHelper::ReshapeHelper("
             "const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) input_size == size"
             " was false. The input tensor cannot be reshaped. Input shape:{2}, requested shape:{3}\n"),
        "Reshape: The input tensor cannot be reshaped. Input shape:{2}, requested shape:{3}",
    ),
    (
        node("If", "Non-zero status code returned while running GatherElements node. Name:'' Status Message: "
             f"{CODE}/tensor/gather_elements.cc:150 void onnxruntime::core_impl(const Tensor*, int64_t, "
             "concurrency::ThreadPool*) [with Tin = long int] GatherElements op: Out of range (index)\n"),
        "GatherElements op: Out of range (index)",
    ),
    (
        node("ConstantOfShape", "/onnxruntime_src/onnxruntime/core/op_kernel.cc:83 virtual OrtValue* "
             "onnxruntime::Context::OutputMLValue(int, const Shape&) [ONNXRuntimeError] : 1 : FAIL : "
             "tensor.cc:57 CalculateTensorStorageSize Tensor shape.Size() must be >= 0\n"),
        "ConstantOfShape: Tensor shape.Size() must be >= 0",
    ),
    (node("MatMul", "matmul_helper.h:142 Compute MatMul dimension mismatch"), "MatMul dimension mismatch"),
    (
        node("Mod", "element_wise_ops.cc:2060 operator() Integer modulo by zero"),
        "Mod: Integer modulo by zero",
    ),
    (node("OneHotEncoder", "Unknown Category and zeros = 0."),
     "OneHotEncoder: Unknown Category and zeros = 0."),
    (node("Loop", f"{CODE}/loop.cc:9 void onnxruntime::Loop::f() ok was false. "), "Loop: it was refused"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), TOLD, ids=range(len(TOLD)))
def test_a_node_that_fails_in_a_model_that_has_run_is_told_without_where_in_the_code(text, words):
    error = failed(raised("Fail", text), has_run=True)
    assert type(error) is InvalidInput
    assert str(error) == f"the model cannot take this input: {words}"


@pytest.mark.parametrize(("text", "words"), TOLD, ids=range(len(TOLD)))
def test_the_same_of_a_model_that_never_ran_is_its_own_fault_with_the_reason_for_the_log(text, words):
    error = failed(raised("Fail", text), has_run=False)
    assert isinstance(error, ModelFailed)
    assert (str(error), error.reason) == ("the model failed (Fail)", words)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("EPFail", node("Conv", "the device was lost", "11 : EP_FAIL")),
        ("Fail", node("Conv", "CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=secret")),
        ("Fail", node("MatMul", "CUBLAS failure 14: CUBLAS_STATUS_INTERNAL_ERROR")),
        ("Fail", node("MatMul", "CUDA error cudaErrorIllegalAddress:an illegal memory access")),
        (
            "Fail",
            node("Conv", f"{CODE}/x.cc:1 void f() Failed to allocate memory for requested buffer of size 9"),
        ),
        ("MemoryError", "std::bad_alloc"),
        ("RuntimeException", "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : pthread_create failed"),
        ("RuntimeError", "something else"),
    ],
)
def test_what_the_machine_lacks_is_no_clients_fault(kind, text):
    error = failed(raised(kind, text), has_run=True)
    assert isinstance(error, ModelFailed)
    assert error.status == 500
    assert "secret" not in str(error)


def test_the_reason_for_the_log_holds_no_text_that_a_client_may_have_sent():
    text = node("StringNormalizer", "cannot convert 'a name' and \"a street\" to 3")
    assert (
        failed(raised("Fail", text), has_run=False).reason
        == "StringNormalizer: cannot convert '...' and '...' to 3"
    )


def test_text_that_cannot_be_handed_over_is_the_inputs_fault_where_the_model_has_run():
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert "an output is text that is not UTF-8" in str(failed(error, has_run=True))
    assert type(failed(error, has_run=True)) is InvalidInput


DIMS = {"a": ("batch", "tokens"), "b": ("batch", 4), "c": (None, None), "d": (None, 2), "e": (3,)}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"a": (2, 5), "b": (2, 4), "c": (7, 9), "d": (7, 2), "e": (3,)}, ""),
        ({"a": (2, 5), "b": (3, 4)}, "the dimension 'batch' is 2 in 'a' and 3 in 'b'"),
        ({"c": (7, 9), "d": (8, 2)}, "the number of rows is 7 in 'c' and 8 in 'd'"),
        ({"a": (), "unknown": (1,)}, ""),
        ({}, ""),
    ],
)
def test_lengths_that_should_be_equal_and_are_not_are_named(shapes, words):
    assert unequal_lengths(DIMS, shapes) == words
