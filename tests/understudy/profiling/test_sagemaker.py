"""A baseline of SageMaker's Model Monitor as a profile: by the schema of its documentation."""

import copy
import json

import pytest

from router.drift.profile import from_json, to_json
from serving.errors import InvalidInput
from serving.wire.tensors import Signature, TensorSpec
from understudy.profiling.sagemaker import baseline

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)), TensorSpec("city", "BYTES", (-1, 1))), ())


def number(name):
    common = {"num_present": 9.0, "num_missing": 1.0}
    buckets = [
        {"lower_bound": 0.0, "upper_bound": 1.0, "count": 4.0},
        {"lower_bound": 1.0, "upper_bound": 2.0, "count": 5.0},
    ]
    spread = {"kll": {"buckets": buckets, "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": []}}}
    figures = {"mean": 1.0, "sum": 9.0, "std_dev": 0.5, "min": 0.0, "max": 2.0, "distribution": spread}
    return {
        "name": name,
        "inferred_type": "Fractional",
        "numerical_statistics": {"common": common, **figures},
    }


def text(name):
    values = {"categorical": {"buckets": [{"value": "Rome", "count": 6.0}]}}
    statistics = {
        "common": {"num_present": 8, "num_missing": 2},
        "distinct_count": 3.0,
        "distribution": values,
    }
    return {"name": name, "inferred_type": "String", "string_statistics": statistics}


def read(tmp_path, *features, **more):
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps({"version": 0.0, "dataset": {"item_count": 10}, "features": features} | more))
    return baseline(path, "m/1", SIGNATURE)


@pytest.mark.parametrize("called", [("x[0]", "x[1]", "city"), ("age", "height", "town")])
def test_columns_are_features_by_name_or_in_their_order(tmp_path, called):
    one, two, three = called
    profile = read(tmp_path, number(one), number(two), text(three))
    assert list(profile.features) == ["x[0]", "x[1]", "city"]
    x, city = (profile.features[name].histogram for name in ("x[1]", "city"))
    assert (x.edges, x.counts, x.missing) == ((0.0, 1.0, 2.0), (0, 4, 5, 0), 1)
    assert (x.moments.std, x.least, x.greatest) == (0.5, 0.0, 2.0)
    assert (city.counts, city.other, city.missing) == ({"Rome": 6}, 2, 2)
    assert from_json(to_json(profile), "p") == profile


def test_a_column_without_figures_is_not_counted(tmp_path):
    empty = {"name": "x[1]", "inferred_type": "Unknown"}
    assert read(tmp_path, number("x[0]"), empty, text("city")).uncounted == ("x[1]",)
    assert read(tmp_path, number("x[0]"), number("more")).uncounted == ("x[1]", "city")


def test_a_constant_is_one_bin(tmp_path):
    one = number("x[0]")
    buckets = [{"lower_bound": 3.0, "upper_bound": 3.0, "count": 9.0}]
    one["numerical_statistics"]["distribution"]["kll"]["buckets"] = buckets
    histogram = read(tmp_path, one).features["x[0]"].histogram
    assert (histogram.edges, histogram.counts) == ((3.0, 3.0), (0, 9, 0))


def test_what_is_no_baseline_is_refused_with_its_place(tmp_path):
    with pytest.raises(InvalidInput, match="2 columns, and none is called as one of the 3 features"):
        read(tmp_path, number("age"), number("height"))
    broken = copy.deepcopy(number("x[0]"))
    broken["numerical_statistics"]["common"]["num_present"] = -1
    with pytest.raises(InvalidInput, match=r"json: features\.0\.numerical_statistics\.common\.num_present"):
        read(tmp_path, broken)
    broken = copy.deepcopy(number("x[0]"))
    broken["numerical_statistics"]["distribution"]["kll"]["buckets"].reverse()
    with pytest.raises(InvalidInput, match=r"'x\[0\]': its buckets do not ascend"):
        read(tmp_path, broken)
    with pytest.raises(InvalidInput, match=r"statistics\.json: features: "):
        read(tmp_path)
    with pytest.raises(InvalidInput, match="No such file"):
        baseline(tmp_path / "none.json", "m/1", SIGNATURE)
