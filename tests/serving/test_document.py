import json
import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.document import MAX_BYTES, MAX_DEPTH, DocumentError, Node, parse


def plain(node: Node):
    """The values of a document without their places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def value(text: str) -> Node:
    return parse(f"a: {text}", "f").entries()["a"]


def refusal(text: str | bytes) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parse(text, "f.yaml")
    return caught.value


printable = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]) | st.sampled_from(" \n\t"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | printable
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(printable.map(lambda key: key[:40]), inner, max_size=4)
    ),
)


@settings(deadline=None)
@given(trees)
def test_what_json_says_is_read_as_json_means_it(tree):
    assert plain(parse(json.dumps(tree), "f")) == tree
    assert plain(parse(orjson.dumps(tree), "f")) == tree


alphabet = st.text(st.sampled_from("ab1 \n\t:-?[]{},&*!|>'\"%#.<~\\xuU\ufeff\x00\x85\u2028é😀\ud83d"))


@settings(deadline=None)
@given(alphabet | st.text() | st.binary())
def test_any_text_is_a_document_or_is_refused_at_a_place_in_it(text):
    tree, error = _outcome(text)
    if error is None:
        assert not _is_finite(tree) or _outcome(json.dumps(tree)) == (tree, None)
    else:
        assert str(error) == f"f:{error.line}:{error.column}: {error.message}"
        assert error.line >= 1
        assert error.column >= 1


def _outcome(text):
    try:
        return plain(parse(text, "f")), None
    except DocumentError as error:
        return None, error


def _is_finite(tree):
    match tree:
        case dict():
            return all(map(_is_finite, tree.values()))
        case list():
            return all(map(_is_finite, tree))
        case float():
            return math.isfinite(tree)
        case _:
            return True


@pytest.mark.parametrize(
    ("text", "line", "column", "part"),
    [
        ("a: 1\nb: *x", 2, 4, "aliases"),
        ("a: &x 1", 1, 4, "anchors"),
        ("a: &x [1]", 1, 4, "anchors"),
        ("a: !!str 1", 1, 4, "tags"),
        ("a: ! 1", 1, 4, "tags"),
        ("!!map {}", 1, 1, "tags"),
        ("a:\n  b: 1\n  b: 2", 3, 3, "duplicate key 'b'"),
        ('{"a": 1, "a": 2}', 1, 10, "duplicate key 'a'"),
        ("1: a\n'1': b", 2, 1, "duplicate key '1'"),
        ("<<: {a: 1}", 1, 1, "merge keys"),
        ("[a]: 1", 1, 1, "a key must be text"),
        ("? {a: 1}\n: 1", 1, 3, "a key must be text"),
        ("a: 1\n---\nb: 2", 2, 1, "found a second"),
        ("", 1, 1, "empty"),
        ("# nothing\n", 1, 1, "empty"),
        ("a: [1, 2", 1, 9, "expected"),
        ("a: 'half writ", 1, 14, "unexpected end"),
        ("a: b: c", 1, 5, "not allowed here"),
        ("a: 1\n\tb: 2", 2, 1, "'\\t'"),
        ("a: 1\nb: x\x07", 2, 5, "U+0007"),
        ("a: 1\nb: \x00", 2, 4, "U+0000"),
        ('a: "\\0"', 1, 4, "U+0000"),
        ("a: 1\nb: x\u2028", 2, 5, "U+2028"),
        ('a: "\\u0085"', 1, 4, "U+0085"),
        ('a: "\\ud83d"', 1, 4, "surrogate"),
        ('a: "\\UFFFFFFFF"', 1, 2, "escape"),
        (b"a: 1\n\xc3\xa9\xff", 2, 2, "UTF-8"),
        ("a" * (MAX_BYTES + 1), 1, 1, "larger than"),
        ("k" * 501 + ": 1", 1, 1, "a key of more than"),
        ("[" * 100_000, 1, MAX_DEPTH + 1, "nested deeper"),
        ("{a: " * 50_000, 1, 4 * MAX_DEPTH + 1, "nested deeper"),
        ("- " * 100_000, 1, 2 * MAX_DEPTH + 1, "nested deeper"),
    ],
)
def test_what_is_not_a_plain_tree_is_refused_where_it_stands(text, line, column, part):
    error = refusal(text)
    assert (error.file, error.line, error.column) == ("f.yaml", line, column)
    assert part in error.message


def test_the_deepest_allowed_nesting_is_read():
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").sequence()


def test_every_value_knows_its_place_and_path():
    node = parse("a:\n  b: [1, {c: x}]\n", "f").entries()["a"].entries()["b"].sequence()[1].entries()["c"]
    assert (node.value, node.line, node.column, node.path) == ("x", 2, 14, "a.b[1].c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-7", -7),
        ("010", 10),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("tRUE", "tRUE"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("'1'", "1"),
        ('"true"', "true"),
        ('"\\ud83d\\ude00"', "😀"),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_a_plain_scalar_is_a_number_only_when_it_looks_like_one(text, expected):
    found = value(text).value
    assert found == expected
    assert type(found) is type(expected)


def test_a_byte_order_mark_and_windows_line_ends_are_read():
    assert plain(parse("\ufeffa: 1\r\nb: 2\r\n".encode(), "f")) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (Node.percentage, "25", 25.0),
        (Node.percentage, "0.1%", 0.1),
        (Node.percentage, "'100%'", 100.0),
        (Node.fraction, "98%", 0.98),
        (Node.fraction, "0.98", 0.98),
        (Node.duration, "250ms", 0.25),
        (Node.duration, "1h30m", 5400.0),
        (Node.duration, "1.5s", 1.5),
        (Node.size, "64MiB", 64 * 2**20),
        (Node.size, "1.5 kB", 1500),
        (Node.size, "12", 12),
        (Node.boolean, "true", True),
        (Node.number, "3", 3.0),
        (lambda node: node.integer(0, 5), "5", 5),
        (lambda node: node.duration(0), "0s", 0.0),
    ],
)
def test_a_quantity_is_read_with_its_unit(read, text, expected):
    assert read(value(text)) == pytest.approx(expected, rel=1e-12)


def test_a_choice_is_one_of_its_words():
    assert value("b").choice(["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (Node.percentage, "101"),
        (Node.percentage, "-1%"),
        (Node.percentage, ".nan"),
        (Node.percentage, "nan%"),
        (Node.percentage, "1_0%"),
        (Node.percentage, "' 5%'"),
        (Node.percentage, "true"),
        (Node.percentage, "'true%'"),
        (Node.percentage, "1e999"),
        (Node.fraction, "98"),
        (Node.fraction, "101%"),
        (Node.duration, "10"),
        (Node.duration, "0s"),
        (Node.duration, "-1s"),
        (Node.duration, "1s 2m"),
        (Node.duration, "٣s"),
        (Node.duration, "9" * 400 + "d"),
        (Node.duration, "367d"),
        (Node.size, "0B"),
        (Node.size, "9999999GiB"),
        (Node.size, "9" * 400 + "GiB"),
        (Node.size, "-1"),
        (Node.size, "true"),
        (Node.boolean, "yes"),
        (Node.string, "12"),
        (Node.string, "''"),
        (Node.string, "x" * 1001),
        (Node.number, "true"),
        (Node.number, "9" * 1000),
        (Node.entries, "[]"),
        (Node.sequence, "{}"),
        (lambda node: node.integer(0, 5), "6"),
        (lambda node: node.integer(0, 5), "1.0"),
        (lambda node: node.integer(0, 5), "9" * 1000),
        (lambda node: node.choice(["a", "b"]), "[a]"),
        (lambda node: node.choice(["a", "b"]), "c"),
        (lambda node: node.mapping(["x"]), "{}"),
        (lambda node: node.mapping(["x"], ["y"]), "{x: 1, z: 2}"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_path(read, text):
    with pytest.raises(DocumentError, match=r"^f:1:\d+: a") as caught:
        read(value(text))
    assert len(str(caught.value)) < 300
