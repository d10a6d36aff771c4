"""Graphs at random: one session and its steps answer alike, and neither joins rows that mix."""

import numpy as np
import pytest
from graph_folders import put_graph
from graphs import FLOAT, graph, node, value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.models.checking.graphs import opened
from serving.models.files.repository import Repository, read

ROWS = [value(name, FLOAT, ["rows", 3]) for name in "xyz"]


def model(inputs, *nodes):
    constants = {"w": np.array([[2, -1, 0.5]], "f4"), "first": np.array([0])}
    used = {name for each in nodes for name in each.input}
    return graph(
        nodes, ROWS[:inputs], [ROWS[2]], [(name, array) for name, array in constants.items() if name in used]
    )


MODELS = {
    "negate/1": model(1, node("Neg", ["x"], ["z"])),
    "scale/1": model(1, node("Mul", ["x", "w"], ["t"]), node("Tanh", ["t"], ["z"])),
    "add/1": model(2, node("Add", ["x", "y"], ["z"])),
    "larger/1": model(2, node("Max", ["x", "y"], ["t"]), node("Mul", ["t", "w"], ["z"])),
    "centre/1": model(1, node("ReduceMean", ["x"], ["t"], axes=[0]), node("Sub", ["x", "t"], ["z"])),
}
MIXES = "centre"


@st.composite
def documents(draw):
    """Steps that read what is there already, in any order, and the outputs that nothing else reads."""
    tensors, steps, unread = ["a", "b"], [], {"a", "b"}
    for number in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from([place.partition("/")[0] for place in MODELS]))
        reads = [draw(st.sampled_from(tensors)) for _ in range(2 if name in {"add", "larger"} else 1)]
        unread -= set(reads)
        made = f"t{number}"
        maps = ", ".join(f"{own}: {tensor}" for own, tensor in zip("xy", reads, strict=False))
        steps.append(
            f"  - {{name: s{number}, model_name: {name}, model_version: 1, input_map: {{{maps}}},"
            f" output_map: {{z: {made}}}}}\n"
        )
        tensors.append(made)
        unread.add(made)
    inputs = sorted({"a", "b"} - unread)
    outputs = sorted(unread - {"a", "b"})
    head = f"input: [{', '.join(inputs)}]\noutput: [{', '.join(outputs)}]\nstep:\n"
    return head + "".join(draw(st.permutations(steps)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("generated")


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents(), rows=st.integers(1, 4))
def test_one_session_and_its_steps_answer_alike_and_rows_that_mix_are_found(root, document, rows):
    put_graph(root, "g", 1, MODELS, document)
    entry = Repository(root).find("g", "1")
    both = opened(entry, read(entry), 1, lambda: None)
    steps = opened(entry, read(entry), 1, None)
    assert both.form == "fused"
    assert both.model.signature == steps.model.signature
    drawn = np.random.default_rng(rows)
    feeds = {spec.name: drawn.normal(size=(rows, 3)).astype("f4") for spec in both.model.signature.inputs}
    names = [spec.name for spec in both.model.signature.outputs]
    ours = both.model.run(feeds, names)
    for one, other in zip(ours, steps.model.run(feeds, names), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    mixes = f"model_name: {MIXES}" in document
    assert bool(both.dependence()) == bool(steps.dependence()) == mixes
    if not mixes:  # then each row gets together what it gets alone
        for row in range(rows):
            alone = steps.model.run({name: array[row : row + 1] for name, array in feeds.items()}, names)
            for one, other in zip(ours, alone, strict=True):
                np.testing.assert_allclose(one[row : row + 1], other, rtol=1e-5, atol=1e-6)
