"""Asks the webhooks of `run` steps, beside the autopilot's looks.

Law: each attempt (stage, step, resumes) has one id, under which it is asked again and again, ever more
rarely, until it is answered or the rollout has moved on; a control that was killed asks again under the same
id. What an answer does is the state machine's affair, which takes none to an older attempt.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import orjson
import structlog

from control.judging.verdicts import Judgement
from control.metrics import HOOKS
from control.notify.ways import AGAIN, signature
from control.rollouts import approving
from control.rollouts.events import IllegalTransition, RunResult
from control.rollouts.looking import looked_at
from control.rollouts.writer import Actor, Door, Entry
from control.store.store import Stale
from router.rollout.values import Run
from serving.errors import ServingError
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

HOOK = Actor("hook", "hook")
TRY_SECONDS = 10.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
MAX_REASON = 300
_MAX_ANSWER_BYTES = 4096


class Hooks:
    """The hooks that are asked now.

    Args:
        door: where answers go through.
        secret: what requests are signed with; None leaves them unsigned.
        metrics: what became of requests is counted there.
    """

    def __init__(self, door: Door, secret: bytes | None, metrics: Metrics) -> None:
        self._door = door
        self._secret = secret
        self._metrics = metrics
        self._client: httpx.AsyncClient | None = None
        self._asked: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._problems: dict[str, str] = {}

    def look(self, entry: Entry, judgement: Judgement | None) -> str:
        """Ask what a rollout waits for, and nothing else.

        Returns:
            Why there is no answer yet, in words; empty where nothing is known.
        """
        model, step = entry.rollout.model, approving.step_of(entry.rollout, entry.progress)
        attempt = approving.attempt(entry.progress)
        asked = self._asked.get(model)
        if isinstance(step, Run):
            if asked is None or asked[0] != attempt:
                self._end(model)
                body = orjson.dumps(_body(entry, attempt, judgement))
                task = asyncio.create_task(self._ask(model, attempt, step.url, body), name=f"hook of {model}")
                self._asked[model] = attempt, task
            return self._problems.get(model, "")
        if asked is not None:
            self._end(model)
        return ""

    def follow(self) -> None:
        """Ask nothing of rollouts that are there no longer."""
        for model in self._asked.keys() - self._door.entries.keys():
            self._end(model)

    async def stop(self) -> None:
        """Ask nothing more; the next start asks again."""
        tasks = [task for _, task in self._asked.values()]
        for model in list(self._asked):
            self._end(model)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            with suppress(httpx.HTTPError):
                await self._client.aclose()

    def _end(self, model: str) -> None:
        self._problems.pop(model, None)
        if (asked := self._asked.pop(model, None)) is not None:
            asked[1].cancel()

    async def _ask(self, model: str, attempt: str, url: str, body: bytes) -> None:
        pause = FIRST_PAUSE
        while True:
            answer = await self._try(url, f"{model}/{attempt}", body)
            if isinstance(answer, str):
                self._problems[model] = answer
                self._metrics.counter(HOOKS, model, "retried").add()
                log.warning("a hook is asked again", model=model, attempt=attempt, reason=answer)
            else:
                passed, reason = answer
                if await self._tell(model, RunResult(attempt, passed, reason)):
                    self._metrics.counter(HOOKS, model, "passed" if passed else "halted").add()
                    return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (spreading, not secrecy)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _try(self, url: str, id_: str, body: bytes) -> tuple[bool, str] | str:
        """Whether the rollout may go on and why, or why there is no answer."""
        if self._client is None:
            self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=TRY_SECONDS)
        headers = {"content-type": "application/json", **signature(self._secret, id_, time.time(), body)}
        try:
            async with (
                asyncio.timeout(TRY_SECONDS),
                self._client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                status, text = answer.status_code, await _some(answer)
        except (httpx.HTTPError, TimeoutError) as error:
            return f"it does not answer: {type(error).__name__}"
        if 200 <= status < 300:
            return True, reason_in(text)
        if status >= 500 or status in AGAIN:
            return f"it answered with status {status}"
        return False, reason_in(text) or f"it answered with status {status}"

    async def _tell(self, model: str, result: RunResult) -> bool:
        """Let the rollout hear the answer; False when it is to be told again."""
        for _ in range(20):
            entry = self._door.entries.get(model)
            if entry is None:
                return True
            try:
                await self._door.act(model, result, HOOK, entry.revision)
            except Stale:
                continue
            except IllegalTransition:  # it has moved on
                return True
            except ServingError as error:
                log.warning("the answer of a hook waits for the store", model=model, reason=str(error))
                return False
            return True
        return False


def _body(entry: Entry, attempt: str, judgement: Judgement | None) -> Mapping[str, Any]:
    """What a hook gets to know."""
    looked = looked_at(entry.rollout, entry.progress, entry.digests, judgement)
    guards = () if judgement is None else judgement.guards
    return {
        "id": f"{entry.rollout.model}/{attempt}",
        "event": "run",
        "revision": entry.revision,
        **{name: looked[name] for name in ("model", "stage", "step", "weight", "targets", "verdict")},
        "stable": entry.progress.stable.key,
        "canary": entry.progress.candidate,
        "guards": [{"guard": each.guard, "verdict": each.verdict, "reason": each.reason} for each in guards],
    }


async def _some(answer: httpx.Response) -> bytes:
    """The beginning of a body, which may be endless."""
    found = b""
    async for part in answer.aiter_bytes():
        found += part
        if len(found) >= _MAX_ANSWER_BYTES:
            break
    return found[:_MAX_ANSWER_BYTES]


def reason_in(body: bytes) -> str:
    """What a hook says: `reason` or `detail` of a JSON object, or its text; one line, bounded, printable."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode(errors="replace")
    else:
        found = [said.get("reason"), said.get("detail")] if isinstance(said, dict) else [said]
        text = next((each for each in found if isinstance(each, str)), "")
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 1]}…"
