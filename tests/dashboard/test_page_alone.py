"""The page on a control plane by itself: tokens, hostile text, a control that goes away."""

import json
import re
import shutil

import pytest

from harness.control import STEPS, Control
from harness.system import MODELS, eventually
from router.counting.segments import SegmentErrors
from router.counting.stage_counts import RoleCounts, StageCounts, to_json

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

TOKEN, VIEWER = "operators-token", "viewers-token"
HOSTILE = "<img src=x onerror=document.title='hacked'>"
REFUSED = ("status of 401", "status of 403")  # the browser logs what it was answered


@pytest.fixture(scope="module")
def control(tmp_path_factory, browser):  # without a browser nothing is started
    environment = {"UNDERSTUDY_TOKEN": TOKEN, "UNDERSTUDY_VIEWER_TOKEN": VIEWER}
    folder = tmp_path_factory.mktemp("alone")
    found = Control(folder, environment, models=with_lineage(folder / "models"))
    found.client.headers["authorization"] = f"Bearer {TOKEN}"
    try:
        found.wait_ready().put("digits", STEPS).raise_for_status()
        yield found
    finally:
        found.client.close()
        assert found.process.end() == 0


def with_lineage(models):
    """The digits, with what somebody says of the second version."""
    shutil.copytree(MODELS / "digits", models / "digits")
    said = {"registered_by": HOSTILE, "run": "https://mlflow.example.org/#/runs/7"}
    with (models / "digits" / "config.yaml").open("a") as config:
        config.write(f"lineage: {json.dumps({'2': said})}\n")
    return models


def enter(page, token: str) -> None:
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Continue").click()


def signed_in(page, token: str = TOKEN, count: int = 1):
    enter(page, token)
    expect(page.locator(".glance > li")).to_have_count(count)
    return page


def test_the_page_asks_for_the_token_and_keeps_it_for_its_tab_only(control, opened):
    page = opened(control.url, expected=REFUSED)
    enter(page, "a-guess")
    expect(page.get_by_role("alert")).to_have_text("This token is not accepted.")
    expect(page.locator(".glance > li")).to_have_count(0)
    page.keyboard.press("Escape")  # there is no way around it
    page.get_by_label("Token", exact=True).fill("")
    signed_in(page)
    page.reload()
    expect(page.locator(".glance > li")).to_have_count(1)
    assert page.evaluate("sessionStorage.length") == 1
    assert page.evaluate("Object.values(localStorage)") == []
    assert TOKEN not in page.content()
    other = opened(control.url, expected=REFUSED)
    expect(other.get_by_label("Token", exact=True)).to_be_visible()


def test_a_viewer_sees_and_cannot_change(control, opened):
    page = signed_in(opened(control.url, expected=REFUSED), VIEWER)
    page.get_by_role("link", name="digits", exact=True).click()
    known = page.locator('.origin[data-target="digits/2"]')
    expect(known).to_contain_text(f"Registered by{HOSTILE}says config.yaml")
    expect(known).to_contain_text("Nobody says: registered as, registered at, commit, code, data, parent")
    link = known.get_by_role("link", name="https://mlflow.example.org/#/runs/7")
    expect(link).to_have_attribute("rel", "noreferrer")
    expect(page.locator(".history tbody")).to_contain_text(f"registered by {HOSTILE} (says config.yaml)")
    page.get_by_role("button", name="Abort").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("may I?")
    dialog.get_by_role("button", name="Abort").click()
    expect(dialog.get_by_role("alert")).to_contain_text("may read, but not change")
    assert control.view("digits")["status"]["phase"] == "progressing"


def test_without_a_token_nothing_but_the_text_of_the_page_is_given(control):
    anonymous = {"authorization": ""}
    for path in ("/", "/page/app.js", "/page/base.css"):
        answer = control.client.get(path, headers=anonymous)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
    for path in ("/v1/rollouts", "/v1/load", "/v1/events", "/v1/rollouts/digits/series", "/metrics"):
        assert control.client.get(path, headers=anonymous).status_code == 401
    assert control.client.post("/", headers=anonymous).status_code == 401
    for path in ("/page/nothing.js", "/page/..%2fapp.py", "/page/__init__.py"):
        assert control.client.get(path).status_code == 404


