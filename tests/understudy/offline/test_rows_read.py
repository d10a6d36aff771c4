"""Files of rows become requests, or are refused by the place of the fault."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.wire.tensors import Signature, TensorSpec
from understudy.offline.data.columns import Columns
from understudy.offline.data.reading import read
from understudy.offline.data.rows import rows_of

X = TensorSpec("x", "FP32", (-1, 2))
SIGNATURE = Signature((X,), (TensorSpec("y", "FP32", (-1, 2)),))
TEXT = Signature((TensorSpec("t", "BYTES", (-1,)), TensorSpec("n", "INT64", (-1, 1))), ())


def file(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def requests(path, signature=SIGNATURE, **options):
    return rows_of(read(path), signature, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'x\n"[1, 2.5]"\n"[-3,4]"\n'),
        ("a.csv", "x[0],x[1]\n1,2.5\n-3,4\n"),
        ("a.csv", "x_0,x_1\n1,2.5\n-3,4\n"),
        ("a.csv", "input_x_1,input_x_0\n2.5,1\n4,-3\n"),
        ("a.jsonl", '{"x": [1, 2.5]}\n\n{"x": [[-3, 4]]}\n'),
        ("a.jsonl", '{"input_x": [1, 2.5]}\n{"input_x": [-3, 4]}\n'),
        ("a.jsonl", '{"inputs": [1, 2.5]}\n{"inputs": [-3, 4]}\n'),
    ],
)
def test_all_forms_of_a_tensor_give_the_same_requests(tmp_path, name, text):
    rows = requests(file(tmp_path, name, text))
    assert [feeds["x"].tolist() for feeds in rows.feeds] == [[[1, 2.5]], [[-3, 4]]]
    assert all(feeds["x"].dtype == np.float32 for feeds in rows.feeds)


@given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 2), min_size=1))
def test_every_form_keeps_every_value(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("forms")
    np.savez(folder / "a.npz", x=np.array(values, np.float32))
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"x": row}) for row in values))
    with (folder / "a.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["x[0]", "x[1]"], *[[repr(value) for value in row] for row in values]])
    of_each = [requests(folder / name) for name in ("a.npz", "a.jsonl", "a.csv")]
    first, *others = (np.concatenate([feeds["x"] for feeds in rows.feeds]) for rows in of_each)
    assert first.tolist() == [list(row) for row in values]
    for other in others:
        assert other.tobytes() == first.tobytes()


def test_a_cell_may_be_as_long_as_a_picture(tmp_path):
    picture = [0.123456789] * 20_000
    spec = TensorSpec("x", "FP32", (-1, 20_000))
    path = file(tmp_path, "a.csv", f'x\n"{picture}"\n')
    assert requests(path, Signature((spec,), ())).feeds[0]["x"].shape == (1, 20_000)


def test_text_and_whole_numbers_of_a_csv_are_what_the_model_takes(tmp_path):
    rows = requests(file(tmp_path, "a.csv", 't,n,country\n"a,b",7,AT\nc,-8,DE\n'), TEXT)
    assert [(feeds["t"].tolist(), feeds["n"].tolist()) for feeds in rows.feeds] == [
        (["a,b"], [[7]]), (["c"], [[-8]]),
    ]  # fmt: skip
    assert rows.further == {"country": ["AT", "DE"]}


def test_a_request_of_several_rows_is_one_where_only_the_first_dimension_varies(tmp_path):
    rows = requests(file(tmp_path, "a.jsonl", '{"x": [1, 2, 3, 4]}\n'))
    assert rows.feeds[0]["x"].tolist() == [[1, 2], [3, 4]]


def test_labels_are_a_column_and_answers_that_were_logged_are_not_taken_for_features(tmp_path):
    path = file(
        tmp_path, "a.jsonl", '{"x": [1, 2], "labels": 3, "truth": 4, "output_y": 1, "age": 9, "stage": 1}\n'
    )
    assert requests(path).labels == [3]
    named = requests(path, labels="truth")
    assert (named.labels, dict(named.further)) == ([4], {"labels": [3], "age": [9]})


def test_arrays_of_other_datatypes_are_taken_where_they_lose_only_precision(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([[1, 2]]), labels=np.array([[5]]))
    rows = requests(tmp_path / "a.npz")
    assert (rows.feeds[0]["x"].dtype, rows.labels) == (np.float32, [5])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "x[0],x[1]\n1,2\n1,ten\n", ["a.csv:3: column 'x[1]': 'ten' is no FP32"]),
        ("a.csv", "x[0],x[1]\n1\n", ["a.csv:2: 1 values for 2 columns"]),
        ("a.csv", "x,x\n1,2\n", ["a.csv:1: column 'x' is there twice"]),
        ("a.csv", 'x\n"[1, 2]"\n"[1"\n', ["a.csv:3: column 'x': not a JSON list"]),
        ("a.csv", "x\n", ["there is no row in it"]),
        ("a.csv", "age\n1\n", ["no column for the input 'x'", "x[0], x[1] and so on", "it has age"]),
        ("a.jsonl", '{"x": [1, 2]}\n{"y": 1}\n', ["a.jsonl:2: column 'x' is missing"]),
        ("a.jsonl", '{"x": [1, 2]}\n{"x": [1, 2], "z": 1}\n', ["a.jsonl:2: column 'z' is not in the first"]),
        ("a.jsonl", '{"x": [1, 2]}\n{"x": [1]}\n', ["a.jsonl:2: column 'x': 1 elements, the model takes"]),
        ("a.jsonl", '{"x": [1, "two"]}\n', ["a.jsonl:1: column 'x'", "element 1 of 'data', 'two',"]),
        ("a.jsonl", '{"x": [1, 1e60]}\n', ["a.jsonl:1", "is out of the range of FP32"]),
        ("a.jsonl", "[1]\n", ["a.jsonl:1: not a JSON object"]),
        ("a.jsonl", "{\n", ["a.jsonl:1: not JSON"]),
        ("a.jsonl", '{"x": [1, 2], "labels": [1, 2]}\n', ["a.jsonl:1: column 'labels': 2 labels; a row"]),
        ("a.jsonl", '{"x": [1, 2], "labels": null}\n', ["a.jsonl:1: column 'labels': no label"]),
        ("a.npz", "no archive", ["a.npz: not an .npz of plain arrays; write it with numpy.savez"]),
        ("a.txt", "", ["rows are read from .npz, .csv, .jsonl"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_place(tmp_path, name, text, words):
    with pytest.raises(InvalidInput) as refused:
        requests(file(tmp_path, name, text))
    for each in words:
        assert each in str(refused.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((3, 2)), "labels": np.zeros(2)}, "'x' has 3 rows and 'labels' 2"),
        ({"x": np.zeros((3, 4))}, "array 'x': rows of shape [4], the model takes [-1, 2]"),
        ({"x": np.zeros((3, 2), complex)}, "array 'x' is complex128, the model takes FP32"),
        (
            {"x": np.array([[1, 2], [1, 1e60]])},
            "a.npz: row 2: column 'x': a value is out of the range of FP32",
        ),
        ({"x": np.array(1.0)}, "array 'x' has no rows"),
        ({"x": np.array([[None]], object)}, "not an .npz of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidInput, match=r".") as refused:
        requests(tmp_path / "a.npz")
    assert words in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        read(tmp_path / "a.csv")


def test_a_column_of_labels_that_is_not_there_is_told():
    with pytest.raises(InvalidInput, match="no column 'truth' for labels; it has x"):
        rows_of(Columns("a.csv", {"x": [[1, 2]]}), SIGNATURE, "truth")


def test_a_flat_list_with_two_open_dimensions_is_told_to_be_nested():
    spec = TensorSpec("x", "FP32", (-1, -1, -1))
    with pytest.raises(InvalidInput, match="write nested lists"):
        rows_of(Columns("a.csv", {"x": [[1, 2]]}), Signature((spec,), ()))
    nested = rows_of(Columns("a.csv", {"x": [[[1, 2], [3, 4]]]}), Signature((spec,), ()))
    assert nested.feeds[0]["x"].shape == (1, 2, 2)
