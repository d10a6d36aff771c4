"""API keys: who is recognised by which header, and which files are refused."""

import gc
import hashlib

import pytest

from serving.admission.api_keys import ApiKeys, line_of, load, new_key, parse
from serving.errors import InvalidInput

KEY = "k" * 43
LINE = f"mobile {hashlib.sha256(KEY.encode()).hexdigest()}\n"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({b"authorization": b"Bearer " + KEY.encode()}, "mobile"),
        ({b"authorization": b"bearer   " + KEY.encode() + b" "}, "mobile"),
        ({b"x-api-key": KEY.encode()}, "mobile"),
        ({}, None),
        ({b"authorization": b""}, None),
        ({b"authorization": KEY.encode()}, None),
        ({b"authorization": b"Basic " + KEY.encode()}, None),
        ({b"authorization": b"Bearer " + KEY.encode() + b"k"}, None),
        ({b"authorization": b"Bearer x", b"x-api-key": KEY.encode()}, None),
        ({b"x-api-key": hashlib.sha256(KEY.encode()).hexdigest().encode()}, None),
        ({b"x-api-key": b"\xff\x00"}, None),
    ],
)
def test_a_key_is_recognised_by_its_bytes_and_by_nothing_else(headers, name):
    assert parse(LINE, "keys").name_of(headers) == name


def test_the_bytes_of_a_key_that_was_checked_are_not_kept():
    keys = parse(LINE, "keys")
    assert keys.name_of({b"x-api-key": KEY.encode()}) == "mobile"
    kept = next(thing for thing in gc.get_referents(keys) if isinstance(thing, dict))
    assert KEY.encode() not in repr(kept).encode()
    assert hashlib.sha256(KEY.encode()).digest() not in kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no key in it"),
        ("# only a comment\n\n", "no key in it"),
        (f"{KEY}\n", "keys:1: expected a name"),
        (f"# fine\nmobile {KEY}\n", "keys:2: expected a name"),
        (LINE + LINE, "keys:2: the name 'mobile' is given twice"),
        (LINE + LINE.replace("mobile", "web"), "keys:2: the key of 'web' is another one's"),
        (LINE.replace("mobile", "mo/bile"), "keys:1"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_never_repeated(text, reason):
    with pytest.raises(InvalidInput, match=reason) as refused:
        parse(text, "keys")
    assert KEY not in str(refused.value)


def test_comments_empty_lines_and_several_keys_are_fine(tmp_path):
    keys = {name: new_key() for name in ("a", "b-2", "c.d")}
    path = tmp_path / "keys"
    path.write_text("# ours\n\n" + "\n".join(line_of(name, key) for name, key in keys.items()))
    loaded = load(path)
    for name, key in keys.items():
        assert loaded.name_of({b"x-api-key": key.encode()}) == name


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (1 << 20) + b"#"])
def test_what_cannot_be_read_as_a_key_file_is_refused_without_its_path(tmp_path, content):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        load(path)
    assert str(tmp_path) not in str(refused.value)


def test_new_keys_are_long_and_differ():
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(len(key) == 43 for key in made)
    with pytest.raises(InvalidInput):
        line_of("with space", "x")


def test_two_processes_keep_the_same_key_under_different_hashes():
    digests = {"mobile": hashlib.sha256(KEY.encode()).digest()}
    assert ApiKeys(digests)._names.keys().isdisjoint(ApiKeys(digests)._names)
