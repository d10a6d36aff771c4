import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from router.rollout.compare import Comparison, compare, default_rule
from router.rollout.rules import Argmax, Close, Cosine, Exact, JensenShannon, TopK
from serving.wire.bf16 import rounded

RULES = [Exact(), Close(0.1, 0.1), Argmax(), TopK(2), Cosine(0.9), JensenShannon(0.1)]

dtypes = st.sampled_from(["?", "i1", "u1", "i8", "u8", "f2", "f4", "f8"])
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, shapes)) | hnp.arrays(
    object, shapes, elements=st.text()
)
pairs = st.tuples(dtypes, shapes).flatmap(
    lambda kind: st.tuples(hnp.arrays(kind[0], kind[1]), hnp.arrays(kind[0], kind[1]))
)
rules = st.sampled_from(RULES)


def one(reference, candidate, rule) -> Comparison:
    (comparison,) = compare({"o": np.asarray(reference)}, {"o": np.asarray(candidate)}, {"o": rule})
    return comparison


def test_bf16_is_compared_as_the_numbers_that_it_is():
    one_and_a_bit = rounded(np.float32([1, 100]))
    other = rounded(np.float32([1.0078125, 100]))
    assert default_rule(one_and_a_bit) == default_rule("BF16") == Close(atol=1e-5, rtol=1e-3)
    found = one(one_and_a_bit, other, Close(atol=0.01))
    assert (found.same, found.distance) == (True, 0.0078125)
    assert not one(one_and_a_bit, other, Exact()).same
    assert one(one_and_a_bit, other, Argmax()).same
    nan = rounded(np.float32([np.nan, 100]))
    assert one(one_and_a_bit, nan, Close(atol=1)).kind == "nan"
    assert one(nan, one_and_a_bit.view("<u2"), Exact()).kind == "datatype"


def verdict(reference, candidate, rule):
    found = one(reference, candidate, rule)
    return found.kind, found.distance


@settings(deadline=None)
@given(arrays, rules)
def test_an_answer_agrees_with_its_copy_under_every_rule(array, rule):
    copy = np.array(array.tolist(), dtype=array.dtype).reshape(array.shape)
    assert verdict(array, copy, rule) == ("same", 0.0)


@settings(deadline=None)
@given(arrays, arrays, rules)
def test_any_two_arrays_can_be_compared(reference, candidate, rule):
    found = one(reference, candidate, rule)
    assert found.same == (found.kind == "same")
    assert math.isfinite(found.distance)
    assert found.distance >= 0


@settings(deadline=None)
@given(pairs, rules)
def test_the_verdict_is_that_of_its_rows(pair, rule):
    reference, candidate = pair
    if reference.ndim and reference.size:
        rows = zip(
            reference.reshape(-1, reference.shape[-1]),
            candidate.reshape(-1, reference.shape[-1]),
            strict=True,
        )
        assert one(reference, candidate, rule).same == all(one(a, b, rule).same for a, b in rows)


@settings(deadline=None)
@given(pairs)
def test_exact_says_what_python_says(pair):
    reference, candidate = (side.ravel().tolist() for side in pair)
    equal = all(
        a == b or (a != a and b != b)  # noqa: PLR0124  (NaN)
        for a, b in zip(reference, candidate, strict=True)
    )
    assert one(*pair, Exact()).same == equal


@settings(deadline=None)
@given(pairs, st.integers(1, 5))
def test_argmax_is_the_first_of_the_top_one_and_a_whole_row_is_always_on_top(pair, k):
    assert one(*pair, Argmax()) == one(*pair, TopK(1))
    if pair[0].ndim and k >= pair[0].shape[-1]:
        assert one(*pair, TopK(k)).kind in ("same", "nan")


shares = hnp.arrays("f8", (3, 5), elements=st.floats(0, 1, allow_subnormal=False))  # of which scipy makes inf


