"""What is claimed of where a model comes from, and by whom."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.document import DocumentError
from serving.models.files.config import parse_config
from serving.models.files.lineage import (
    ABOUT,
    CONVERSION,
    MOST_CHARACTERS,
    ORIGIN,
    VERIFIED,
    Claim,
    from_config,
    from_file,
    from_graph,
    gathered,
)
from serving.models.files.repository import Repository, lineage

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.sampled_from(["claims", "about"]), inner)
    ),
    max_leaves=12,
)
CLAIMS = st.builds(Claim, st.sampled_from(ABOUT), TEXT, TEXT)


@given(JSON | st.binary())
def test_whatever_a_file_holds_is_read_or_said_to_be_unreadable(found):
    content = found if isinstance(found, bytes) else json.dumps(found).encode()
    told = from_file(content)
    assert all(claim.about in ABOUT and len(claim.value) <= MOST_CHARACTERS for claim in told.claims)


@given(st.lists(CLAIMS, max_size=20))
def test_each_claim_stands_once_in_the_order_of_what_is_asked_and_the_rest_is_unknown(claims):
    told = gathered(claims)
    assert set(told.claims) == set(claims)
    assert len(told.claims) == len(set(claims))
    assert [ABOUT.index(claim.about) for claim in told.claims] == sorted(
        ABOUT.index(c.about) for c in told.claims
    )
    assert set(told.unknown) == set(ABOUT) - {"metadata"} - {claim.about for claim in claims}


def test_two_who_claim_different_things_both_stand():
    told = gathered([*from_graph({"commit": "b"}, "model.onnx"), Claim("commit", "a", "MLflow")])
    assert {(claim.value, claim.said_by) for claim in told.claims} == {("a", "MLflow"), ("b", "model.onnx")}
    assert told.short() == {"commit": "b (says model.onnx)"}


def test_what_a_file_says_beyond_what_is_asked_is_metadata():
    assert from_graph({"built_with": "numpy", "run": "https://x/1"}, "model.onnx") == (
        Claim("metadata", "built_with: numpy", "model.onnx"),
        Claim("run", "https://x/1", "model.onnx", "https://x/1"),
    )


def test_what_a_variant_says_of_its_making_is_its_parent_and_its_conversion():
    origin = {"model": "digits/4", "sha256": "ab" * 32}
    conversion = {"method": "int8", "options": {"weights": "int8"}, "onnx": "1.20", "onnxruntime": "1.31"}
    said = {ORIGIN: json.dumps(origin), CONVERSION: json.dumps(conversion)}
    assert from_graph(said, "model.onnx") == (
        Claim("parent", f"digits/4 (sha256 {'ab' * 32})", "model.onnx"),
        Claim("conversion", "int8 (weights: int8) by onnx 1.20, onnxruntime 1.31", "model.onnx"),
    )


@given(JSON | TEXT, st.sampled_from([ORIGIN, CONVERSION]))
def test_what_no_variant_says_so_stays_as_it_is(found, name):
    value = found if isinstance(found, str) else json.dumps(found)
    assert from_graph({name: value}, "model.onnx") == (Claim("metadata", f"{name}: {value}", "model.onnx"),)


def test_only_web_addresses_are_links():
    for link in ("javascript:alert(1)", "data:text/html,x", 'https://a"b', "https://a b", "//host"):
        claim = {"about": "run", "value": "1", "link": link}
        [told] = from_file(json.dumps({"claims": [claim]}).encode()).claims
        assert told.link == ""


def test_claims_that_cannot_be_read_are_counted():
    told = from_file(
        json.dumps({"claims": [{"about": "run", "value": "1"}, {"about": "x", "value": "1"}, 3]}).encode()
    )
    assert ([claim.value for claim in told.claims], told.problems) == (
        ["1"],
        ("2 claims of lineage.json cannot be read",),
    )


def test_a_configuration_says_it_by_version():
    text = b'lineage:\n  "2":\n    registered_by: ann\n    data: [a.parquet, b.parquet]\n'
    told = parse_config(text, "config.yaml", list).lineage
    assert from_config(told["2"], "config.yaml") == (
        Claim("registered_by", "ann", "config.yaml"),
        Claim("data", "a.parquet", "config.yaml"),
        Claim("data", "b.parquet", "config.yaml"),
    )


@pytest.mark.parametrize(
    "text", [b'lineage: {"2": {by: ann}}', b"lineage: {x: {run: a}}", b'lineage: {"2": {run: 3}}']
)
def test_a_configuration_with_a_slip_is_refused(text):
    with pytest.raises(DocumentError, match=r"config\.yaml:1:"):
        parse_config(text, "config.yaml", list)


def test_all_that_lies_beside_a_model_is_told(tmp_path):
    folder = tmp_path / "m" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x")
    (folder / "lineage.json").write_text(
        '{"said_by": "MLflow", "claims": [{"about": "run", "value": "r1", "link": "https://mlflow/r1"}]}'
    )
    (tmp_path / "m" / "config.yaml").write_text('lineage: {"1": {commit: abc}}')
    told = lineage(Repository(tmp_path).find("m", "1"), {"producer": "skl2onnx"})
    assert [(claim.about, claim.said_by) for claim in told.claims] == [
        ("run", "MLflow"),
        ("commit", "config.yaml"),
        ("producer", "model.onnx"),
    ]
    (folder / "lineage.json").write_bytes(b"{")
    assert lineage(Repository(tmp_path).find("m", "1"), {}).problems == ("lineage.json is no JSON",)


def test_no_file_speaks_for_what_was_verified_here():
    said = {"said_by": VERIFIED, "claims": [{"about": "signature", "value": "of everybody"}]}
    [claim] = from_file(json.dumps(said).encode()).claims
    assert claim.said_by == "lineage.json"
