"""`understudy models quantize`: a whole version with its origin, or none; what it was made from stays."""

import hashlib
import json
import shutil

import onnx
import pytest
from typer.testing import CliRunner

from harness.system import MODELS
from understudy.cli import app


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / "digits", folder / "digits")
    return folder


def quantize(models, *arguments, code=0):
    done = CliRunner().invoke(app, ["models", "quantize", *arguments, "--models", str(models), "--timing=1s"])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done


def props(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_static_variant_says_where_it_comes_from_and_its_rows_stay_independent(models):
    source = (models / "digits" / "2" / "model.onnx").read_bytes()
    told = json.loads(quantize(models, "digits/2", "--int8-static", "--json").stdout)
    path = models / told["model"] / "model.onnx"
    assert (told["origin"], told["method"], told["dependence"]) == ("digits/2", "int8-static", "")
    assert told["bytes"] == path.stat().st_size < told["origin_bytes"]
    assert (told["calibrated_on"], told["tested"]["rows"]) == (360, 359)
    assert told["tested"]["candidate"]["key"] == told["model"]
    origin, made = (json.loads(props(path)[f"understudy.{name}"]) for name in ("origin", "conversion"))
    assert origin == {"model": "digits/2", "sha256": hashlib.sha256(source).hexdigest()}
    assert made["method"] == "int8-static"
    assert made["onnxruntime"]
    assert (models / "digits" / "2" / "model.onnx").read_bytes() == source
    assert [each.name for each in models.iterdir()] == ["digits"], "nothing is left aside"


def test_a_variant_in_halves_is_a_graph_in_order_and_told_in_words(models):
    said = quantize(models, "digits/2", "--fp16").stdout
    assert "not run together" not in said
    assert "(fp16), held against digits/2 on 719 rows" in said
    assert "agree" in said


def test_what_cannot_be_made_leaves_nothing(models):
    before = sorted(each.name for each in (models / "digits").iterdir())
    refused = quantize(models, "digits/1", "--int8", code=1)
    assert "there is nothing to convert to int8" in refused.stderr
    assert "no model 'digits' version '99'" in quantize(models, "digits/99", "--fp16", code=1).stderr
    missing = quantize(models, "digits/2", "--fp16", "--calibrate", "nowhere.npz", code=1)
    assert "nowhere.npz" in missing.stderr
    assert "goes with" in quantize(models, "digits/2", "--fp16", "--since", "1d", code=1).stderr
    assert "say one of" in quantize(models, "digits/2", "--fp16", "--int8", code=2).stderr
    assert sorted(each.name for each in (models / "digits").iterdir()) == before
