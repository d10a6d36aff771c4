"""The site builds strictly and fetches nothing; every document on its pages is accepted by its parser."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from control.notify import file as notifications_file
from harness.fences import Reader, fences, matches
from harness.system import ROOT
from router.rollout.parser import parse
from router.rollout.schema import of_file
from serving.document import DocumentError
from serving.models.files.config import CPU, parse_config
from serving.models.files.graph_file import parse_graph
from serving.models.files.pbtxt import parse_pbtxt

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md"))]
OURS = {"", "rollouts.yaml", "tutorial.yaml", "config.yaml", "graph.yaml", "conditional.yaml"}
FOREIGN = {
    "Argo Rollouts",
    "Argo Rollouts: the analysis",
    "Istio",
    "Seldon Core 2",
    "Seldon Core 1",
    "KServe",
    "SageMaker, CloudFormation",
    ".pre-commit-config.yaml",
    "kustomization.yaml",
    "values.yaml",  # of the chart, checked by tests/deploy and tests/servers/helm
    "faulty.yaml",  # refused, as tests/docs/test_checking_rollout_files.py sees
}
BLOCKS = [block for page in PAGES for block in fences(page) if block.language == "yaml"]
SCHEMA = jsonschema_rs.Draft202012Validator(of_file())
_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link[^>]*\shref=[\"']?(?:https?:)?//[^>]*>"
    r"|@import[^;]*//|url\([\"']?(?:https?:)?//[^)]*\)",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def test_every_page_is_in_the_site_and_nothing_is_fetched_from_elsewhere(site):
    built = sorted(site.rglob("*.html"))
    assert len(built) >= len(PAGES) - 1  # README.md is none of them
    for file in [*built, *site.rglob("*.css")]:
        assert _ELSEWHERE.findall(file.read_text()) == [], file
    assert not (site / "gen").exists()


@pytest.mark.parametrize(
    "text", ['<script src="https://x.org/a.js">', '<link rel=x href="//x.org/a.css">', "@import 'https://x'"]
)
def test_what_is_fetched_from_elsewhere_would_be_found(text):
    assert _ELSEWHERE.findall(text)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_document_on_a_page_is_accepted_by_what_reads_it(block):
    if block.title in FOREIGN:
        assert all(isinstance(each, dict) for each in yaml.safe_load_all(block.text))
        return
    assert block.title in OURS, f"{block}: whose document is this?"
    if block.title == "config.yaml":
        parse_config(block.text.encode(), str(block), lambda: (CPU,))
    elif block.title in {"graph.yaml", "conditional.yaml"}:
        parse_graph(block.text.encode(), str(block))
    elif "\nchannels:" in f"\n{block.text}":
        parse_notifications(block)
    else:
        parse(block.text, str(block))
        assert in_schema(block.text)


@pytest.mark.parametrize("file", ["rollouts.yaml", "deploy/kubernetes/rollouts.yaml"])
def test_every_rollout_file_is_accepted_by_the_parser_and_by_the_schema(file):
    text = (ROOT / file).read_text()
    if (found := yaml.safe_load(text)).get("kind") == "ConfigMap":
        text = found["data"]["rollouts.yaml"]
    assert parse(text, file)
    assert in_schema(text)


def in_schema(text):
    """Whether the JSON Schema accepts it, read as linters read YAML."""
    return list(SCHEMA.iter_errors(yaml.safe_load(text))) == []


def parse_notifications(block):
    """With the secrets that it names, those of files from the environment instead."""
    secrets = {"HOOK_SECRET": "s" * 32, "SMTP_PASSWORD": "p"}
    without_files = re.sub(r"\{file: [^}]*\}", "{env: URL}", block.text)
    notifications_file.parse(without_files, str(block), secrets | {"URL": "https://example.org/x"})


def test_each_of_the_others_has_ours_beside_it():
    for page in sorted((DOCS / "migration").glob("*.md")):
        titles = [block.title for block in fences(page) if block.language in {"yaml", "text"}]
        assert set(titles) & (FOREIGN | {"models/digits/config.pbtxt"}) and "rollouts.yaml" in titles, page  # noqa: PT018  (one fact)


def test_the_configuration_of_triton_on_its_page_maps_as_the_page_says():
    [block] = [block for block in fences(DOCS / "migration" / "triton.md") if block.title.endswith(".pbtxt")]
    config, [note] = parse_pbtxt(block.text.encode(), "config.pbtxt", "digits")
    assert (config.most_rows, config.versions) == (16, ("1", "2"))
    assert "max_queue_delay_microseconds" in note


def test_a_document_that_is_wrong_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("1. A step:\n\n   ```yaml\n   digits:\n     stabel: digits/1\n   ```\n")
    [block] = fences(page)
    with pytest.raises(DocumentError, match=r"page.md:3:2:11: digits.stabel: unknown key"):
        parse(block.text, str(block))


def test_a_model_is_exported_checked_and_served_as_the_page_says(tmp_path):
    pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(tmp_path, {"PATH": path, "COLUMNS": "200"}, {})
    blocks = list(fences(DOCS / "your-own-model.md"))
    ran = 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        elif block.language == "sh":
            said = reader.run(block.text, 60)
            assert after is not None and matches(after.text, said), said  # noqa: PT018  (one fact)
            ran += 1
    assert ran == 1
