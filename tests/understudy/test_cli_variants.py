"""`understudy models quantize`: a whole version with its origin, or none; what it was made from stays.

What it makes of the rows beside a model, the page shows (`tests/docs/test_variants_page.py`).
"""

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from harness.record_files import INSTANCE, write_rows
from harness.system import MODELS
from router.record.files.rows import Row
from understudy.cli import app


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / "digits", folder / "digits")
    return folder


def logged(folder, model, rows, hours_ago, **inputs):
    """Requests that the log writer wrote; what is not among the inputs was redacted."""
    at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    said = {"kind": "request", "role": "stable", "status_code": 200, "request_time": at}
    found = {"output_label": np.array([0])}
    write_rows(
        folder,
        f"{hours_ago}",
        (
            Row(model, INSTANCE, at, said, found | {name: of[row] for name, of in inputs.items()}, 0)
            for row in range(rows)
        ),
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Of a shop that is served by digits, now and two days ago; of another two days ago; of one redacted."""
    folder = tmp_path_factory.mktemp("log")
    with np.load(MODELS / "digits" / "heldout.npz") as held_out:
        pixels = held_out["inputs"][:, None]
    logged(folder, "shop", 40, 0, input_pixels=pixels)
    logged(folder, "shop", 9, 48, input_pixels=pixels[40:])
    logged(folder, "secret", 3, 0)
    logged(folder, "iris", 3, 48, input_features=pixels[:, :, :4])
    return folder


def quantize(models, *arguments, code=0):
    done = CliRunner().invoke(app, ["models", "quantize", *arguments, "--models", str(models), "--timing=1s"])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done


def props(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_static_variant_of_the_logs_requests_says_where_it_comes_from(models, log):
    origin = onnx.load(models / "digits" / "2" / "model.onnx")
    onnx.helper.set_model_props(origin, {"commit": "0123abc", "parent": "digits/1"})
    (models / "digits" / "7").mkdir()
    (models / "digits" / "7" / "model.onnx").write_bytes(source := origin.SerializeToString())
    of_log = (f"--calibrate=records:{log}", "--since=1d", "--requests-to=shop")
    told = json.loads(quantize(models, "digits/7", "--int8-static", *of_log, "--json").stdout)
    path = models / told["model"] / "model.onnx"
    assert (told["origin"], told["method"], told["dependence"]) == ("digits/7", "int8-static", "")
    assert told["bytes"] == path.stat().st_size < told["origin_bytes"]
    assert (told["calibrated_on"], told["tested"]["rows"]) == (20, 20)
    assert told["tested"]["source"] == f"records:{log}"
    assert told["tested"]["candidate"]["key"] == told["model"]
    made = json.loads(props(path)["understudy.conversion"])
    assert made["method"] == "int8-static"
    assert made["onnxruntime"]
    assert (models / "digits" / "7" / "model.onnx").read_bytes() == source
    assert [each.name for each in models.iterdir()] == ["digits"], "nothing is left aside"

    again = quantize(models, told["model"], "--int8", code=1)
    assert "or is quantized already" in again.stderr

    shown = CliRunner().invoke(app, ["models", "show", told["model"], "--json", f"--models={models}"])
    claims = {claim["about"]: claim["value"] for claim in json.loads(shown.stdout)["lineage"]["claims"]}
    assert claims["parent"] == f"digits/7 (sha256 {hashlib.sha256(source).hexdigest()})"
    assert claims["conversion"].startswith("int8-static (weights: int8, by channel; activations: uint8")
    assert claims["commit"] == "0123abc"


def test_what_cannot_be_made_leaves_nothing(models):
    before = sorted(each.name for each in (models / "digits").iterdir())
    refused = quantize(models, "digits/1", "--int8", code=1)
    assert "there is nothing to convert to int8" in refused.stderr
    assert "no model 'digits' version '99'" in quantize(models, "digits/99", "--fp16", code=1).stderr
    missing = quantize(models, "digits/2", "--fp16", "--calibrate", "nowhere.npz", code=1)
    assert "nowhere.npz" in missing.stderr
    assert "go with" in quantize(models, "digits/2", "--fp16", "--since", "1d", code=1).stderr
    assert "say one of" in quantize(models, "digits/2", "--fp16", "--int8", code=2).stderr
    assert sorted(each.name for each in (models / "digits").iterdir()) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "no request to 'digits' is in it; it has requests to 'iris', 'secret', 'shop'"),
        (("--requests-to=iris", "--since=1d"), "no request to 'iris' that arrived so late; the latest came"),
        (("--requests-to=secret",), "no request to 'secret' with its inputs; record them by"),
    ],
)
def test_a_log_without_such_requests_is_refused_in_words(models, log, options, reason):
    of_log = (f"--calibrate=records:{log}", *options)
    assert reason in quantize(models, "digits/4", "--int8-static", *of_log, code=1).stderr
