"""Steps in Python as a document says them, and the bytes that a digest covers of them."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.document import DocumentError
from serving.errors import InvalidModel
from serving.models.files.graph_file import parse_graph
from serving.models.files.python_step import CALL_SECONDS, MEMORY_BYTES, Limits
from serving.models.files.repository import Repository, read

FILE = "fraud/1/graph.yaml"
TENSOR = "{name: x, datatype: FP32, shape: [-1, 4]}"


def document(named="features:scale", inputs=f"[{TENSOR}]", outputs=f"[{TENSOR}]", more="", head=""):
    return (
        f"input: [a]\noutput: [b]\n{head}step:\n  - python: {named}\n    inputs: {inputs}\n"
        f"    outputs: {outputs}\n    input_map: {{x: a}}\n    output_map: {{x: b}}\n{more}"
    )


def parsed(**parts):
    return parse_graph(document(**parts).encode(), FILE)


def fault(**parts):
    with pytest.raises(DocumentError) as refused:
        parsed(**parts)
    return str(refused.value).removeprefix(FILE)


def test_a_step_names_a_function_its_tensors_its_files_and_what_it_may_take():
    graph = parsed(
        named="a.features:scale",
        more="    files: [a/tables.py, words.txt]\n    independent: true\n",
        head="sandbox: {time: 250ms, memory: 64MiB}\n",
    )
    [(step, python)] = graph.functions
    assert (step.name, step.runs, graph.models) == ("scale", "a.features:scale", ())
    assert list(python.files) == ["a/features.py", "a/tables.py", "words.txt"]
    assert [(spec.name, spec.datatype, spec.shape) for spec in python.signature.inputs] == [
        ("x", "FP32", (-1, 4))
    ]
    assert python.independent
    assert graph.limits == Limits(0.25, 64 << 20)


def test_what_is_not_said_has_a_meaning():
    graph = parsed()
    assert graph.limits == Limits(CALL_SECONDS, MEMORY_BYTES)
    assert not graph.functions[0][1].independent


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"named": "features"}, ":4:13: step[0].python: expected MODULE:FUNCTION, such as features:scale"),
        ({"named": "../features:f"}, "expected MODULE:FUNCTION"),
        ({"named": "features:_f"}, "expected MODULE:FUNCTION"),
        ({"named": "json:f"}, "'json' is a module of Python itself"),
        ({"named": "numpy.linalg:f"}, "'numpy' is a module of Python itself, or is there already"),
        ({"outputs": "[]"}, ":6:14: step[0].outputs: expected at least one output"),
        ({"inputs": f"[{TENSOR}, {TENSOR}]"}, "'x' is here twice"),
        ({"inputs": "[{name: x, datatype: BF16, shape: [1]}]"}, "step[0].inputs[0].datatype: expected"),
        ({"inputs": "[{name: x, datatype: FP32, shape: [-2]}]"}, "step[0].inputs[0].shape[0]: expected"),
        ({"inputs": "[{name: x, datatype: FP32}]"}, "step[0].inputs[0]: "),
        (
            {"more": "    files: [/etc/passwd]\n"},
            ":9:13: step[0].files[0]: expected a file below the graph's",
        ),
        ({"more": "    files: [../x.py]\n"}, "expected a file below the graph's"),
        ({"more": "    files: [.git/x]\n"}, "expected a file below the graph's"),
        ({"more": "    files: [features.py]\n"}, "'features.py' is here twice"),
        ({"more": "    files: [graph.yaml]\n"}, "'graph.yaml' is part of the graph itself"),
        ({"more": "    model_name: m\n"}, "step[0]"),
        ({"head": "sandbox: {time: 1h}\n"}, ":3:17: sandbox.time: expected"),
        (
            {"more": "    files: [" + ", ".join(f"f{n}" for n in range(64)) + "]\n"},
            "expected 63 files at most",
        ),
    ],
)
def test_what_can_be_no_step_is_told_with_its_place(parts, said):
    assert said in fault(**parts)


def test_limits_of_a_process_that_there_is_not_are_refused():
    text = (
        "input: [a]\noutput: [b]\nsandbox: {time: 1s}\nstep:\n"
        "  - {model_name: m, model_version: 1, input_map: {x: a}, output_map: {y: b}}\n"
    )
    with pytest.raises(DocumentError, match=r":3:10: sandbox: it is for steps in Python, and there are none"):
        parse_graph(text.encode(), FILE)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_whatever_a_file_is_called_it_is_below_the_folder_or_refused(name):
    quoted = '"' + "".join(f"\\U{ord(letter):08x}" for letter in name) + '"'
    try:
        graph = parsed(more=f"    files: [{quoted}]\n")
    except DocumentError:
        return
    [_, location] = graph.functions[0][1].files
    assert location == name
    assert not {"", ".", ".."} & set(name.split("/"))
    assert "\0" not in name


@given(st.from_regex(r"[a-z_.:0-9]{1,12}", fullmatch=True))
def test_whatever_is_named_is_a_module_of_the_folder_or_refused(named):
    try:
        [(step, python)] = parsed(named=f'"{named}"').functions
    except DocumentError:
        return
    assert python.named == step.runs == named
    assert python.module.partition(".")[0] not in sys.stdlib_module_names
    assert next(iter(python.files)) == f"{python.module.replace('.', '/')}.py"


class TestBytes:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "fraud" / "1"
        folder.mkdir(parents=True)
        (folder / "graph.yaml").write_text(document(more="    files: [words.txt]\n"))
        (folder / "features.py").write_text("def scale(given): return given\n")
        (folder / "words.txt").write_text("a b")
        return folder

    def files(self, folder):
        return read(Repository(folder.parents[1]).find("fraud", "1"))

    def test_the_digest_covers_what_is_named_and_nothing_else_reaches_the_process(self, folder):
        first = self.files(folder)
        assert set(first.external) == {"features.py", "words.txt"}
        (folder / "other.py").write_text("x = 1")
        assert self.files(folder).sha256 == first.sha256
        seen = {first.sha256}
        for name in ("features.py", "words.txt", "graph.yaml"):
            with (folder / name).open("a") as file:
                file.write("\n")
            seen.add(self.files(folder).sha256)
        assert len(seen) == 4

    def test_a_file_that_is_not_there_is_named_with_its_place(self, folder):
        (folder / "words.txt").unlink()
        with pytest.raises(InvalidModel, match=r"fraud/1/graph.yaml:9:13: .*no words.txt in the graph's own"):
            self.files(folder)

    def test_a_link_that_leads_outside_is_not_followed(self, folder, tmp_path):
        (tmp_path.parent / "secret.txt").write_text("secret")
        (folder / "words.txt").unlink()
        (folder / "words.txt").symlink_to(tmp_path.parent / "secret.txt")
        with pytest.raises(InvalidModel, match=r"fraud/1/words.txt: a link in its path leads outside"):
            self.files(folder)
