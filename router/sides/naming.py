"""Who may name the canary: in `x-understudy-target`, or by its version in the path."""

from collections.abc import Callable, Mapping

from router.settings import NodeSettings
from serving.admission.api_keys import load
from serving.admission.reloading import Reloading
from serving.telemetry.cells import Metrics

Refusal = Callable[[Mapping[bytes, bytes]], str]
"""Headers, names in lower case, to why whoever sent them may not name the canary; empty when they may."""


class CanaryNaming:
    """The setting `canary_naming` at work.

    Attributes:
        refusal: None where anyone may.

    Raises:
        InvalidInput: the file of keys is refused.
    """

    def __init__(self, settings: NodeSettings, metrics: Metrics) -> None:
        self._keys = None
        self.refusal: Refusal | None = None
        if settings.canary_naming == "nobody":
            self.refusal = _closed
        elif (path := settings.canary_keys) is not None:
            self._keys = Reloading("canary keys", (path,), lambda: load(path), metrics)
            self.refusal = self._without_key

    async def run(self) -> None:
        """Follow the file of keys, where there is one."""
        if self._keys is not None:
            await self._keys.run()

    def _without_key(self, headers: Mapping[bytes, bytes]) -> str:
        assert self._keys is not None
        known = self._keys.value.name_of(headers) is not None
        return "" if known else "the canary may be named with a key for it only"


def _closed(_headers: Mapping[bytes, bytes]) -> str:
    return "the canary cannot be named here; requests reach it by its weight"
