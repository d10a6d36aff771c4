"""Whether a configuration changes what a model answers, by rows that it runs as before and with it.

How far a graph is rewritten may do so: what is folded and fused rounds elsewhere, and where much cancels out,
or in 8 bits, the last digits are not the last. Answers are held against each other as a rollout does.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson

from serving.errors import ServingError
from serving.models.files.repository import ModelEntry
from serving.wire.tensors import Array, Signature, spec_json
from understudy.bench import requests
from understudy.offline import judging
from understudy.offline.counts import Tally
from understudy.offline.data.reading import read
from understudy.offline.data.rows import rows_of
from understudy.offline.running import Answer, open_model, run

Feeds = Mapping[str, Array]


class Answers:
    """What a model answers as it is configured now; it is run when it is first asked for.

    Args:
        entry: which model.
    """

    def __init__(self, entry: ModelEntry) -> None:
        self._entry = entry
        self._key = f"{entry.name}/{entry.version}"

    @cached_property
    def _given(self) -> tuple[Signature, Sequence[tuple[Feeds, Answer]]]:
        """What it takes and gives, and rows with its answers."""
        base = open_model(self._entry.root, self._key, threads=1)
        rows = _rows(self._entry.root / self._entry.name / "heldout.npz", base.model.signature)
        return base.model.signature, [(feeds, run(base, feeds)) for feeds in rows]

    def changed(self, models: Path) -> str:
        """What a configuration changes of them, in words; empty where nothing beyond rounding.

        Args:
            models: a repository that has the model with that configuration.

        Raises:
            ServingError: it cannot be loaded as it is, or the rows beside it are none of its.
        """
        signature, given = self._given
        try:
            candidate = open_model(models, self._key, threads=1)
        except ServingError as error:
            return str(error)
        tally = Tally(judging.document(self._key, self._key, signature)[0])
        for feeds, before in given:
            tally.add(feeds, before, run(candidate, feeds))
        for why in tally.only_candidate.values():
            return f"it fails where it did not: {why}"
        told = [
            f"{output} of {differing:,} of {total:,} rows"
            for output, (total, differing) in tally.counts().agreement.items()
            if differing
        ]
        return f"answers change: {', '.join(told)}" if told else ""


def _rows(held_out: Path, signature: Signature) -> Sequence[Feeds]:
    """The rows beside the model, as far as it is driven with them; made up where there are none."""
    if held_out.exists():
        return rows_of(read(held_out).first(requests.ROWS), signature).feeds
    metadata = {"inputs": [spec_json(spec) for spec in signature.inputs]}
    bodies = map(orjson.loads, requests.made_up(metadata, np.random.default_rng(0)))
    specs = signature.input_by_name
    return [
        {
            tensor["name"]: np.array(tensor["data"], specs[tensor["name"]].dtype).reshape(tensor["shape"])
            for tensor in body["inputs"]
        }
        for body in bodies
    ]
