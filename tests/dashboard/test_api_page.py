"""`/docs` of the admin door: everything comes from the package, and it is all there without a script."""

import pytest

from harness.control import STEPS, Control

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


@pytest.fixture(scope="module")
def control(tmp_path_factory, browser):  # without a browser nothing is started
    environment = {"UNDERSTUDY_TOKEN": "operators-token"}
    found = Control(tmp_path_factory.mktemp("docs"), environment)
    found.client.headers["authorization"] = "Bearer operators-token"
    try:
        found.wait_ready().put("digits", STEPS).raise_for_status()
        yield found
    finally:
        found.client.close()
        assert found.process.end() == 0


DANGLING = """() => [...document.querySelectorAll("main a[href^='#']")]
    .map((link) => link.getAttribute("href").slice(1))
    .filter((id) => document.querySelectorAll(`[id='${CSS.escape(id)}']`).length !== 1)"""
COLOURS = "color-contrast"
"""The rule of axe that takes nearly all of its time: it is asked of the head and of the first sections, which
have each kind of thing that the others are made of."""
SOME = {"include": [["nav"], ["h1"], *([f"section:nth-of-type({place})"] for place in range(1, 7))]}


def test_the_page_of_the_api_shows_every_endpoint_and_asks_nobody_else(control, opened):
    """Without a token too, as the text of the page: it says nothing of this system."""
    page = opened(control.url, expected=("status of 401",), color_scheme="light")
    page.goto(f"{control.url}/docs")
    document = control.client.get("/openapi.json").json()
    shown = page.locator("section h2").all_text_contents()
    wanted = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    assert sorted(shown) == sorted(wanted)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Understudy control")
    page.get_by_role("navigation").get_by_role("link", name="PUT /v1/rollouts/{model}", exact=True).click()
    expect(page.get_by_role("heading", name="PUT /v1/rollouts/{model}", exact=True)).to_be_in_viewport()
    assert page.locator("main a[href^='#']").count() > 20
    assert page.evaluate(DANGLING) == []
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    assert faults(axe.run(page, options={"rules": {COLOURS: {"enabled": False}}})) == []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        found = axe.run(page, context=SOME, options={"runOnly": {"type": "rule", "values": [COLOURS]}})
        assert found.response["passes"], "some colours were looked at"
        assert faults(found) == []


def faults(found):
    return [(rule["id"], rule["nodes"][0]["html"]) for rule in found.response["violations"]]


def test_the_page_of_the_api_has_the_policy_of_the_page_and_nothing_foreign(control):
    answer = control.client.get("/docs", headers={"authorization": ""})
    assert answer.status_code == 200
    assert (
        answer.headers["content-security-policy"]
        == control.client.get("/").headers["content-security-policy"]
    )
    assert "http:" not in answer.text
    assert "https:" not in answer.text
    assert control.client.get("/openapi.json", headers={"authorization": ""}).status_code == 401
    assert control.client.get("/redoc").status_code == 404


GETS = [
    "/",
    "/docs",
    "/healthz",
    "/readyz",
    "/v1/rollouts",
    "/v1/rollouts/digits",
    "/openapi.json",
    "/v1/events",
]


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_a_body(control, path):
    head = control.client.head(path)
    assert head.content == b""
    assert "date" in head.headers
    if path == "/v1/events":  # which goes on
        assert head.status_code == 200
    else:
        given = control.client.get(path)
        assert head.status_code == given.status_code
        assert {**head.headers, "date": ""} == {**given.headers, "date": ""}


def test_a_method_that_is_not_there_says_which_are(control):
    answer = control.client.request("PATCH", "/v1/rollouts/digits")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"
