"""Receipts by request id, from the prediction log; needs the extra `records`.

Law: an id that several answers have is as good as none, since nobody knows which of them is meant.
"""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from understudy.records.place import Place, Wanted
from understudy.records.present import parquet, present

_IDS = ("request_id", "client_request_id")


def receipts_of(place: Place, wanted: Wanted, ids: Collection[str]) -> dict[str, str]:
    """The receipts of the answers that have these ids: `x-request-id`, or the `id` of the protocol.

    Raises:
        ServingError: the place, or a file of it, cannot be read.
    """
    looked_for = pa.array(sorted(ids), pa.string())
    found: dict[str, str | None] = {}
    for file in present(place, wanted):
        with parquet(place, file) as source:
            for id_, receipt in _answers(pq.ParquetFile(source), looked_for):
                found[id_] = receipt if found.get(id_, receipt) == receipt else None
    return {id_: receipt for id_, receipt in found.items() if receipt is not None}


def _answers(whole: pq.ParquetFile, looked_for: pa.Array) -> Iterator[tuple[str, str]]:
    """Id and receipt of each answer in a file that is looked for."""
    names = [name for name in ("kind", "receipt", *_IDS) if name in whole.schema_arrow.names]
    if "receipt" not in names:
        return
    for group in range(whole.num_row_groups):
        table = whole.read_row_group(group, columns=names)
        if "kind" in names:
            table = table.filter(pc.not_equal(table.column("kind"), "comparison"))
        for name in names:
            if name in _IDS:
                mask = pc.and_(pc.is_in(table.column(name), looked_for), pc.is_valid(table.column("receipt")))
                rows = table.filter(mask)
                yield from zip(rows.column(name).to_pylist(), rows.column("receipt").to_pylist(), strict=True)
