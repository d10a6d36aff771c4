"""The models of a job, opened; and how many rows are run together, found by trying."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.clock import clock
from serving.errors import ServingError
from serving.places import Origin
from serving.sources.opening import open_source
from serving.wire.tensors import Array
from understudy.offline.running import Opened, open_model
from understudy.scoring.running import joined_feeds

_SIZES: Final = (64, 256, 1024, 4096)
"""Rows of a run: nobody waits for a row here, so that more is better until it is no faster."""
_ENOUGH: Final = 0.95
"""Of the most rows a second: the smallest batch that gives it is taken, which keeps memory small."""
_SECONDS: Final = 0.5
"""A run that takes longer ends the search."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A model that is ready to score.

    Args:
        opened: it, warm.
        joined: whether its rows may run together: that is proven, and no trial says otherwise.
        most: rows of one run by its configuration; None where that leaves it open.
    """

    opened: Opened
    joined: bool
    most: int | None

    def batch(self, feeds: Sequence[Mapping[str, Array]]) -> int:
        """The most rows of one run, tried on some rows where the configuration leaves it open."""
        if not self.joined:
            return 1
        return self.most or max(map(self._best, joined_feeds(feeds)), default=_SIZES[0])

    def _best(self, feeds: tuple[Mapping[str, Array], int]) -> int:
        whole, rows = feeds
        rates: dict[int, float] = {}
        for size in _SIZES:
            part = {name: array[:size] for name, array in whole.items()}
            try:
                seconds = min(self._seconds(part) for _ in range(3))
            except ServingError:  # a row that it refuses; it is found when it is scored
                break
            rates[size] = size / seconds
            if seconds > _SECONDS or size >= rows:
                break
        most = max(rates.values(), default=0.0)
        return min((size for size, rate in rates.items() if rate >= _ENOUGH * most), default=_SIZES[0])

    def _seconds(self, feeds: Mapping[str, Array]) -> float:
        began = clock()
        self.opened.model.run(feeds, self.opened.output_names)
        return clock() - began


def ready(models: Path | Origin, key: str) -> Ready:
    """Verify, load and warm a model; blocks.

    Args:
        models: where they come from.
        key: `name/version`; a name alone is the highest version that its policy serves.

    Raises:
        ServingError: it is not there, or refused; says which.
    """
    source = open_source(models)
    name, slash, version = key.partition("/")
    if not slash:
        version = source.served(name)[0].version
    opened = open_model(models, f"{name}/{version}", 1)
    batching = source.find(name, version).config.batching
    most = opened.model.prepare(opened.dependence)
    signature = opened.model.signature
    tensors = [*(spec for spec in signature.inputs if not spec.optional), *signature.outputs]
    by_rows = all(spec.shape is not None and spec.shape[:1] == (-1,) for spec in tensors)
    joined = by_rows and opened.model.measured and not opened.model.dependence and batching != 1
    return Ready(opened, joined, None if batching == "auto" else most)
