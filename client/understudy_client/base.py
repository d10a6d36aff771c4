"""What both clients have in common: their options, what they know of models, and how a request is made."""

import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

import httpx

from understudy_client import calls
from understudy_client.calls import Call, Inferred
from understudy_client.errors import InvalidData
from understudy_client.options import Options, timeouts
from understudy_client.transport import late
from understudy_client.wire.columns import tensors_of
from understudy_client.wire.metadata import ModelMetadata
from understudy_client.wire.protocol import write_request

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


class Limit(NamedTuple):
    """The time of a call.

    Args:
        seconds: it has in all.
        deadline: when they are over, on `time.monotonic()`.
    """

    seconds: float
    deadline: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - monotonic()


class BaseClient(ABC, Generic[Http]):
    """A client of a server, with its connections.

    Args:
        url: of the server.
        api_key: sent as `Authorization: Bearer` with every request; never shown.
        sticky: the header that rollouts draw users by, such as "x-user-id"; `infer(key=...)` is sent in it.
        timeout: seconds that a call takes at most, all attempts together.
        retries: how many attempts there may be after the first; `understudy_client.retrying` says when.
        verify: whom to trust under https: True for the machine's authorities, a file of certificates in PEM
            or an `ssl.SSLContext`; False trusts anybody.
        connections: how many may be open; they are kept and used again.
        headers: of every request.
        trust_env: whether proxies are taken from the environment.

    Raises:
        InvalidData: one of them is none of its kind.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        sticky: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        verify: bool | str | Path | ssl.SSLContext = True,
        connections: int = 100,
        headers: Mapping[str, str] | None = None,
        trust_env: bool = True,
    ) -> None:
        self._options = Options(
            url, api_key, sticky, timeout, retries, verify, connections, headers or {}, trust_env
        )
        self._models: dict[tuple[str, str | None], ModelMetadata] = {}
        self._http: Http = self._open(self._options.of_httpx())

    @abstractmethod
    def _open(self, arguments: dict[str, Any]) -> Http:
        """What holds the connections."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._options.url!r})"

    def _limit(self, timeout: float | None) -> Limit:
        seconds = self._options.timeout if timeout is None else timeout
        if not seconds > 0:
            raise InvalidData(f"timeout: expected seconds, more than 0, got {seconds}")
        return Limit(seconds, monotonic() + seconds)

    def _inference(
        self,
        model: ModelMetadata,
        name: str,
        version: str | None,
        inputs: Any,
        *,
        outputs: Sequence[str] | None,
        binary: bool | None,
        parameters: Mapping[str, Any] | None,
        headers: Mapping[bytes, bytes],
    ) -> Call[Inferred]:
        """The request, once it is known what the model takes."""
        wanted = [outputs] if isinstance(outputs, str) else outputs
        given = {spec.name for spec in model.outputs}
        for output in wanted or ():
            if output not in given:
                known = ", ".join(str(spec) for spec in model.outputs)
                raise InvalidData(f"the model has no output {output!r}; it gives: {known}")
        tensors = tensors_of(inputs, model)
        body = write_request(tensors, outputs=wanted, binary=binary, parameters=parameters)
        return calls.infer(name, version, body, headers)

    def _request(self, call: Call[Any], limit: Limit) -> httpx.Request:
        """What one attempt sends.

        Raises:
            TimedOut: there is no time left.
        """
        if (left := limit.left) <= 0:
            raise late(self._options.url, limit.seconds)
        return self._http.build_request(
            call.method, call.path, content=call.content or None, headers=call.headers, timeout=timeouts(left)
        )
