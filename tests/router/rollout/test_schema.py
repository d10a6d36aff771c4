"""Table, parser, writer and JSON Schema of the rollout document say the same.

A field that is new in the parser fails here until `router/rollout/fields.py` has it, with a value that is
accepted and one that is refused, and its bounds in `router/rollout/kinds.py`; then run `make docs`.
"""

import copy
import json
import tomllib

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_values import WHOLE, rollouts

from harness.search import examples
from harness.system import ROOT
from router.rollout import kinds
from router.rollout.fields import REFUSED, SECTIONS
from router.rollout.guards.registry import KINDS
from router.rollout.parser import parse, parse_one, to_document
from router.rollout.schema import as_text, of_file, of_one
from router.rollout.table import NAME, REQUIRED, UNSET
from serving import document
from serving.document import DocumentError

FILE = jsonschema_rs.Draft202012Validator(of_file())
ONE = jsonschema_rs.Draft202012Validator(of_one())
ROWS = [(section, field) for section in SECTIONS for field in section.fields]
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
each_field = pytest.mark.parametrize(
    ("section", "field"), ROWS, ids=[f"{section.title}.{field.key}" for section, field in ROWS]
)
HOW = "the table in router/rollout/fields.py and the parser differ: add the field to both, then `make docs`"


def values(node):
    """A document as JSON would give it."""
    match node.value:
        case dict():
            return {key: values(each) for key, each in node.value.items()}
        case list():
            return [values(each) for each in node.value]
        case value:
            return value


def at(found, place):
    for step in place:
        found = found[step]
    return found


def with_value(section, key, value):
    found = copy.deepcopy(section.sample)
    mapping = at(found, section.place)
    if section.one_of:
        mapping.clear()
    for field in section.fields:
        if field.key == key:
            mapping |= copy.deepcopy(field.beside)
    mapping[key] = value
    return found


def is_parsed(found):
    try:
        parse(json.dumps(found), "f")
    except DocumentError:
        return False
    return True


def test_the_schemas_are_schemas():
    for schema in (of_file(), of_one()):
        jsonschema_rs.meta.validate(schema)


# ------------------------------------------------------------------ the table


@each_section
def test_the_table_has_the_keys_that_the_parser_knows(section):
    with pytest.raises(DocumentError) as refused:
        parse(json.dumps(with_value(section, "noSuchKey", 1)), "f")
    known = refused.value.message.partition("known here: ")[2].split(", ")
    assert sorted(field.key for field in section.fields) == known, f"{section.title}: {HOW}"


@each_section
def test_the_writer_writes_what_the_table_has(section):
    for field in section.fields:
        found = with_value(section, field.key, field.good)
        written = {model: to_document(each) for model, each in parse(json.dumps(found), "f").items()}
        assert FILE.is_valid(written), written
        mapping = at(written, section.place)
        if isinstance(mapping, list):  # of agreement, which may be one or several
            [mapping] = mapping
        if isinstance(mapping, dict):  # and no target in short
            assert set(mapping) <= {each.key for each in section.fields}, f"{section.title}: {HOW}"


@each_field
def test_a_default_is_the_one_of_parser_and_writer(section, field):
    if field.default in (UNSET, REQUIRED) or section.one_of:
        return
    left_out = copy.deepcopy(section.sample)
    at(left_out, section.place).pop(field.key, None)
    said = parse(json.dumps(with_value(section, field.key, field.default)), "f")
    assert parse(json.dumps(left_out), "f") == said, f"{section.title}, {field.key}: not the default"
    written = to_document(said[NAME])
    mapping = at({NAME: written}, section.place)
    for each in mapping if isinstance(mapping, list) else [mapping]:
        each.pop(field.key, None)
    assert parse_one(NAME, json.dumps(written), "f") == said[NAME], f"{section.title}, {field.key}: written"
    told = of_file()["$defs"][section.name]
    properties = (told["else"] if section.short else told)["properties"]
    assert properties[field.key]["default"] == field.default


@each_section
def test_the_schema_requires_what_the_parser_requires(section):
    for field in section.fields:
        left_out = copy.deepcopy(section.sample)
        at(left_out, section.place).pop(field.key, None)
        if field.default == REQUIRED:
            assert not FILE.is_valid(left_out), field.key
            assert not is_parsed(left_out), field.key
        elif not section.one_of:
            assert FILE.is_valid(left_out) >= is_parsed(left_out), field.key


