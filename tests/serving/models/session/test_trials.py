from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.models.session.trials import MAX_TRIALS, Hints, trials
from serving.models.session.warmup import MAX_BYTES, blanks, plain, trial_bytes
from serving.wire.tensors import DATATYPES, Signature, TensorSpec

DIMENSIONS = st.one_of(st.none(), st.sampled_from(["rows", "length"]), st.integers(0, 4))
INPUTS = st.lists(
    st.tuples(st.sampled_from(sorted(DATATYPES)), st.lists(DIMENSIONS, max_size=4)), min_size=1, max_size=3
)
HINTS = st.builds(
    Hints,
    st.lists(st.integers(2, 65_536), max_size=4).map(tuple),
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
)


def signature_of(inputs):
    specs = [
        TensorSpec(f"x{place}", datatype, tuple(n if isinstance(n, int) else -1 for n in dims))
        for place, (datatype, dims) in enumerate(inputs)
    ]
    return Signature(tuple(specs), ())


def shapes(*dims, hints=()):
    signature = signature_of([("FP32", list(shape)) for shape in dims])
    return [trial.shapes for trial in trials(signature, dims, Hints(hints))]


@settings(max_examples=examples(40))
@given(INPUTS, HINTS)
@example([("BF16", [0])], Hints((), ()))
def test_every_trial_is_input_of_the_signature_and_small_and_the_first_is_the_plain_one(inputs, hints):
    signature = signature_of(inputs)
    found = list(trials(signature, [tuple(dims) for _, dims in inputs], hints))
    assert found[0] == plain(signature)
    assert len(set(found)) == len(found) <= MAX_TRIALS
    assert found == list(trials(signature, [tuple(dims) for _, dims in inputs], hints))
    for trial in found[:40]:
        assert trial_bytes(signature, trial) <= MAX_BYTES
        for spec, array in zip(signature.inputs, blanks(signature, 1, trial).values(), strict=True):
            assert array.dtype == spec.dtype
            assert len(array.shape) == len(spec.shape)
            for length, expected in zip(array.shape, spec.shape, strict=True):
                assert expected in (-1, length)
        named = {}
        for (_, dims), shape in zip(inputs, trial.shapes, strict=True):
            for name, length in zip(dims, shape, strict=True):
                assert not isinstance(name, str) or named.setdefault(name, length) == length


def test_a_picture_is_square_one_row_and_three_colours():
    tried = shapes(("rows", None, "height", "width"))
    assert ((1, 3, 32, 32),) in tried
    assert ((1, 3, 640, 640),) in tried
    assert tried.index(((1, 3, 32, 32),)) < tried.index(((1, 3, 640, 640),))


def test_a_length_that_the_graph_suggests_is_tried_beside_others_of_1():
    tried = shapes(("rows", None), (2, None, 128), hints=(576,))
    assert ((1, 576), (2, 1, 128)) in tried
    assert ((1, 576), (2, 576, 128)) in tried


def test_what_has_no_variable_dimension_is_tried_with_other_values():
    signature = Signature((TensorSpec("x", "FP32", (3,)), TensorSpec("sizes", "INT64", (2,))), ())
    fills = [trial.fills for trial in trials(signature, [(3,), (2,)], Hints())]
    assert fills[:2] == [((0,), (0,)), ((1,), (1,))]
    assert ((0,), (-1, 1)) in fills
