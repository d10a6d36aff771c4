"""`graph.yaml` by itself: what it may say, and where and how it is told of what it may not."""

import pytest
from graph_folders import DOCUMENT, MODELS, put_graph, scaler
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.document import DocumentError
from serving.errors import InvalidModel
from serving.models.files.graph_file import parse_graph
from serving.models.files.repository import Repository, read

FILE = "fraud/1/graph.yaml"


def step(reads="a", makes="b", more="", model="m"):
    return (
        f"  - {{model_name: {model}, model_version: 1, input_map: {{x: {reads}}},"
        f" output_map: {{y: {makes}}}{more}}}\n"
    )


def document(*steps, inputs="a", outputs="b"):
    return f"input: [{inputs}]\noutput: [{outputs}]\nstep:\n" + "".join(steps)


def faults(text):
    with pytest.raises(DocumentError) as refused:
        parse_graph(text.encode(), FILE)
    return str(refused.value).splitlines()


def test_a_document_has_inputs_outputs_and_steps_with_models_of_a_version():
    graph = parse_graph(DOCUMENT.encode(), FILE)
    assert (list(graph.inputs), list(graph.outputs), graph.fuse) == (["features"], ["label", "risk"], True)
    assert [one.name for one in graph.steps] == ["scaler", "classifier", "risk"]
    first = graph.steps[0]
    assert (first.folder, first.reads, first.makes, first.when) == (
        "scaler/1",
        ("features",),
        ("scaled",),
        None,
    )
    assert graph.conditional is None


def test_steps_run_in_an_order_in_which_they_can_whatever_that_of_the_document():
    head, *steps = DOCUMENT.split("  - model_name")
    turned = "  - model_name".join([head, *reversed(steps)])
    assert [one.name for one in parse_graph(turned.encode(), FILE).steps] == ["scaler", "classifier", "risk"]


