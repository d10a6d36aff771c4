import numpy as np
import onnx
import pytest
from graphs import FLOAT, graph, linear, node, zipmap
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from harness.search import examples
from serving.models.files.graph_bytes import unfolded, unranked
from serving.models.ort import onnxruntime


def session(data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options)


@pytest.mark.parametrize("labels", [["a", "é", "c"], [7, -1, 300]])
def test_a_zipmap_at_the_end_gives_its_tensor_under_its_name_and_its_labels(labels):
    data = zipmap(labels)
    model, found = unfolded(data)
    onnx.checker.check_model(onnx.load_from_string(model))
    assert found == tuple(map(str, labels))
    x = np.array([[1, 2], [3, 4]], "f4")
    folded, plain = (session(graph).run(["scores", "y"], {"x": x}) for graph in (data, model))
    assert [[row[label] for label in labels] for row in folded[1]] == plain[1].tolist()
    np.testing.assert_array_equal(plain[0], plain[1])
    [_, output] = session(model).get_outputs()
    assert (output.name, output.type, output.shape[1]) == ("y", "tensor(float)", 3)


def test_what_has_no_such_end_is_left_as_it_is():
    for data in (linear(), b"", b"ZipMap", b"\xff" * 20 + b"ZipMap"):
        assert unfolded(data) == (data, ())


@settings(max_examples=examples(60))
@given(st.data())
def test_a_damaged_file_is_left_to_onnxruntime(data):
    whole = zipmap(["a", "b"])
    place = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (
        whole[:place],
        whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :],
    ):
        model, labels = unfolded(damaged)
        assert bool(labels) == (model != damaged)
        unranked(damaged)


def test_what_says_nothing_of_its_rank_is_told_from_a_scalar():
    x, y, s = (helper.make_tensor_value_info(n, FLOAT, d) for n, d in (("x", None), ("y", None), ("s", [])))
    assert unranked(graph([node("Add", ["x", "s"], ["y"])], [x, s], [y])) == {"x", "y"}
    assert unranked(linear()) == frozenset()
