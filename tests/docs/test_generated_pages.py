"""The reference pages say what the code says, and the parsers give the errors that the pages quote."""

import json
import re
import sys
from dataclasses import replace

import pytest

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # docs is no installed package

from docs.gen import api_page, commands_page, metrics_page, model_config_page, rollout_page, settings_page
from docs.gen.documents import Field, faults, known_keys, with_value
from docs.gen.pages import DOCS, PAGES
from serving.document import DocumentError
from serving.settings import INTERNAL
from understudy.settings import UpSettings

REFERENCES = {"rollout file": rollout_page.REFERENCE, "config.yaml": model_config_page.REFERENCE}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says_now(name):
    assert (DOCS / name).read_text() == PAGES[name](), "run `make docs`, and commit what it writes"


@pytest.mark.parametrize("name", REFERENCES)
def test_every_field_is_documented_with_its_default_and_its_error(name):
    assert list(faults(REFERENCES[name])) == []


def test_the_page_of_the_rollout_file_quotes_the_errors_of_the_parser():
    text = (DOCS / "reference/rollout-file.md").read_text()
    for section in rollout_page.REFERENCE.sections:
        for field in section.fields:
            with pytest.raises(DocumentError) as refused:
                rollout_page.REFERENCE.parse(json.dumps(with_value(section, field.key, field.wrong)))
            message = refused.value.message
            assert message.replace("|", "\\|") in text, message


def test_a_reference_that_does_not_fit_its_parser_is_found_out():
    reference = rollout_page.REFERENCE
    [top, *_] = reference.sections
    missing = replace(top, fields=top.fields[1:])
    assert known_keys(reference, top) - {field.key for field in missing.fields} == {"stable"}
    wrong = [
        Field("alpha", "", "2%", "5%", "100%", ""),  # not the default
        Field("timeout", "", "1s", "1 second", "5", ""),  # not good
        Field("keepWarm", "", "10m", "1h", "2h", ""),  # not wrong
        Field("canary", "", "required", "digits/2", "digits", ""),  # not required
    ]
    found = list(faults(replace(reference, sections=[replace(top, fields=wrong)], refused=())))
    assert len(found) == 5, found


def test_every_setting_is_on_its_page_and_every_option_sets_one():
    text = (DOCS / "reference/settings.md").read_text()
    for name, field in UpSettings.model_fields.items():
        assert (f"| `UNDERSTUDY_{name.upper()}` |" in text) == (INTERNAL not in field.metadata), name
    for command, kind in settings_page.COMMANDS.items():
        assert settings_page.parameters(command).keys() <= kind.model_fields.keys(), command


def test_every_command_is_on_its_page():
    text = (DOCS / "reference/commands.md").read_text()
    names = [name for name, _ in commands_page.commands()]
    assert len(names) == len(set(names)) > 20
    assert [name for name in names if f"\n## {name}\n" not in text] == []


def test_every_operation_of_both_doors_is_on_its_page():
    for page, document in (
        ("admin-api.md", api_page.admin_document()),
        ("inference-api.md", api_page.public_document()),
    ):
        text = (DOCS / "reference" / page).read_text()
        found = list(api_page.operations(document))
        assert len(found) >= 12
        assert [each[:2] for each in found if f"\n### {each[0]} {each[1]}\n" not in text] == []


def test_every_metric_that_is_declared_is_on_its_page_and_in_one_section():
    names = [metrics_page.sample_name(f) for known in metrics_page.families().values() for f in known]
    assert len(names) == len(set(names)) > 25
    text = (DOCS / "reference/metrics.md").read_text()
    assert [name for name in names if f"| `{name}` |" not in text] == []


def mentioned(pattern: str) -> dict[str, str]:
    """What the pages written by hand and the README mention -> the last page that does."""
    pages = [ROOT / "README.md", *(path for path in DOCS.rglob("*.md") if path.parent.name != "reference")]
    return {found: page.name for page in pages for found in re.findall(pattern, page.read_text())}


def test_settings_commands_and_metrics_that_pages_mention_exist():
    settings = {f"UNDERSTUDY_{name.upper()}" for name in UpSettings.model_fields}
    found = mentioned(r"\b(UNDERSTUDY_[A-Z0-9_]+[A-Z0-9])\b")
    assert len(found) > 5
    assert {name: page for name, page in found.items() if name not in settings} == {}

    commands = {name for name, _ in commands_page.commands()}
    found = mentioned(r"`(understudy (?:rollouts|models|keys) [a-z]+)\b(?!\|)")
    assert len(found) > 5
    assert {name: page for name, page in found.items() if name not in commands} == {}

    families = {f for known in metrics_page.families().values() for f in known}
    metrics = {metrics_page.sample_name(family) for family in families}
    metrics |= {f"{f.name}_{end}" for f in families if f.buckets for end in ("bucket", "sum", "count")}
    found = mentioned(r"\b(understudy_(?!client\b)[a-z_]+[a-z])\b(?=[`{\[ ])")  # a package
    assert len(found) > 5
    assert {name: page for name, page in found.items() if name not in metrics} == {}
