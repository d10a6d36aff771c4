"""What processes say, read and kept once for all that say the same. Pure.

Law: of a fleet in order each worker has the same targets as the next one. So rows that are said in the same
words are the same object, and whoever looks at all workers looks at each such object once. One that nobody
says any more is forgotten.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

import orjson

from router.wire.report import Report, ServedReport, TargetPlace, TargetReport

Content = tuple[frozenset[TargetReport], frozenset[ServedReport]]
Step = tuple[tuple[TargetReport, ...], tuple[ServedReport, ...], tuple[TargetPlace, ...], tuple[str, ...]]
"""What a report tells in part: targets, who is served, and of both what is gone."""


class Rows:
    """The targets of a process, and who answers there.

    Attributes:
        told: the targets, as they were told.
        served_told: who answers, as it was told.
        targets: by rollout, target and role.
        served: by rollout.
    """

    __slots__ = ("__weakref__", "served", "served_told", "steps", "targets", "told")

    def __init__(self, told: tuple[TargetReport, ...], served_told: tuple[ServedReport, ...]) -> None:
        self.told, self.served_told = told, served_told
        self.targets: Mapping[TargetPlace, TargetReport] = {row.place: row for row in told}
        self.served: Mapping[str, ServedReport] = {row.model: row for row in served_told}
        self.steps: WeakValueDictionary[Step, Rows] = WeakValueDictionary()
        """What they became, by what was told in part."""

    @property
    def content(self) -> Content:
        """What it says, in no order."""
        return frozenset(self.targets.values()), frozenset(self.served.values())

    def moved(self, step: Step) -> "Rows":
        """These with what a report tells in part."""
        targets, served, gone, gone_served = step
        told = {**self.targets, **{row.place: row for row in targets}}
        answers = {**self.served, **{row.model: row for row in served}}
        return Rows(
            tuple(row for place, row in told.items() if place not in gone),
            tuple(row for model, row in answers.items() if model not in gone_served),
        )


class Book:
    """Reads what is said: what was said in the same words before is not read again."""

    def __init__(self) -> None:
        self._by_text: WeakValueDictionary[bytes, Rows] = WeakValueDictionary()
        self._by_told: WeakValueDictionary[tuple[int, int], Rows] = WeakValueDictionary()
        self._by_content: WeakValueDictionary[Content, Rows] = WeakValueDictionary()
        self._last: Rows | None = None  # until whoever has it read says that a process has it

    def read(self, said: Mapping[str, Any]) -> Report:
        """A report as JSON values; of rows that others have said in these words nothing is read again.

        Raises:
            ValidationError: it is no report.
            ServingError: as of its counts.
        """
        if said.get("unchanged") or said.get("partly"):
            return Report.model_validate(said)
        text = orjson.dumps((said.get("targets"), said.get("served")))
        known = self._by_text.get(text)
        if known is None:
            report = Report.model_validate(said)
            self._last = self._by_text[text] = self.of(report)
            return report
        report = Report.model_validate({**said, "targets": (), "served": ()})
        return report.model_copy(update={"targets": known.told, "served": known.served_told})

    def of(self, report: Report) -> Rows:
        """Those of a report that tells all of them."""
        key = id(report.targets), id(report.served)
        known = self._by_told.get(key)
        if known is None or known.told is not report.targets or known.served_told is not report.served:
            known = self._by_told[key] = self._kept(Rows(report.targets, report.served))
        return known

    def moved(self, before: Rows, report: Report) -> Rows:
        """Those of a process that told of the ones before, and now tells some of them."""
        step = report.targets, report.served, report.gone, report.gone_served
        known = before.steps.get(step)
        if known is None:
            known = before.steps[step] = self._kept(before.moved(step))
        return known

    def _kept(self, rows: Rows) -> Rows:
        """The one object that says this."""
        return self._by_content.setdefault(rows.content, rows)
