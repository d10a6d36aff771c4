"""The file for auditors: whole as JSON, and as a page on which no text becomes markup."""

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from control.store.store import Revision
from control.views.audit import JsonWriting, PageWriting
from control.views.rollout import revision_view

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", "</pre><img src=x>", "&lt;b>", "'\"><svg onload=x>"]
)
GUARD = st.fixed_dictionaries({"guard": TEXTS, "verdict": TEXTS, "reason": TEXTS})
EVIDENCE = st.none() | st.fixed_dictionaries({"guards": st.lists(GUARD, max_size=3), "reason": TEXTS}) | TEXTS
DOCUMENTS = st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3)
REVISIONS = st.builds(
    Revision,
    revision=st.integers(1, 2**53),
    model=TEXTS,
    document=DOCUMENTS,
    at=st.floats(0, 4e9),
    actor=TEXTS,
    kind=TEXTS,
    reason=TEXTS,
    evidence=EVIDENCE,
    event=st.none() | TEXTS,
    digests=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
    lineage=st.none() | st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=2),
)
HEAD = {"made_at": 1.8e9, "understudy": "1.0", "rollout": None, "evidence": None}


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):  # noqa: ARG002  (the parser's signature)
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def written(writing, head, rows):
    pairs = zip(rows, [*rows[1:], None], strict=True)
    return b"".join(
        [writing.begin(head), *(writing.revision(*pair) for pair in pairs), writing.end()]
    ).decode()


@given(st.lists(REVISIONS, min_size=1, max_size=4), TEXTS)
def test_the_json_has_every_row(rows, name):
    file = json.loads(written(JsonWriting(), {**HEAD, "model": name, "made_by": name}, rows))
    assert file["model"] == name
    assert file["revisions"] == [json.loads(json.dumps(revision_view(row))) for row in rows]


@given(st.lists(REVISIONS, min_size=1, max_size=4), TEXTS)
def test_the_page_has_every_row_as_text(rows, name):
    page = Tags(written(PageWriting(), {**HEAD, "model": name, "made_by": name}, rows))
    assert page.tags <= {
        *("html", "meta", "title", "style", "section", "h1", "h2", "h3", "h4"),
        *("p", "table", "tr", "th", "td", "pre"),
    }
    for row in rows:
        assert f"Revision {row.revision}" in page.text
        assert row.reason in page.text.replace("\r", "\n") or "\r" in row.reason