@each_field
def test_parser_and_schema_accept_the_good_and_refuse_the_wrong(section, field):
    good, wrong = (with_value(section, field.key, value) for value in (field.good, field.wrong))
    assert is_parsed(good), f"{field.good!r} is refused by the parser"
    assert FILE.is_valid(good), f"{field.good!r} is refused by the schema: {field.kind.schema}"
    assert not is_parsed(wrong), f"{field.wrong!r} is accepted by the parser"
    said = (
        "cannot be told wrong by the schema: say `beyond=True`" if not field.beyond else "is told wrong now"
    )
    assert FILE.is_valid(wrong) == field.beyond, f"{field.wrong!r} {said}"


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.why)
def test_what_does_not_fit_together_is_refused_by_the_schema_or_said_to_be_beyond_it(refused):
    assert not is_parsed(refused.document)
    assert FILE.is_valid(refused.document) == refused.beyond, refused.why


def test_few_rows_are_beyond_the_schema():
    beyond = [refused.why for refused in REFUSED if refused.beyond]
    top_ups = [why for why in beyond if why.startswith("a top-up ")]
    outcomes = [
        "a guard on an outcome needs the outcome",
        "an outcome has the limits of its kind",
        "a limit is on the side that is worse",
        "segments are held to what all are",
        "a placed canary is not sticky",
        "a share reaches its nodes",
        "so does that of each step",
        "steps are gone through in waves",
        "a shadow has no waves",
        "stable keeps a share",
        "the best needs an outcome of the rollout",
        "a promotion moves another alias",
    ]
    servers = ["certificates are for https", "a secret is no header"]
    alone = ["a viewer only reads", "bounds are in order"]
    assert beyond == ["a target has one role", *servers, *alone, *top_ups, *outcomes]
    assert [field.key for _, field in ROWS if field.beyond] == []


def test_every_kind_of_guard_has_a_section():
    titles = [section.title for section in SECTIONS if section.title.startswith("guards.")]
    one_for_each_limit = 1  # of a guard on an outcome that is no label: `maxDrop` or `maxRise`
    assert len(titles) == sum(len(kind.write) for kind in KINDS) + one_for_each_limit, HOW


# ------------------------------------------------------------------ bounds


def edges(kind):
    """Values at the bounds of a kind, and beyond."""
    match kind:
        case kinds.Whole():
            return [kind.least, kind.most], [kind.least - 1, kind.most + 1]
        case kinds.Number():
            inside = [bound for bound in (kind.least, kind.most) if abs(bound) < 1e300]
            return inside, [bound + (bound == kind.most) - (bound == kind.least) for bound in inside]
        case kinds.Percentage():
            return [0, 100, "0%", "100%", "1e2%", "-0%", ".5%"], [-0.001, 100.001, "101%", "-1%", "100.1%"]
        case kinds.OpenFraction():
            return [1e-9, 1 - 1e-9, "0.001%", "99.9%"], [0, 1, "0%", "100%", "101%", "-1%", "0.5"]
        case kinds.Change():
            return [0, 1 - 1e-9, "0%", "-0%", "99.9%"], [-1e-9, 1, "-1%", "100%", "101%", "0.5"]
        case kinds.Text():
            return ["x", "x" * kind.most_characters], ["", "x" * (kind.most_characters + 1)]
        case kinds.Choice():
            return [*kind.options], ["no such word", True]
        case kinds.Unit():
            return [*kind.options, "1s", "999s", "3600s", "60m", "1h"], [
                "request",
                "0s",
                "3601s",
                "61m",
                "2h",
                10,
            ]
        case kinds.Flag():
            return [True, False], ["true", 0]
        case _:
            return [], []


@each_field
def test_parser_and_schema_have_the_same_bounds(section, field):
    inside, outside = edges(field.kind)
    for value in inside:
        found = with_value(section, field.key, value)
        assert FILE.is_valid(found), value
        if field.key not in {"min", "max"} and not (section.name == "canary" and field.key == "weight"):
            assert is_parsed(found), value
    for value in outside:
        found = with_value(section, field.key, value)
        assert not is_parsed(found), value
        assert not FILE.is_valid(found), value


@pytest.mark.parametrize(
    "field", [f for _, f in ROWS if isinstance(f.kind, kinds.Duration)], ids=lambda f: f.key
)
def test_durations_have_the_bounds_of_their_kind(field):
    section = next(section for section in SECTIONS if field in section.fields)
    least, most = field.kind.least_seconds, field.kind.most_seconds
    for seconds in (least, most):
        found = with_value(section, field.key, kinds.duration_text(seconds))
        assert is_parsed(found), seconds
        assert FILE.is_valid(found), seconds
    for seconds in (least / 2, most * 1.01):
        found = with_value(section, field.key, kinds.duration_text(seconds))
        assert seconds == least or not is_parsed(found), seconds


