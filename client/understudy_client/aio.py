"""The client for asyncio."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from understudy_client import calls
from understudy_client.answer import AsyncAnswer, expect_taken, parts_of
from understudy_client.base import BaseClient, Limit
from understudy_client.calls import Call, Response
from understudy_client.errors import InvalidRequest, NotFound, UnderstudyError
from understudy_client.outcomes import Outcome, batches
from understudy_client.retrying import Attempts
from understudy_client.taken import OutcomesTaken
from understudy_client.transport import error_of, late
from understudy_client.wire.metadata import ModelMetadata

T = TypeVar("T")


class AsyncClient(BaseClient[httpx.AsyncClient]):
    """As `Client`, to be awaited; for one event loop."""

    def _open(self, arguments: dict[str, Any]) -> httpx.AsyncClient:
        return httpx.AsyncClient(**arguments)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ready(self, model: str | None = None) -> bool:
        """As `Client.ready`."""
        return await self._run(calls.ready(model), self._limit(None))

    async def metadata(self, model: str, *, version: str | None = None) -> ModelMetadata:
        """As `Client.metadata`."""
        return await self._asked(model, version, self._limit(None))

    async def infer(
        self,
        model: str,
        inputs: Any,
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        target: str | None = None,
        key: str | None = None,
        request_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        binary: bool | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (of all attempts, with asyncio.timeout inside)
    ) -> AsyncAnswer:
        """As `Client.infer`."""
        limit = self._limit(timeout)
        sent = self._options.of_request(target, key, request_id, headers)
        known = self._models.get((model, version)) or await self._asked(model, version, limit)
        call = self._inference(
            known, model, version, inputs, outputs=outputs, binary=binary, parameters=parameters, headers=sent
        )
        try:
            inferred = await self._run(call, limit)
        except (InvalidRequest, NotFound):
            self._models.pop((model, version), None)  # it may have become another model
            raise
        return AsyncAnswer(*parts_of(inferred), self._tell_one)

    async def outcome(self, outcome: Outcome) -> None:
        """As `Client.outcome`."""
        await self._tell_one(outcome)

    async def outcomes(
        self,
        outcomes: Iterable[Outcome | Mapping[str, Any]],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  (of each request)
    ) -> OutcomesTaken:
        """As `Client.outcomes`."""
        taken = OutcomesTaken()
        for batch in batches(outcomes):
            try:
                taken += await self._run(calls.tell(batch), self._limit(timeout))
            except UnderstudyError as error:
                error.taken = taken
                raise
        return taken

    async def _tell_one(self, outcome: Outcome) -> None:
        expect_taken(await self.outcomes([outcome]))

    async def _asked(self, model: str, version: str | None, limit: Limit) -> ModelMetadata:
        found = self._models[model, version] = await self._run(calls.metadata(model, version), limit)
        return found

    async def _run(self, call: Call[T], limit: Limit) -> T:
        """Make a call, again where `retrying` says so."""
        attempts = Attempts(self._options.retries, call.repeatable, limit.deadline)
        while True:
            try:
                return call.result(await self._sent(call, limit))
            except UnderstudyError as error:
                pause = attempts.pause(error, time.monotonic())
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _sent(self, call: Call[Any], limit: Limit) -> Response:
        """One attempt."""
        url, seconds = self._options.url, limit.seconds
        request = self._request(call, limit)
        try:
            async with asyncio.timeout(limit.left):
                response = await self._http.send(request)
        except httpx.HTTPError as error:
            raise error_of(error, url, seconds) from error
        except TimeoutError:
            raise late(url, seconds) from None
        return Response(response.status_code, response.headers, response.content)
