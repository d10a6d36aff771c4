"""The client for code that waits."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from understudy_client import calls
from understudy_client.answer import Answer, expect_taken, parts_of
from understudy_client.base import BaseClient, Limit
from understudy_client.calls import Call, Response
from understudy_client.errors import InvalidRequest, NotFound, UnderstudyError
from understudy_client.outcomes import Outcome, batches
from understudy_client.retrying import Attempts
from understudy_client.taken import OutcomesTaken
from understudy_client.transport import error_of, late
from understudy_client.wire.metadata import ModelMetadata

T = TypeVar("T")


class Client(BaseClient[httpx.Client]):
    """Asks models, and tells what became of their answers. Threads may share one.

    A server that sends an answer drop by drop can hold a call for at most twice its time.
    """

    def _open(self, arguments: dict[str, Any]) -> httpx.Client:
        return httpx.Client(**arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ready(self, model: str | None = None) -> bool:
        """Whether the server, or a model of it, answers.

        Raises:
            NotFound: there is no such model.
            UnderstudyError: the server cannot be asked.
        """
        return self._run(calls.ready(model), self._limit(None))

    def metadata(self, model: str, *, version: str | None = None) -> ModelMetadata:
        """What a model takes and gives, asked anew.

        Raises:
            NotFound: there is no such model.
            UnderstudyError: the server cannot be asked.
        """
        return self._asked(model, version, self._limit(None))

    def infer(
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
        timeout: float | None = None,
    ) -> Answer:
        """Ask a model.

        Args:
            model: the public name.
            inputs: values by name, as a mapping or a pandas DataFrame: arrays, or lists from which arrays are
                made. For a model with one input its value alone, or a column for each element of its rows, in
                the model's order.
            version: of the model; it is then left out of the evidence of a rollout.
            outputs: which are wanted; all by default.
            target: "stable", "canary" or a model's name and version, for tests; left out of the evidence.
            key: the user, for the sticky header.
            request_id: what you call the request; comes back with the answer and stands in logs.
            headers: further ones, such as the one that names a segment.
            parameters: of the request, as the protocol has them.
            binary: whether tensors travel in binary; by default those of more than a KiB, and all outputs.
            timeout: seconds for this call.

        Raises:
            InvalidData: the inputs do not fit; nothing was sent.
            StatusError: the server answered with an error.
            ConnectionFailed, ConnectionLost, TimedOut, InvalidAnswer: there is no answer.
        """
        limit = self._limit(timeout)
        sent = self._options.of_request(target, key, request_id, headers)
        known = self._models.get((model, version)) or self._asked(model, version, limit)
        call = self._inference(
            known, model, version, inputs, outputs=outputs, binary=binary, parameters=parameters, headers=sent
        )
        try:
            inferred = self._run(call, limit)
        except (InvalidRequest, NotFound):
            self._models.pop((model, version), None)  # it may have become another model
            raise
        return Answer(*parts_of(inferred), self._tell_one)

    def outcome(self, outcome: Outcome) -> None:
        """Tell one outcome, such as by a receipt that was kept.

        Raises:
            OutcomeLeftOut: the server did not take it.
            UnderstudyError: as of `outcomes`.
        """
        self._tell_one(outcome)

    def outcomes(
        self, outcomes: Iterable[Outcome | Mapping[str, Any]], *, timeout: float | None = None
    ) -> OutcomesTaken:
        """Tell outcomes, in requests of at most 10,000; all of them are checked before any is told.

        Args:
            outcomes: each an `Outcome`, or a mapping with its fields.
            timeout: seconds for each request.

        Returns:
            How many were taken, and how many were left out and why.

        Raises:
            InvalidData: one cannot be told; nothing was.
            UnderstudyError: a request failed; its attribute `taken` says what became of those before. Tell
                all of them again: each counts once.
        """
        taken = OutcomesTaken()
        for batch in batches(outcomes):
            try:
                taken += self._run(calls.tell(batch), self._limit(timeout))
            except UnderstudyError as error:
                error.taken = taken
                raise
        return taken

    def _tell_one(self, outcome: Outcome) -> None:
        expect_taken(self.outcomes([outcome]))

    def _asked(self, model: str, version: str | None, limit: Limit) -> ModelMetadata:
        found = self._models[model, version] = self._run(calls.metadata(model, version), limit)
        return found

    def _run(self, call: Call[T], limit: Limit) -> T:
        """Make a call, again where `retrying` says so."""
        attempts = Attempts(self._options.retries, call.repeatable, limit.deadline)
        while True:
            try:
                return call.result(self._sent(call, limit))
            except UnderstudyError as error:
                pause = attempts.pause(error, time.monotonic())
                if pause is None:
                    raise
            time.sleep(pause)

    def _sent(self, call: Call[Any], limit: Limit) -> Response:
        """One attempt."""
        url, seconds = self._options.url, limit.seconds
        request = self._request(call, limit)
        try:
            response = self._http.send(request, stream=True)
            try:
                pieces = []
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    if limit.left <= 0:
                        raise late(url, seconds)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise error_of(error, url, seconds) from error
        return Response(response.status_code, response.headers, b"".join(pieces))
