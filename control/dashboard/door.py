"""The page on the admin door: its files, and what open pages are told every second.

Law: the page is static text that anyone may read; everything shown on it comes from the API, with the
reader's own token. Nothing is fetched from elsewhere, no script or style stands in the text of the page, and
no text becomes markup: the policy below makes the browser refuse all three.
"""

import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI, Response

from control.dashboard.feed import Feed
from control.dashboard.load import Load
from control.dashboard.series import Series
from control.fleet.nodes import Nodes
from control.judging.verdicts import as_json
from control.pilot.examiner import Examiner
from control.rollouts.writer import Door, Entry
from control.views.attention import Attention
from control.views.outcomes import ToldOfRollout
from control.views.rollout import judged, rollout_view
from serving.errors import NotFound

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_VERDICT_LENGTH = 400
"""A sentence at a glance; the whole of it is in the evidence."""


class Dashboard:
    """What pages show, made once for all of them.

    Args:
        door: the rollouts.
        nodes: what the data plane reports.
        examiner: what the guards say.
        attention: what needs a person.
        told: what was told of its answers.
        follow: which alias it follows.
    """

    def __init__(
        self,
        door: Door,
        nodes: Nodes,
        examiner: Examiner,
        attention: Attention,
        told: Callable[[Entry], ToldOfRollout],
        follow: Callable[[Entry], Mapping[str, Any] | None],
    ) -> None:
        self._door = door
        self._nodes = nodes
        self._examiner = examiner
        self._attention = attention
        self._told = told
        self._follow = follow
        self.series = Series(door, nodes, examiner, time.time)
        self.load = Load(nodes)
        self.feed = Feed(self._digest)

    def look(self) -> None:
        """Take a point of everything, and tell open pages; called every second."""
        now = time.monotonic()
        self.series.look(now)
        self.load.look(now)
        self._attention.look(now)
        self.feed.digest()

    def _digest(self, topic: str) -> bytes | None:
        kind, _, model = topic.partition(":")
        if kind == "overview":
            entries = self._door.entries
            return orjson.dumps([self._at_a_glance(entries[name]) for name in sorted(entries)])
        if kind == "needs":
            return orjson.dumps(self._attention.all(time.monotonic()))
        if kind == "load":
            now = time.monotonic()
            return orjson.dumps({"nodes": self.load.rows(), "processes": self._nodes.rows(now)})
        entry = self._door.entries.get(model)
        return None if entry is None else self._one(entry)

    def _at_a_glance(self, entry: Entry) -> dict[str, Any]:
        view = self._view(entry)
        judgement = self._examiner.judgements.get(entry.rollout.model)
        last = self.series.last(entry.rollout.model)
        reason = "" if judgement is None else judgement.reason
        return {
            "model": view["model"],
            "revision": view["revision"],
            "status": view["status"],
            "steps": len(entry.rollout.canary.steps) if entry.rollout.canary is not None else 0,
            "serving": view["serving"],
            "candidates": [
                {key: row[key] for key in ("number", "target", "weight", "on")} for row in view["candidates"]
            ],
            "best": None if view["best"] is None else {"found": view["best"]["found"]},
            "needs": view["needs"],
            "shadows": [
                {key: shadow[key] for key in ("target", "verdict", "sentence")} for shadow in view["shadows"]
            ],
            "ready": all(target["ready"] and all(target["ready"].values()) for target in view["targets"]),
            "verdict": None if judgement is None else judgement.verdict,
            "verdict_reason": reason[:_VERDICT_LENGTH],
            "targets": orjson.loads(last)["targets"] if last is not None else [],
        }

    def _view(self, entry: Entry) -> dict[str, Any]:
        now = time.monotonic()
        needs, seen = self._attention.of(entry, now), judged(self._examiner, entry)
        told, follow = self._told(entry), self._follow(entry)
        return rollout_view(entry, self._door, self._nodes, now, needs, seen, told, follow)

    def _one(self, entry: Entry) -> bytes:
        model = entry.rollout.model
        judgement = self._examiner.judgements.get(model)
        view = orjson.dumps(
            {
                "view": self._view(entry),
                "judgement": None if judgement is None else as_json(judgement),
            }
        )
        return view[:-1] + b',"point":' + (self.series.last(model) or b"null") + b"}"


def add_page(app: FastAPI) -> None:
    """`/` and `/page/...`: the files of the page, read once."""
    assets = {
        asset.name: (asset.read_bytes(), _TYPES[asset.name.rpartition(".")[2]])
        for asset in (files("control.dashboard") / "page").iterdir()
        if asset.name.rpartition(".")[2] in _TYPES
    }

    def sent(name: str) -> Response:
        if name not in assets:
            raise NotFound(f"the page has no file {name[:100]!r}")
        content, media_type = assets[name]
        return Response(content, media_type=media_type, headers=HEADERS)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return sent("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return sent(name)
