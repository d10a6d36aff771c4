"""The accounts as metrics: not counted a second time, but read where they are kept.

They outlive a node's start, so these counters go on where they were.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router.record.account import Kind
from router.record.accounts import Accounts, accounts_folder
from serving.telemetry.cells import Family, Series, exposed

RECORDS = Family(
    "understudy_records",
    "counter",
    "What rollouts with `record` have to record, by kind (request, comparison) and by what became of it: "
    "sampled_out, written, or dropped: full, too_large, store_away, writer_gone, worker_gone.",
    ("model", "kind", "outcome"),
)
RECORDS_PENDING = Family(
    "understudy_records_pending",
    "gauge",
    "Records on their way to the prediction log: neither written nor dropped yet.",
    ("model", "kind"),
)


class RecordsCollector(Collector):
    """What prometheus_client exposes of a node's accounts; nothing where there are none.

    Args:
        state_dir: of the node.
    """

    def __init__(self, state_dir: Path) -> None:
        self._accounts = Accounts(accounts_folder(state_dir))

    def collect(self) -> Iterable[Metric]:
        """Read the accounts."""
        counts: Series = {}
        pending: Series = {}
        for kind in get_args(Kind):
            for model, account in self._accounts.by_model(kind).items():
                outcomes = account.outcomes()
                pending[model, kind] = [float(outcomes.pop("pending"))]
                counts |= {(model, kind, outcome): [float(count)] for outcome, count in outcomes.items()}
        return [exposed(RECORDS, counts), exposed(RECORDS_PENDING, pending)] if counts else []
