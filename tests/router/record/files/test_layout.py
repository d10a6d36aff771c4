"""Names of the log's files are made and read in one place, and what has another name is nobody's."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.record.files.layout import Named, below, folder_of, hour_folder, model_folder, parsed
from router.record.files.stores import FolderStore

AT = datetime(2026, 11, 27, 13, 59, 59, tzinfo=UTC)
HOUR = AT.replace(minute=0, second=0)
models = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(models, moments)
def test_a_name_says_what_it_was_made_of(model, at):
    folder = hour_folder(model, at)
    name = f"{folder}/a.parquet"
    assert parsed(name) == Named(model, at.replace(minute=0, second=0, microsecond=0), "a.parquet")
    assert folder_of(name) == folder
    assert folder.startswith(f"{model_folder(model)}/")


@given(models, moments, moments)
def test_folders_of_a_model_sort_as_their_hours_do(model, one, other):
    hours = [at.replace(minute=0, second=0, microsecond=0) for at in (one, other)]
    assert (hour_folder(model, one) <= hour_folder(model, other)) == (hours[0] <= hours[1])


@pytest.mark.parametrize(
    "name",
    [
        "a.parquet",
        "model=m/date=2026-11-27/a.parquet",
        "model=m/date=2026-11-27/hour=13/b/a.parquet",
        "model=m/date=2026-13-27/hour=13/a.parquet",
        "model=m/date=2026-11-27/hour=24/a.parquet",
        "model=m/date=2026-11-27/hour=13/.a.parquet",
        "model=m/date=2026-11-27/hour=13/_a.parquet",
        "model=m/date=2026-11-27/hour=13/a.parquet.new",
        "model=/date=2026-11-27/hour=13/a.parquet",
    ],
)
def test_what_has_another_name_is_no_file_of_the_log(name):
    assert parsed(name) is None


def test_patterns_find_what_is_below_a_folder(tmp_path):
    store = FolderStore(tmp_path)
    names = [
        f"{hour_folder(model, AT + timedelta(hours=hours))}/{hours}.parquet"
        for model in ("a", "ab")
        for hours in (0, 1, 24)
    ]
    for name in names:
        store.put(name, b"")
    (tmp_path / ".top-up").mkdir()
    assert list(store.names()) == sorted(names)
    assert list(store.names("model=a")) == sorted(names[:3])
    assert list(store.names(f"{hour_folder('a', AT)}")) == names[:1]
    assert list(store.names("model=nobody")) == []
    assert below("model=a/date=2026-11-27") == "hour=*/*.parquet"
