"""Values from Prometheus for PromQL guards.

Law: a value that cannot be had (unreachable, an error, no or several series, NaN, older than the guard's
interval allows) is None: inconclusive, never a pass.
"""

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

    async def value(self, query: str, now: float) -> float | None:
        """The one value of an instant query, or None.

        Args:
            query: PromQL that gives a scalar or a vector of one element.
            now: seconds since 1970, to tell a stale answer.
        """
        if self._client is None:
            return None
        try:
            answer = await self._client.get("/api/v1/query", params={"query": query})
            data = answer.json()["data"]
            pair = data["result"] if data["resultType"] == "scalar" else _only(data["result"])["value"]
            at, value = float(pair[0]), float(pair[1])
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError):
            return None
        return value if abs(now - at) < STALE_SECONDS else None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def _only(result: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    if len(result) != 1:
        raise ValueError("not one series")
    return result[0]
