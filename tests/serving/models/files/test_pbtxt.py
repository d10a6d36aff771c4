import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.document import DocumentError
from serving.models.files.config import ModelConfig
from serving.models.files.pbtxt import parse_pbtxt

WHOLE = """
# as Triton's own examples are written
name: "digits"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 64 ] },
  { name: 'y', data_type: TYPE_FP32; dims: [ -1, 3 ] }
]
output { name: "z" dims: 0x3 label_filename: "labels.txt" }
version_policy: { specific { versions: [1, 3] } }
instance_group [ { count: 2 kind: KIND_GPU gpus: [0] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy < max_queue_size: 64 default_timeout_microseconds: 250000 >
}
parameters { key: "intra_op_thread_count" value: { string_value: "4" } }
parameters { key: "execution_mode" value: { string_value: "1" } }
optimization { graph { level: -1 } input_pinned_memory { enable: true } }
"""


def parse(text, name="digits"):
    return parse_pbtxt(text.encode(), "digits/config.pbtxt", name)


def test_of_an_ensemble_the_remedy_is_told():
    _, [note] = parse_pbtxt(
        b'platform: "ensemble"\nensemble_scheduling { step [ { model_name: "a" } ] }', "m", "m"
    )
    assert note == (
        "m:2: ensemble_scheduling is not used: write the steps into a graph.yaml in the version's folder"
        " (docs/graphs.md)"
    )


def test_what_maps_is_read_and_each_other_field_is_named_with_its_line():
    config, notes = parse(WHOLE)
    assert config == ModelConfig(
        versions=("1", "3"), threads=4, most_rows=16, queue=64, timeout=0.25, optimization="basic"
    )
    assert [note.removeprefix("digits/config.pbtxt:").split(" is not used")[0] for note in notes] == [
        "12: instance_group.count",
        "12: instance_group.kind",
        "12: instance_group.gpus",
        "14: dynamic_batching.preferred_batch_size",
        "15: dynamic_batching.max_queue_delay_microseconds",
        "19: parameters['execution_mode']",
        "20: optimization.input_pinned_memory",
    ]


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", ModelConfig()),
        ("max_batch_size: 0", ModelConfig(batching=1)),
        ("max_batch_size: 1", ModelConfig(most_rows=1)),
        ("version_policy { all { } }", ModelConfig(versions="all")),
        ("version_policy { latest { num_versions: 3 } }", ModelConfig(versions=3)),
        ("version_policy { latest { } }", ModelConfig(versions=1)),
        ('name: "dig" "its"', ModelConfig()),
        ("optimization { graph { level: 1 } }", ModelConfig(optimization="extended")),
        ("optimization { graph { level: 2 } }", ModelConfig(optimization="none")),
    ],
)
def test_each_of_these_says_all_of_what_it_means(text, config):
    assert parse(text) == (config, ())


def test_another_name_than_the_folders_is_told():
    _, [note] = parse('name: "other"')
    assert note.endswith("name is not used: the model is called as its folder, 'digits'")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("max_batch_size: many", "1:1"),
        ("max_batch_size: -1", "1:1"),
        ("optimization { graph { level: 3 } }", "1:1"),
        ("max_batch_size", "1:15"),
        ("\n  input {", "2:10"),
        ("input }", "1:7"),
        ("a: [1 2]", "1:7"),
        ("a: 'b", "1:4"),
        ("version_policy: 3", "1:1"),
        ("version_policy { specific { } }", "1:1"),
        ("a { " * 100, "1:133"),
        ("\x00", "1:1"),
    ],
)
def test_what_is_no_such_text_is_refused_with_its_place(text, place):
    with pytest.raises(DocumentError, match=rf"^digits/config\.pbtxt:{place}: "):
        parse(text)


@given(st.one_of(st.text(max_size=60), st.text("{}[]<>:,;'\"#\\ab1-. \n", max_size=60)))
def test_any_text_is_read_or_refused(text):
    try:
        config, notes = parse(text)
    except DocumentError:
        return
    assert isinstance(config, ModelConfig)
    assert all(note.startswith("digits/config.pbtxt:") for note in notes)
