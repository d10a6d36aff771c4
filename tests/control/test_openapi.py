"""schemathesis over the OpenAPI document of the admin door: no 5xx, and no answer that is not described."""

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.control import STEPS, controlling
from harness.search import examples
from harness.system import eventually

NAME = "digits"
pytestmark = pytest.mark.filterwarnings("default")  # schemathesis' own


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    with controlling(tmp_path_factory.mktemp("openapi")) as control:
        control.file.write_text("iris: {stable: iris/1}\n")
        eventually(lambda: control.client.get("/readyz").status_code == 200, "ready")
        control.put(NAME, STEPS).raise_for_status()
        yield schemathesis.openapi.from_url(f"{control.url}/openapi.json")


def asked(api):
    """Every operation but the event stream, which does not end."""
    found = (result.ok() for result in api.get_all_operations())
    return [operation for operation in found if operation.path != "/v1/events"]


def checks():
    import schemathesis

    described = schemathesis.checks.load_all_checks() or schemathesis.checks.CHECKS
    names = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
    return described.get_by_names(list(names))


def test_every_answer_is_described_and_none_is_a_fault_of_ours(api):
    operations, wanted, session = asked(api), checks(), requests.Session()
    assert len(operations) >= 16
    for operation in operations:

        @settings(
            max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(case=operation.as_strategy(), known=st.booleans())
        def holds(case, known):
            if known and "model" in (case.path_parameters or {}):
                case.path_parameters["model"] = NAME
            if case.path == "/v1/sync" and isinstance(case.body, dict):
                case.body["wait"] = 0
            case.call_and_validate(checks=wanted, session=session)

        holds()
    session.close()