def report(control) -> None:
    """A node says hostile things of itself."""
    row = {"model": "digits", "target": HOSTILE}
    canary = {"model": "digits", "target": "digits/2", "role": "canary", "ready": False, "problem": HOSTILE}
    use = {
        "answered": [{**row, "role": "stable", "requests": 1, "failures": 0, "latency": []}],
        "compared": [{**row, "output": HOSTILE, "comparisons": 1, "differences": 0}],
        "processes": [{"kind": "worker", "name": HOSTILE, "pid": 1, "cpu_seconds": 0, "memory_bytes": 1}],
        "machine": {"cpus": 1, "busy_seconds": 0, "memory_bytes": 2, "available_bytes": 1},
    }
    for kind in ("node", "worker"):
        said = {"instance": f"{HOSTILE}/{kind}", "node": HOSTILE, "kind": kind, "revision": 1, "wait": 0}
        said |= {"targets": [canary]} if kind == "worker" else {"use": use}
        control.client.post("/v1/sync", json=said).raise_for_status()


def test_hostile_names_problems_and_reasons_are_text(control, opened):
    page = signed_in(opened(control.url, expected=(*REFUSED, "status of 422")))
    control.act("digits", "abort", reason=HOSTILE).raise_for_status()
    expect(page.locator(".glance > li")).to_contain_text(HOSTILE)
    expect(page.locator("#said")).to_contain_text(HOSTILE)
    page.get_by_role("link", name="digits", exact=True).click()
    expect(page.locator(".lead")).to_contain_text(HOSTILE)
    expect(page.locator(".history tbody")).to_contain_text(HOSTILE)
    control.act("digits", "resume", reason=HOSTILE).raise_for_status()

    def shown(selector: str) -> bool:
        report(control)  # until it is shown: a node that says nothing is gone after five seconds
        return HOSTILE in (page.locator(selector).first.text_content() or "")

    eventually(lambda: shown(".targets"), "a hostile problem")
    page.get_by_role("link", name="Nodes and models").click()
    page.locator(".machine h3").first.wait_for()
    eventually(lambda: shown(".machines"), "a hostile node")
    eventually(lambda: shown("[aria-label='Processes'] tbody"), "a hostile process")
    page.evaluate("(view) => { location.hash = view }", f"#/rollouts/{HOSTILE.replace('/', '')}")
    expect(page.locator("h1")).to_contain_text("<img")
    assert page.locator("img").count() == 0
    assert "hacked" not in page.title().replace(HOSTILE, "")


SEGMENTED = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 10},
    "segments": {"header": "x-country"},
    "guards": {"errors": {"maxRatio": 1.5}, "segments": {"guard": "errors", "mode": "observe"}},
}


def test_the_worst_segments_are_shown_by_names_that_strangers_may_have_sent(control, opened):
    control.put("segmented", SEGMENTED).raise_for_status()
    errors = {HOSTILE: (30, 3), "de": (9, 81), "fr": (1, 9), "it": (1, 12), "es": (1, 13), "pt": (1, 15)}
    segments = {value: SegmentErrors(*pair, 1) for value, pair in errors.items()}
    roles = RoleCounts(9_000, 9_000, 133, 133), RoleCounts(1_000, 1_000, 43, 43)
    stage = control.view("segmented")["status"]["stage"]
    row = {
        "model": "segmented",
        "stage": stage,
        "counts": to_json(StageCounts(0.1, *roles, segments=segments)),
    }
    said = {"instance": "w", "node": "n", "kind": "worker", "revision": 1, "wait": 0, "counts": [row]}
    try:
        control.client.post("/v1/sync", json=said).raise_for_status()
        page = signed_in(opened(control.url, expected=REFUSED), count=2)
        page.get_by_role("link", name="segmented", exact=True).click()
        rows = page.get_by_role("region", name="Segments with errors").locator("tbody tr")
        expect(rows).to_have_count(5)
        expect(rows.first.locator("th")).to_have_text(HOSTILE)
        expect(rows.first.locator("td")).to_have_text(["30", "3", re.compile(r"\d"), "yes"])
        expect(rows.nth(1).locator("td").last).to_have_text("not shown")
        expect(page.locator(".segments .note:visible")).to_have_text("and 1 more")
        expect(page.locator(".segments:visible")).to_have_count(1)
        assert page.locator("img").count() == 0
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    finally:
        control.client.delete("/v1/rollouts/segmented").raise_for_status()


