"""Values from Prometheus for PromQL guards.

Law: where no value can be had (unreachable, an error, no or several series, too old) there are words in its
place that say why: inconclusive, never a pass.
"""

from typing import Any

import httpx

from serving.errors import InvalidInput

TIMEOUT_SECONDS = 5.0
STALE_SECONDS = 300.0


class Prometheus:
    """One Prometheus server.

    Args:
        url: where it answers, e.g. `http://prometheus:9090`; empty for none.
    """

    def __init__(self, url: str) -> None:
        if url and not url.startswith(("http://", "https://")):
            raise InvalidInput(f"the URL of Prometheus must begin with http:// or https://, got {url!r}")
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS) if url else None

    async def value(self, query: str, now: float) -> float | str:
        """The one value of an instant query, or why there is none.

        Args:
            query: PromQL that gives a scalar or a vector of one element.
            now: seconds since 1970, to tell a stale answer.
        """
        if self._client is None:
            return "this control knows no Prometheus (--prometheus)"
        url = self._client.base_url
        try:
            answer = await self._client.get("/api/v1/query", params={"query": query})
            at, value = _only(answer.json())
        except httpx.HTTPError as error:
            return f"{url} does not answer ({type(error).__name__})"
        except (ValueError, KeyError, TypeError, IndexError) as error:
            why = (
                error
                if isinstance(error, _NoValueError)
                else f"not as Prometheus does (status {answer.status_code})"
            )
            return f"{url} answers: {why}"
        return value if abs(now - at) < STALE_SECONDS else f"the value of {url} is {abs(now - at):,.0f} s old"

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


class _NoValueError(ValueError):
    """What Prometheus says in place of a value, in words."""


def _only(answer: dict[str, Any]) -> tuple[float, float]:
    """When, and which value."""
    if answer["status"] == "error":
        raise _NoValueError(answer["error"])
    result = answer["data"]["result"]
    if answer["data"]["resultType"] != "scalar":
        if len(result) != 1:
            raise _NoValueError(f"the query gives {len(result)} series, one is needed")
        result = result[0]["value"]
    return float(result[0]), float(result[1])
