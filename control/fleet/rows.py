"""What processes say, read and kept once for all that say the same. Pure.

Law: of a fleet in order each worker has the same targets as the next one. So rows that are said in the same
words are the same object, and whoever looks at all workers looks at each such object once. One that nobody
says any more is forgotten.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

import orjson

from router.wire.node_use import NodeUse
from router.wire.report import Exchange, Report, ServedReport, TargetReport

TargetPlace = tuple[str, str, str]
"""The public name of a rollout, the key of a target, and its role."""


class Rows:
    """The targets of a process, and who answers there.

    Attributes:
        told: the targets, as they were told.
        served_told: who answers, as it was told.
        targets: by rollout, target and role.
        served: by rollout.
    """

    __slots__ = ("__weakref__", "served", "served_told", "targets", "told")

    def __init__(self, told: tuple[TargetReport, ...], served_told: tuple[ServedReport, ...]) -> None:
        self.told, self.served_told = told, served_told
        self.targets: Mapping[TargetPlace, TargetReport] = {
            (row.model, row.target, row.role): row for row in told
        }
        self.served: Mapping[str, ServedReport] = {row.model: row for row in served_told}


class Book:
    """Reads what is said: what was said in the same words before is not read again."""

    def __init__(self) -> None:
        self._uses: WeakValueDictionary[bytes, NodeUse] = WeakValueDictionary()
        self._by_text: WeakValueDictionary[bytes, Rows] = WeakValueDictionary()
        self._by_told: WeakValueDictionary[tuple[int, int], Rows] = WeakValueDictionary()
        self._last: Rows | None = None  # until whoever has it read says that a process has it

    def read(self, said: Mapping[str, Any]) -> Report:
        """A report as JSON values; of rows that others have said in these words nothing is read again.

        Raises:
            ValidationError: it is no report.
            ServingError: as of its counts.
        """
        if said.get("unchanged"):
            return Report.model_validate(said)
        text = orjson.dumps((said.get("targets"), said.get("served")))
        known = self._by_text.get(text)
        if known is None:
            report = Report.model_validate(said)
            self._last = self._by_text[text] = self.of(report)
            return report
        report = Report.model_validate({**said, "targets": (), "served": ()})
        return report.model_copy(update={"targets": known.told, "served": known.served_told})

    def exchange(self, said: Any) -> Exchange:
        """An exchange as JSON values; of what a node at rest says of its traffic nothing is read again.

        Raises:
            ValidationError: it is none.
            ServingError: as of its counts.
        """
        use = said.get("use") if isinstance(said, dict) else None
        if not isinstance(use, dict):
            return Exchange.model_validate(said)
        text = orjson.dumps((use.get("answered"), use.get("compared")))
        known = self._uses.get(text)
        if known is None:
            report = Exchange.model_validate(said)
            if report.use is not None:
                self._uses[text] = report.use
            return report
        report = Exchange.model_validate({**said, "use": {**use, "answered": (), "compared": ()}})
        assert report.use is not None
        same = {"answered": known.answered, "compared": known.compared}
        self._uses[text] = found = report.use.model_copy(update=same)
        return report.model_copy(update={"use": found})

    def of(self, report: Report) -> Rows:
        """Those of a report."""
        key = id(report.targets), id(report.served)
        known = self._by_told.get(key)  # who is in there has both, so no others have these addresses
        if known is None:
            known = self._by_told[key] = Rows(report.targets, report.served)
        return known