def test_lists_have_the_bounds_of_their_kind():
    def with_list(place, key, items):
        found = {NAME: {"stable": "m/1", "canary": {"model": "m/2"}, "guards": {"errors": {"max": 0.1}}}}
        at(found, (NAME, *place)).setdefault(key, items)
        return found

    for place, key, many, item in [
        ((), "shadows", kinds.SHADOWS, "s/{}".format),
        (("canary",), "steps", kinds.STEPS, lambda number: {"setWeight": number % 100}),
        (("guards",), "agreement", kinds.GUARDS, lambda number: {"output": f"o{number}", "min": 0.5}),
    ]:
        spare = 1 if key == "agreement" else 0  # errors is a guard too
        for count, fits in [(many.least, True), (many.most - spare, True), (many.most + 1, False)]:
            found = with_list(place, key, [item(number) for number in range(1, count + 1)])
            assert is_parsed(found) == FILE.is_valid(found) == fits, (key, count)
        if many.least:
            found = with_list(place, key, [])
            assert is_parsed(found) is FILE.is_valid(found) is False, key
    for count, fits in [(kinds.REDACTED.most, True), (kinds.REDACTED.most + 1, False)]:
        names = [f"x{number}" for number in range(count)]
        for holder in ("examples", "record"):
            found = {NAME: {"stable": "m/1", holder: {"redact": names}}}
            assert is_parsed(found) == FILE.is_valid(found) == fits


# ------------------------------------------------------------------ any document


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=examples(60))
@given(rollouts())
def test_every_rollout_that_can_be_is_accepted_by_the_schema(rollout):
    found = to_document(rollout)
    assert ONE.is_valid(found)
    assert FILE.is_valid({rollout.model: found})


SAMPLES = [values(document.parse(WHOLE, "f")), *(section.sample for section in SECTIONS)]
WORDS = [
    "0s",
    "0.5s",
    "1e1%",
    "+5%",
    "-0.0%",
    ".5%",
    "5.%",
    "1h30m",
    "9ms",
    "m/2",
    "exact",
    "0%",
    "100%",
    "99.99%",
]
scalars = (
    st.none() | st.booleans() | st.integers(-2, 1001) | st.floats(-1, 101) | st.sampled_from(WORDS)
    | st.text("0123456789.eE+-%smuhd/", max_size=6) | st.sampled_from([f.good for _, f in ROWS])
    | st.sampled_from([f.wrong for _, f in ROWS])
)  # fmt: skip
KEYS = sorted({field.key for _, field in ROWS} | {"errors", "latency", "agreement", "orders", "label"})


def places(found, path=()):
    yield path
    children = (
        found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    )
    for key, each in children:
        yield from places(each, (*path, key))


@st.composite
def changed(draw):
    """A document that was right, with one or two places changed."""
    found = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 2))):
        inside = [path for path in places(found) if path]
        if not inside:
            break
        *way, last = draw(st.sampled_from(inside))
        parent = at(found, way)
        match draw(st.integers(0, 3)):
            case 0:
                parent.pop(last)
            case 1 if isinstance(parent, list):
                parent.insert(last, copy.deepcopy(draw(st.sampled_from(parent))))
            case 2 if isinstance(parent, dict):
                parent[draw(st.sampled_from(KEYS))] = copy.deepcopy(draw(scalars))
            case _:
                parent[last] = copy.deepcopy(draw(scalars))
    return found


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=examples(300))
@given(changed())
def test_what_the_schema_refuses_the_parser_refuses(found):
    assert FILE.is_valid(found) or not is_parsed(found), list(FILE.iter_errors(found))


@settings(max_examples=examples(200))
@given(st.sampled_from([kind for _, field in ROWS if hasattr(kind := field.kind, "read")]), scalars)
def test_what_the_schema_of_a_kind_refuses_its_reader_refuses(kind, value):
    if jsonschema_rs.is_valid(dict(kind.schema), value):
        return
    with pytest.raises(DocumentError):
        kind.read(document.parse(json.dumps(value), "f"))


# ------------------------------------------------------------------ published


def test_the_schema_is_in_the_package_as_a_file():
    assert (ROOT / "router/rollout.schema.json").read_text() == as_text(of_file()), "run `make docs`"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "rollout.schema.json" in project["tool"]["setuptools"]["package-data"]["router"]