AWAY = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE", "503 (Service Unavailable)")
"""Of a control that ended, and of one that has not read yet what is stored."""


def test_a_control_that_goes_away_is_found_again(control, opened):
    page = signed_in(opened(control.url, expected=(*REFUSED, *AWAY)))
    live = page.locator("#live")
    expect(live).to_have_text("Live")
    page.get_by_role("link", name="digits", exact=True).click()
    expect(page.get_by_role("button", name="Abort")).to_be_enabled()
    assert control.process.end() == 0
    expect(live).to_have_text("Control does not answer")
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile(r"has not answered since \d{4}-.* is as it was then")
    )
    expect(page.get_by_role("button", name="Abort")).to_be_disabled()
    expect(page.get_by_role("button", name="Abort")).to_have_attribute("title", "Control does not answer")
    expect(page.locator(".track")).to_have_css("opacity", "0.45")
    control.start()
    control.wait_ready()
    expect(live).to_have_text("Live", timeout=20_000)
    expect(page.locator("#away")).to_be_hidden()
    expect(page.get_by_role("button", name="Abort")).to_be_enabled()
    control.act("digits", "abort", reason="seen again")
    page.get_by_role("link", name="Rollouts").first.click()
    expect(page.locator(".glance > li")).to_contain_text("seen again")


def test_a_refused_file_is_seen_on_every_view_until_it_is_mended(control, opened):
    page = signed_in(opened(control.url, expected=REFUSED))
    notice = page.locator("body > .needs")
    expect(notice).to_contain_text("rollouts.yaml: cannot be read")
    control.file.write_text("other:\n  stable: digits/1\n  canry: 1\n")
    expect(notice).to_contain_text(re.compile(r"Rollout file refused .*rollouts\.yaml:3:10.*canry"))
    page.get_by_role("link", name="Nodes and models").click()
    expect(notice).to_contain_text("canry")
    control.file.write_text("other:\n  stable: digits/1\n")
    expect(notice).not_to_contain_text("canry")
    page.get_by_role("link", name="Rollouts").first.click()
    expect(page.locator(".glance > li")).to_have_count(2)
    control.client.delete("/v1/rollouts/other").raise_for_status()


def test_what_is_dead_is_not_steady(control, opened):
    """A worker says that the canary of a rollout with a fixed weight is not ready."""
    control.put(
        "fixed", {"stable": "digits/1", "canary": {"model": "digits/3", "weight": 10}}
    ).raise_for_status()
    page = signed_in(opened(control.url, expected=REFUSED), count=2)
    row = page.locator(".glance > li").filter(has=page.get_by_role("link", name="fixed", exact=True))
    view = control.view("fixed")
    [stable, canary] = view["targets"]
    revision = view["revision"]
    targets = [
        {"model": "fixed", "target": "digits/1", "role": "stable", "ready": True, "sha256": stable["sha256"]},
        {"model": "fixed", "target": "digits/3", "role": "canary", "ready": False, "problem": "no answer",
         "sha256": canary["sha256"]},
    ]  # fmt: skip
    served = [{"model": "fixed", "target": "digits/1", "sha256": stable["sha256"]}]
    said = {"instance": "w1", "node": "n1", "kind": "worker", "revision": revision, "wait": 0}

    def seen() -> bool:
        control.client.post(
            "/v1/sync", json={**said, "targets": targets, "served": served}
        ).raise_for_status()
        return "Canary not ready" in row.locator(".who").inner_text()

    eventually(seen, "the dead canary")
    expect(row.locator(".who")).not_to_contain_text("Steady")
    expect(row.locator(".needs")).to_contain_text("ready in no process: no answer")
    control.client.delete("/v1/rollouts/fixed").raise_for_status()
