"""Other tools read the folder: the union of all columns, as `docs/reading-records.md` asks for it."""

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from harness.record_files import HOUR, two_versions, write
from understudy.records.compacting import SETTLED, compact
from understudy.records.place import Folder, Wanted


def by_duckdb(root):
    import duckdb

    files = f"read_parquet('{root}/**/*.parquet', hive_partitioning=true, union_by_name=true)"
    return duckdb.sql(f"SELECT * FROM {files}").df()


def by_polars(root):
    import polars as pl

    files = sorted(root.glob("model=*/date=*/hour=*/*.parquet"))
    scans = [pl.scan_parquet(file, hive_partitioning=True) for file in files]
    return pl.concat(scans, how="diagonal_relaxed").collect().to_pandas()


def by_pandas(root):
    files = ds.dataset(root, partitioning="hive")
    schemas = [fragment.physical_schema for fragment in files.get_fragments()]
    return files.replace_schema(pa.unify_schemas([files.schema, *schemas])).to_table().to_pandas()


@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_pandas])
@pytest.mark.parametrize("compacted", [False, True])
def test_versions_with_other_outputs_are_read_together(tmp_path, read, compacted):
    import pandas as pd

    two_versions(tmp_path)
    write(tmp_path, "z", {"receipt": ["a1"]})
    if compacted:
        [_] = compact(Folder(tmp_path), Wanted(), HOUR.replace(hour=14) + SETTLED)
    found = read(tmp_path).sort_values("receipt").reset_index(drop=True)
    assert list(found["receipt"]) == ["a0", "a1", "b0"]
    assert [int(hour) for hour in found["hour"]] == [13, 13, 14]
    assert set(found["model"]) == {"digits"}
    assert list(found["output_label"][0]) == [3]
    assert list(found["output_scores"][2]) == [0.5, 0.25]
    assert pd.isna(found["output_scores"][0])
    assert list(found["input_pixels"][2]) == [0, 1, 2, 3]