@settings(deadline=None)
@given(shares, shares)
def test_jensen_shannon_is_scipys(p, q):
    from scipy.spatial import distance as scipy_distance

    p[:, 0] += 0.01
    q[:, 1] += 0.01
    with np.errstate(invalid="ignore"):  # its square root of a rounding error below 0
        expected = scipy_distance.jensenshannon(p, q, base=2, axis=1) ** 2
    assert one(p, q, JensenShannon(1)).distance == pytest.approx(np.nanmax(expected), abs=1e-9)


@settings(deadline=None)
@given(
    hnp.arrays("f8", (3, 5), elements=st.floats(-9, 9)), hnp.arrays("f8", (3, 5), elements=st.floats(-9, 9))
)
def test_cosine_is_scipys(p, q):
    from scipy.spatial import distance as scipy_distance

    p[:, 0], q[:, 1] = 10, 10
    expected = max(scipy_distance.cosine(a, b) for a, b in zip(p, q, strict=True))
    assert one(p, q, Cosine(-1)).distance == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("reference", "candidate", "kind"),
    [
        (np.zeros(3, "f4"), np.zeros(3, "f8"), "datatype"),
        (np.zeros(3, "i4"), np.zeros(3, "i8"), "datatype"),
        (np.array(["a"], object), np.zeros(1, "f4"), "datatype"),
        (np.zeros((1, 3)), np.zeros((3, 1)), "shape"),
        (np.zeros(()), np.zeros(1), "shape"),
        (np.zeros((0, 3)), np.zeros((0, 4)), "shape"),
        ([1.0, np.nan], [1.0, 2.0], "nan"),
        ([1.0, 2.0], [1.0, np.inf], "nan"),
        ([np.nan, 1.0], [1.0, np.nan], "nan"),
        ([np.inf], [-np.inf], "nan"),
        ([np.inf], [np.nan], "nan"),
        (np.array(np.nan), np.array(1.0), "nan"),
    ],
)
def test_a_difference_of_form_is_one_under_every_rule(reference, candidate, kind, rule):
    assert verdict(reference, candidate, rule) == (kind, 1.0)


