"""A candidate can stand in for stable when no client of stable would notice by the signature."""

import pytest

from router.targets.compatibility import incompatibility, signature_of
from serving.wire.tensors import Signature, TensorSpec

X = TensorSpec("x", "FP32", (-1, 4))
LABEL = TensorSpec("label", "INT64", (-1,))
STABLE = Signature((X,), (LABEL,))


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (Signature((X,), (LABEL,)), ""),
        (Signature((X,), (LABEL, TensorSpec("extra", "FP32", (-1,)))), ""),
        (Signature((TensorSpec("x", "FP32", (-1, -1)),), (LABEL,)), ""),
        (Signature((TensorSpec("y", "FP32", (-1, 4)),), (LABEL,)), "no input 'x'"),
        (Signature((TensorSpec("x", "FP64", (-1, 4)),), (LABEL,)), "is FP64"),
        (Signature((TensorSpec("x", "FP32", (1, 4)),), (LABEL,)), "has shape [1, 4]"),
        (Signature((TensorSpec("x", "FP32", (-1, 5)),), (LABEL,)), "has shape [-1, 5]"),
        (Signature((TensorSpec("x", "FP32", (-1,)),), (LABEL,)), "has shape [-1]"),
        (Signature((X, TensorSpec("z", "FP32", (1,))), (LABEL,)), "needs a further input 'z'"),
        (Signature((X, TensorSpec("z", "FP32", (1,), optional=True)), (LABEL,)), ""),
        (Signature((TensorSpec("x", "FP32", None),), (LABEL,)), ""),
        (Signature((X,), (TensorSpec("y", "FP32", (-1,)),)), "no output 'label'"),
        (Signature((X,), ()), ""),
        (Signature((), (LABEL,)), ""),
        (Signature((X,), (TensorSpec("label", "INT32", (-1,)),)), "output 'label' is INT32"),
    ],
)
def test_what_a_client_would_notice_is_named(candidate, words):
    reason = incompatibility(STABLE, candidate)
    assert words in reason
    assert bool(reason) == bool(words)


def test_a_candidate_may_not_need_what_stable_can_do_without():
    optional = TensorSpec("z", "FP32", None, optional=True)
    stable, needy = (
        Signature((X, optional), (LABEL,)),
        Signature((X, TensorSpec("z", "FP32", None)), (LABEL,)),
    )
    assert incompatibility(stable, stable) == ""
    assert incompatibility(stable, needy) == "it needs the input 'z', which stable can do without"
    assert incompatibility(needy, stable) == ""
    fixed = Signature((X, TensorSpec("z", "FP32", (-1,))), (LABEL,))
    assert incompatibility(needy, fixed) == "its input 'z' has shape [-1], stable's has any"


def test_a_signature_is_read_from_metadata():
    metadata = {
        "name": "m",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
    }
    assert signature_of(metadata) == STABLE


@pytest.mark.parametrize(
    "metadata", [[], {}, {"inputs": 3, "outputs": []}, {"inputs": [{}], "outputs": []}, None]
)
def test_what_is_no_metadata_is_refused(metadata):
    with pytest.raises((KeyError, TypeError, ValueError)):
        signature_of(metadata)