@settings(max_examples=examples(20))
@given(st.permutations(range(6)))
def test_any_order_of_a_chain_is_that_of_the_chain(order):
    steps = [step(f"t{place}", f"t{place + 1}", f", name: s{place}") for place in order]
    graph = parse_graph(document(*steps, inputs="t0", outputs="t6").encode(), FILE)
    assert [one.name for one in graph.steps] == [f"s{place}" for place in range(6)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("output: [b]\nstep: []\n", "1:1: key 'input' is missing"),
        (document(), "4:1: step: expected a list, got nothing"),
        (
            document(step().replace("model_version: 1", "model_version: 0")),
            "4:36: step[0].model_version: expected 1 to 9999999999, got 0",
        ),
        (
            document(step("c")),
            "1:9: input[0]: no step reads 'a'; leave it out, or map it to a model's input",
        ),
        (
            document(step(), outputs="bb"),
            ("2:10: output[0]: no step makes a tensor 'bb', and it is no input of the graph; is 'b' meant?"),
        ),
        (
            document(step(), step(more=", name: other")),
            (
                "5:74: step[1].output_map.y: 'b' is made by step 'm', too; give one another"
                " name, or have one step run `when: {tensor: ..., is: true}` and the other `is: false`"
            ),
        ),
        (
            document(step(), step("b", "c"), outputs="c"),
            "5:5: step[1]: a second step is called 'm': give one of them another `name`",
        ),
        (
            document(step("a", "a"), outputs="a"),
            ("4:74: step[0].output_map.y: 'a' is an input of the graph; give what is made another name"),
        ),
        (
            document(step(), step("b", "c", ", name: other"), outputs="b"),
            ("5:74: step[1].output_map.y: nothing reads 'c'; leave it out, or name it under `output`"),
        ),
        (
            document(step("a", "b"), step("c", "d", ", name: n"), step("d", "c", ", name: o")),
            ("6:5: step[2]: a circle: each of these needs what the one before makes: 'o' -> 'n' -> 'o'"),
        ),
        (
            document(step(), outputs="a, b"),
            "2:10: output[0]: 'a' is an input, and an output is made by a step",
        ),
        (document(step(), inputs="a, a"), "1:12: input[1]: 'a' is here twice"),
        (
            document(step().replace("{y: b}", "{}")),
            (
                "4:70: step[0].output_map: expected at least one output: the model's name of"
                " it, then the graph's"
            ),
        ),
        (
            document(step(model="../m")),
            ("4:18: step[0].model_name: expected the name of a model: letters, digits, . _ and -"),
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_place_and_a_remedy(text, expected):
    assert f"{FILE}:{expected}" in faults(text)


def test_all_faults_are_told_at_once():
    text = document(step("z", "b"), step("y", "c", ", name: n"))
    assert [line.split(": ")[0] for line in faults(text)] == [
        f"{FILE}:1:9",
        f"{FILE}:4:54",
        f"{FILE}:5:54",
        f"{FILE}:5:74",
    ]


class TestConditions:
    two = (
        step("a", "b", ", name: yes, when: {tensor: c}"),
        step("a", "b", ", name: no, when: {tensor: c, is: false}"),
    )

    def test_two_steps_may_make_one_tensor_where_one_runs_if_the_other_does_not(self):
        graph = parse_graph(document(*self.two, inputs="a, c").encode(), FILE)
        assert [one.when.truth for one in graph.steps] == [True, False]
        assert graph.conditional.name == "yes"

    def test_what_is_made_only_at_times_is_no_output(self):
        [line] = faults(document(self.two[0], inputs="a, c"))
        assert line == (
            f"{FILE}:2:10: output[0]: every answer needs 'b', which is made only when 'c' is true: have"
            " another step make it `when: {tensor: c, is: false}`"
        )

    def test_what_is_made_only_at_times_is_read_under_the_same_condition_only(self):
        last = step("b", "d", ", name: last")
        only = step("b", "d", ", name: last, when: {tensor: c}")
        other = step("a", "d", ", name: other, when: {tensor: c, is: false}")
        same = document(self.two[0], only, other, inputs="a, c", outputs="d")
        assert len(parse_graph(same.encode(), FILE).steps) == 3
        [line] = faults(document(self.two[0], last, inputs="a, c", outputs="d"))
        assert "step 'last' needs 'b', which is made only when 'c' is true" in line

    def test_a_step_that_decides_whether_it_runs_is_a_circle(self):
        [line] = faults(document(step("a", "b", ", when: {tensor: b}")))
        assert "every answer needs 'b'" in line
        text = document(
            step("a", "b", ", name: yes, when: {tensor: b}"),
            step("a", "b", ", name: no, when: {tensor: b, is: false}"),
        )
        assert "a circle: each of these needs what the one before makes" in faults(text)[0]


@settings(max_examples=examples(60))
@given(st.text(alphabet="abc[]{}:,-\n 1", max_size=120))
def test_whatever_is_written_it_is_a_graph_or_told_where_it_is_not(text):
    try:
        parse_graph(f"input: [a]\noutput: [b]\nstep:\n{text}".encode(), FILE)
    except DocumentError as error:
        assert str(error).startswith(f"{FILE}:")  # noqa: PT017


class TestOneDigest:
    @pytest.fixture
    def entry(self, tmp_path):
        put_graph(tmp_path, "fraud", 1)
        return Repository(tmp_path).find("fraud", "1")

    def test_all_files_of_the_steps_belong_to_a_graph(self, entry):
        files = read(entry)
        assert set(files.external) == {f"{place}/model.onnx" for place in MODELS}
        assert files.content == DOCUMENT.encode()

    def test_another_model_or_document_is_another_digest(self, entry):
        folder = entry.path.parent
        before = read(entry).sha256
        (folder / "scaler/1/model.onnx").write_bytes(scaler(0.75))
        other = read(entry).sha256
        entry.path.write_text(DOCUMENT + "fuse: false\n")
        assert len({before, other, read(entry).sha256}) == 3

    def test_a_model_that_is_not_there_is_told_with_its_step(self, entry):
        (entry.path.parent / "risk/1/model.onnx").unlink()
        with pytest.raises(InvalidModel) as refused:
            read(entry)
        assert str(refused.value) == (
            "fraud/1/graph.yaml:12:5: step[2]: no risk/1/model.onnx in the graph's own folder, which has the"
            " models of its steps: copy the folder risk/1 there"
        )

    def test_a_folder_may_have_a_graph_or_a_model_and_of_both_it_is_told(self, entry, tmp_path):
        (entry.path.parent / "model.onnx").write_bytes(scaler())
        repository = Repository(tmp_path)
        [found] = repository.discover()
        assert found.path.name == "model.onnx"
        assert repository.problems == ("fraud/1/graph.yaml: not read, as there is a model.onnx",)