@pytest.mark.parametrize(
    ("rule", "reference", "candidate", "kind", "distance"),
    [
        (Exact(), [1, 2, 3, 4], [1, 2, 3, 5], "value", 0.25),
        (Exact(), 0.0, -0.0, "same", 0.0),
        (Exact(), [np.nan, 1.0, -0.0], [np.nan, 1.0, 0.0], "same", 0.0),
        (Exact(), np.array(["a", "b"], object), np.array(["a", "c"], object), "value", 0.5),
        (Exact(), np.array([b"a"], object), np.array(["a"], object), "value", 1.0),
        (Exact(), np.array("a", object), np.array("b", object), "value", 1.0),
        (Argmax(), np.array(["a", "b"], object), np.array(["a", "c"], object), "value", 0.5),
        (Close(atol=0.5), [1.0, 2.0], [1.5, 2.0], "same", 0.5),
        (Close(atol=0.5), [1.0, 2.0], [1.5, 2.75], "value", 0.75),
        (Close(rtol=0.1), [10.0], [11.0], "same", 1.0),
        (Close(rtol=0.1), [11.0], [9.0], "value", 2.0),
        (Close(atol=0.1), [np.inf, 1.0], [np.inf, 1.0625], "same", 0.0625),
        (Close(), [2**53], [2**53 + 1], "value", 1.0),
        (Close(), [-(2**63)], [2**63 - 1], "value", 2.0**64),
        (Close(1.0), np.array([0], "u1"), np.array([255], "u1"), "value", 255.0),
        (Close(1.0), [True], [False], "same", 1.0),
        (Close(1.0), np.array([6e4], "f2"), np.array([-6e4], "f2"), "value", 120000.0),
        (Close(), [1.7e308], [-1.7e308], "value", np.finfo("f8").max),
        (Argmax(), [[1, 2], [2, 1]], [[3, 4], [1, 2]], "value", 0.5),
        (Argmax(), [1, 1], [1, 0], "same", 0.0),
        (Argmax(), [1, 1], [0, 1], "value", 1.0),
        (Argmax(), [np.nan, 1.0, 2.0], [np.nan, 2.0, 1.0], "value", 1.0),
        (Argmax(), [np.nan, 1.0, 2.0], [np.nan, 1.0, 3.0], "same", 0.0),
        (Argmax(), 1.0, 2.0, "same", 0.0),
        (TopK(2), [1, 2, 3, 4], [1, 2, 4, 3], "same", 0.0),
        (TopK(2), [1, 2, 3, 4], [1, 3, 2, 4], "value", 1.0),
        (TopK(2), [5, 5, 5], [9, 8, 7], "same", 0.0),
        (TopK(9), [1, 2, 3], [3, 2, 1], "same", 0.0),
        (TopK(1), np.array([-128, 127], "i1"), np.array([0, 1], "i1"), "same", 0.0),
        (TopK(1), np.array([0, 200], "u1"), np.array([1, 3], "u1"), "same", 0.0),
        (Cosine(0.5), [1.0, 0.0], [0.0, 1.0], "value", 1.0),
        (Cosine(-1), [1.0, 0.0], [-1.0, 0.0], "same", 2.0),
        (Cosine(1), [0.1, 0.2, 0.3], [0.2, 0.4, 0.6], "same", 0.0),
        (Cosine(0.5), [0.0, 0.0], [1.0, 0.0], "value", 1.0),
        (Cosine(0.5), [0.0, -0.0], [0.0, 0.0], "same", 0.0),
        (Cosine(0.9), [1e308, 1e308], [1e-308, 1e-308], "same", 0.0),
        (Cosine(0.9), np.array([6e4] * 9, "f2"), np.array([3e4] * 9, "f2"), "same", 0.0),
        (Cosine(0.9), [np.inf, 1.0], [np.inf, -1.0], "value", 2.0),
        (JensenShannon(0.5), [1.0, 0.0], [0.0, 1.0], "value", 1.0),
        (JensenShannon(1), [1.0, 0.0], [0.0, 1.0], "same", 1.0),
        (JensenShannon(0), [1, 3], [2, 6], "same", 0.0),
        (JensenShannon(1), [-1.0, 2.0], [1.0, 2.0], "value", 1.0),
        (JensenShannon(1), [-1.0, 2.0], [-2.0, 4.0], "value", 1.0),
        (JensenShannon(1), [[-1.0, 2.0], [0.0, 1.0]], [[-1.0, 2.0], [-0.0, 1.0]], "same", 0.0),
        (JensenShannon(1), [0.0, 0.0], [1.0, 0.0], "value", 1.0),
        (JensenShannon(0), [1e308] * 4, [1e-300] * 4, "same", 0.0),
    ],
)
def test_a_rule_measures_what_it_says(rule, reference, candidate, kind, distance):
    found_kind, found = verdict(reference, candidate, rule)
    assert found_kind == kind
    assert found == pytest.approx(distance, abs=1e-12)


def test_outputs_come_in_the_references_order_and_a_missing_one_is_a_difference():
    x = np.ones(1)
    found = compare({"b": x, "a": x, "c": x}, {"d": x, "c": x, "b": x}, {})
    assert [(one.output, one.kind) for one in found] == [
        ("b", "same"),
        ("a", "missing"),
        ("c", "same"),
        ("d", "missing"),
    ]


def test_an_output_without_a_rule_is_close_for_floats_and_exact_for_the_rest():
    assert default_rule("FP16") == default_rule(np.zeros(1, "f8")) == Close(atol=1e-5, rtol=1e-3)
    assert default_rule("INT64") == default_rule("BYTES") == default_rule(np.zeros(1, bool)) == Exact()
    close = compare({"o": np.array([1.0])}, {"o": np.array([1.0005])}, {})
    assert close[0].same
    assert not compare({"o": np.array([1000000])}, {"o": np.array([1000001])}, {})[0].same


def test_arrays_that_are_views_are_compared_by_value():
    whole = np.arange(24.0).reshape(4, 6)
    assert verdict(whole.T, np.ascontiguousarray(whole.T), Exact()) == ("same", 0.0)
    assert verdict(whole[::2, ::-1], whole[::2, ::-1] + 1, Close(0.5)) == ("value", 1.0)
