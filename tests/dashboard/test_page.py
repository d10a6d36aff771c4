"""The page in a real browser on a real system with traffic."""

import os
import re
import shutil

import pytest

from harness.command import told
from harness.load import Load
from harness.pilot import piloted, rollout
from harness.rows import plain
from harness.system import MODELS, eventually, running

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
expect.set_options(timeout=20_000)

RATE = 20
ROLLOUTS = """
digits:
  stable: digits/1
  canary:
    model: digits/2
    steps: [{setWeight: 30}, {pause: {}}, {setWeight: 50}, {pause: {}}]
    mirror: 100
  shadows: [{model: digits/3, sample: 100}]
  compare: {label: exact, probabilities: {atol: 0.05}}
  guards:
    errors: {maxRatio: 20, max: 50%}
    agreement: {output: label, min: 50%}
  alpha: 0.1%
  record: {}
iris: {stable: iris/1}
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory, browser):  # without a browser nothing is started
    folder = tmp_path_factory.mktemp("page")
    options = {"models": profiled(folder / "models"), "options": ("--records", "log")}
    with (
        running(folder, ROLLOUTS, **options) as found,
        Load(f"{found.url}/v2/models/digits/infer", RATE, plain),
    ):
        eventually(lambda: found.view("digits")["status"]["step"] == 2, "digits waits where tests find it")
        yield found


def profiled(models):
    """The bundled models, of which one has a profile."""
    shutil.copytree(MODELS, models)
    environment = {**os.environ, "UNDERSTUDY_MODELS": str(models)}
    ended = told("profile", "--model", "digits/1", environment=environment)
    assert ended.exit_code == 0, ended.output
    return models


@pytest.fixture
def page(up, opened):
    return opened(up.admin_url)


@pytest.fixture
def pilot(up):
    """A rollout; tests ask for it before a page, so that no page sees it go at the end."""
    guards = {"errors": {"max": "50%"}, "latency": {"maxRatio": 100}}
    with piloted(up, "paged", rollout("digits/2", guards, {"pause": {}})) as found:
        found.wait_step(2)  # there it stays; a step taken while a test edits would overtake the edit
        yield found


def at(page, view: str):
    """Go to a view and wait until its heading has come."""
    page.evaluate("(view) => { location.hash = view }", view)
    expect(page.locator("main h1")).to_have_count(1)
    return page


def confirm(page, action: str, reason: str) -> None:
    """Answer the dialog of an action."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill(reason)
    dialog.get_by_role("button", name=action).click()
    expect(dialog).to_have_count(0)


def kept(pilot, reason: str) -> bool:
    """Whether the history has a person's reason; the autopilot may have taken a step since."""
    return any(reason in row["reason"] for row in pilot.history if row["kind"] == "api")


# ------------------------------------------------------------------ at a glance
def test_all_rollouts_are_there_at_a_glance(up, page):
    expect(page.get_by_role("status")).to_have_text("Live")
    rows = page.locator(".glance > li")
    expect(rows).to_have_count(2)
    digits = rows.filter(has_text="digits/2")
    view = up.view("digits")
    expect(digits.locator(".who .chip")).to_have_text(["Paused", "Waits for you"])
    expect(digits.locator(".needs")).to_contain_text("resume, promote or abort digits/2")
    expect(digits.locator("[data-shadow='digits/3']")).to_contain_text("a comparison only")
    expect(digits).to_contain_text(view["status"]["sentence"][1:])
    expect(digits.locator(".legend")).to_contain_text("digits/1 70%")
    expect(digits.locator(".legend")).to_contain_text("digits/2 30%")
    expect(digits.locator(".legend")).to_contain_text("digits/3 shadow")
    expect(digits.locator(".judged")).to_contain_text(re.compile("Proven|Undecided"))
    assert digits.locator(".part.canary").evaluate("part => part.style.width") == "30%"
    rate = digits.locator(".figures dd").first
    expect(rate).not_to_have_text("0")
    # What needs a person comes first.
    assert rows.first.locator("h2").inner_text() == "digits"


def test_an_aa_is_shown_in_place_of_a_verdict(up, page):
    up.admin.post("/v1/rollouts/iris/aa", json={"seconds": 3600}).raise_for_status()
    row = page.locator(".glance > li").filter(has=page.get_by_role("link", name="iris"))
    expect(row.locator(".who .chip").first).to_have_text("A/A")
    expect(row.locator(".judged")).to_contain_text("Stable against itself")
    at(page, "#/rollouts/iris")
    expect(page.locator(".lead")).to_contain_text("A/A: iris/1 against itself at 10%")
    expect(page.locator(".judged").first).to_contain_text("nothing follows from it")
    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_role("dialog")).to_contain_text("End the A/A")
    confirm(page, "Abort", "seen enough")
    expect(page.locator(".lead")).to_contain_text("there is no canary")
    assert up.view("iris")["aa"] is None


def test_latency_has_a_row_for_the_model_and_one_for_clients_which_proves_nothing(pilot, page):
    rows = at(page, "#/rollouts/paged").locator(".guards > li")
    expect(rows.locator("h3")).to_have_text(["errors", "latency: model", "latency: clients"])
    for row, gauges in ((1, ["for harm", "for no worse"]), (2, ["for harm"])):
        expect(rows.nth(row).locator(".gauge:visible > span:first-child")).to_have_text(gauges)
        expect(rows.nth(row).locator(".why")).not_to_be_empty()


# ------------------------------------------------------------------ charts
def numbers(page, title: str) -> dict[float, list[float | None]]:
    """The table of a chart: when -> values, as they came."""
    chart = page.locator(f'figure[data-chart="{title}"]')
    chart.locator("summary").click()
    chart.locator("tbody tr").first.wait_for()
    rows = chart.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [row.dataset.at, [...row.querySelectorAll('td')].map(c => c.dataset.value)])"
    )
    return {float(when): [None if v is None else float(v) for v in values] for when, values in rows if values}


def test_each_chart_shows_the_numbers_of_the_api(up, page):
    def points():
        found = up.admin.get("/v1/rollouts/digits/series").raise_for_status().json()
        latest = found[-1]
        ready = latest["agreement"] and len(latest["agreement"]) == 4 and latest["targets"][1]["share"]
        return found if ready and latest["guards"][0]["log_harm"] is not None else None

    eventually(points, "traffic and evidence in the series")
    at(page, "#/rollouts/digits")
    page.locator('figure[data-chart="Evidence: errors"]').wait_for()

    def target(role, key):
        return lambda p: next(row[key] for row in p["targets"] if row["role"] == role)

    def agreement(name, output):
        def value(p):
            row = next(r for r in p["agreement"] if (r["target"], r["output"]) == (name, output))
            return None if row["agreement"] is None else 100 * row["agreement"]

        return value

    def guard(name, key):
        return lambda p: next(g[key] for g in p["guards"] if g["guard"] == name)

    roles = ("stable", "canary")
    wanted = {
        "Share served": [*(target(role, "share") for role in roles), lambda p: p["weight"]],
        "Requests per second": [target(role, "requests_per_second") for role in roles],
        "Failures per second": [target(role, "failures_per_second") for role in roles],
        "Latency": [target(role, key) for role in roles for key in ("p50_seconds", "p99_seconds")],
        "Agreement": [agreement(n, o) for n in ("digits/2", "digits/3") for o in ("label", "probabilities")],
        "Evidence: errors": [guard("errors", key) for key in ("log_harm", "log_safe", "log_line")],
        "Evidence: agreement:label": [
            guard("agreement:label", key) for key in ("log_harm", "log_safe", "log_line")
        ],
    }  # fmt: skip
    for title, values in wanted.items():
        shown = numbers(page, title)
        api = {point["at"]: point for point in points()}
        assert shown, title
        assert shown.keys() <= api.keys(), title
        newest = max(shown)
        for index, value in enumerate(values):
            expected = value(api[newest])
            assert shown[newest][index] == (None if expected is None else pytest.approx(expected)), title
        assert None not in shown[newest], title
        # What the picture says is what its label says.
        plot = page.locator(f'figure[data-chart="{title}"] svg.plot')
        assert plot.get_attribute("aria-label").startswith(f"{title}. Now: ")
        assert plot.locator("path.line").first.get_attribute("d").startswith("M")


def test_what_the_series_says_is_what_was_sent(up):
    def steady():
        point = up.admin.get("/v1/rollouts/digits/series").json()[-1]
        rates = [row["requests_per_second"] for row in point["targets"]]
        shares = [row["share"] for row in point["targets"]]
        return sum(rates) == pytest.approx(RATE, rel=0.3) and sum(shares) == pytest.approx(100) and shares

    stable, canary = eventually(steady, "the rate that is sent")
    assert 10 < canary < 55  # of 30% over ten seconds at 40 a second
    assert 45 < stable < 90


# ------------------------------------------------------------------ differences, nodes
def test_differences_stand_side_by_side_largest_first(up, page):
    def kept():
        found = up.admin.get("/v1/rollouts/digits/examples", params={"output": "probabilities"}).json()
        return found["examples"][0] if len(found["examples"]) > 3 else None

    eventually(kept, "examples")
    at(page, "#/rollouts/digits")
    page.get_by_label("Output").select_option("probabilities")
    first = page.locator(".examples > li").first
    expect(first.locator("h3")).to_contain_text("probabilities")
    page.get_by_role("button", name="Look again").click()
    distances = [
        float(re.search(r"distance ([\d.e-]+)", text)[1])
        for text in page.locator(".examples span.note").all_inner_texts()
    ]
    assert len(distances) > 1
    assert distances == sorted(distances, reverse=True)
    lines = first.locator("table tr")
    assert [line.locator("th").inner_text() for line in lines.all()] == ["reference", "candidate"]
    assert lines.nth(0).locator("td").count() == lines.nth(1).locator("td").count() == 10
    assert first.locator("td.differs").count() >= 2
    expect(first.locator("code")).to_have_text(re.compile(r"understudy replay [A-Za-z0-9_-]{72}"))


def test_features_that_moved_most_stand_under_drift(up, page):
    eventually(lambda: up.admin.get("/v1/rollouts/digits/drift").json()["targets"], "answers are counted")
    drift = at(page, "#/rollouts/digits").get_by_role("region", name="Drift")
    rows = drift.locator("[data-target='digits/1'] tbody tr")
    expect(rows).to_have_count(8)
    expect(drift).to_contain_text("against 719 rows of heldout.npz")
    expect(drift).to_contain_text("that moved less: understudy rollouts drift digits")
    at(page, "#/rollouts/iris")
    expect(page.get_by_role("heading", name="Drift")).to_have_count(0)


def test_nodes_processes_load_and_models_are_those_of_the_api(up, page):
    at(page, "#/nodes")
    processes = page.locator(".machine tbody tr")
    [node] = up.admin.get("/v1/load").json()
    expect(processes).to_have_count(len(node["processes"]))
    shown = set(processes.locator("td:nth-child(2)").all_inner_texts())
    assert shown == {f"{process['name']} ({process['pid']})" for process in node["processes"]}
    assert {process["kind"] for process in node["processes"]} == {
        "control",
        "log-writer",
        "preloader",
        "worker",
        "sandbox",
        "supervisor",
    }
    expect(page.locator(".machine .figures")).to_contain_text(f"of {node['machine']['cpus']} CPUs")
    assert 0 < node["machine"]["available_bytes"] < node["machine"]["memory_bytes"]
    models = page.get_by_role("region", name="Models").locator("tbody tr")
    expect(models).to_have_count(len(up.admin.get("/v1/models").json()))


# ------------------------------------------------------------------ actions
def test_every_action_is_confirmed_done_and_kept_with_its_reason(up, pilot, page):
    at(page, "#/rollouts/paged")
    chip = page.locator("h1 + .chip")
    expect(chip).to_have_text("Paused")
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    for action, phase, words in (
        ("Resume", "promoting|promoted", "Promot|Promoted"),
        ("Abort", "rolled_back", "Rolled back"),
        ("Resume", "paused", "Paused"),
        ("Promote", "promoting|promoted", "Promot|Promoted"),
    ):
        page.get_by_role("button", name=action, exact=True).click()
        confirm(page, action, f"because of {action}")
        eventually(lambda: re.fullmatch(phase, pilot.status["phase"]), phase)  # noqa: B023
        expect(chip).to_have_text(re.compile(words))
        expect(page.locator(".history tbody")).to_contain_text(f"because of {action}")
    pilot.wait_phase("promoted")
    assert all(kept(pilot, f"because of {action}") for action in ("Resume", "Abort", "Promote"))


def test_pause_and_undo(up, pilot, page):
    at(page, "#/rollouts/paged")
    pilot.put(rollout("digits/2", {"errors": {"max": "50%"}}, {"prove": {"max": "30m"}}))
    expect(page.locator("h1 + .chip")).to_have_text("In progress")
    page.get_by_role("button", name="Pause").click()
    confirm(page, "Pause", "lunch")
    expect(page.locator(".lead")).to_contain_text("lunch")
    assert pilot.status["phase"] == "paused"
    page.get_by_role("button", name="Undo", exact=True).click()
    confirm(page, "Go back", "it was better")
    expect(page.locator(".track")).to_contain_text("Ask a person")
    assert pilot.history[0]["document"]["canary"]["steps"][-1] == {"pause": {}}
    assert kept(pilot, "it was better")


def test_the_file_for_auditors_is_saved_from_the_page(up, pilot, page):
    at(page, "#/rollouts/paged")
    for form, ending in (("a page to print", "html"), ("JSON", "json")):
        with page.expect_download() as saved:
            page.get_by_role("button", name=form).click()
        assert saved.value.suggested_filename == f"paged-audit.{ending}"
        assert pilot.history[-1]["reason"] in saved.value.path().read_text()


def test_an_action_that_no_longer_applies_says_so_and_changes_nothing(up, pilot, opened):
    logged = ("status of 412", "status of 409")  # by the browser: what it was answered
    page = opened(up.admin_url, expected=logged)
    at(page, "#/rollouts/paged")
    page.get_by_role("button", name="Promote").click()
    pilot.act("abort")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("too late")
    dialog.get_by_role("button", name="Promote").click()
    expect(dialog.get_by_role("alert")).to_contain_text(re.compile("revision|does not apply"))
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert pilot.status["phase"] == "rolled_back"


def tab_to(page, name: str) -> None:
    """Press Tab until the element with this name has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_the_keyboard_alone_suffices(pilot, page):
    pilot.put(rollout("digits/2", {"errors": {"max": "50%"}}, {"prove": {"max": "30m"}}))
    expect(page.locator(".glance")).to_contain_text("paged")
    tab_to(page, "paged")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("paged")
    expect(page.locator("main")).to_contain_text("waiting for proof")  # nobody else moves it from here on
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    page.keyboard.type("by hand")
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    expect(page.locator("h1 + .chip")).to_have_text("Paused")
    assert page.evaluate("document.activeElement.dataset.action") == "resume"  # what applies next
    assert kept(pilot, "by hand")
    tab_to(page, "Edit")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Edit paged")


# ------------------------------------------------------------------ editor
def test_the_editor_checks_while_one_types_then_shows_the_difference_and_applies(up, pilot, opened):
    page = opened(up.admin_url, expected=("status of 400",))
    refused = up.metric("understudy_config_rejected_total")
    at(page, "#/rollouts/paged/edit")
    checked, area = page.locator("#checked"), page.locator("#document")
    expect(checked).to_have_text("Valid; nothing changes.")
    text = area.input_value()
    area.fill(text.replace("setWeight: 10", "setWeight: 1000"))
    expect(checked).to_contain_text(re.compile(r"Line 5, column \d+: .*0 to 100"))
    expect(page.get_by_role("button", name="Apply")).to_be_disabled()
    assert area.get_attribute("aria-invalid") == "true"
    area.fill(text.replace("setWeight: 10", "setWeight: 12.5"))
    expect(checked).to_have_text("Valid; the rollout begins again.")
    expect(page.locator(".diff .gone")).to_contain_text("setWeight: 10")
    expect(page.locator(".diff .new")).to_contain_text("setWeight: 12.5")
    expect(page.locator(".effects")).to_contain_text("digits/2 12.5%")
    assert pilot.history[0]["document"]["canary"]["steps"][0] == {"setWeight": 10}  # so far it was dry
    page.get_by_role("button", name="Apply").click()
    confirm(page, "Apply", "a little more")
    expect(page.locator("h1")).to_have_text("paged")
    assert pilot.history[0]["document"]["canary"]["steps"][0] == {"setWeight": 12.5}
    assert kept(pilot, "a little more")
    assert up.metric("understudy_config_rejected_total") == refused  # trying is no refused edit


def test_an_editor_that_was_overtaken_cannot_overwrite(up, pilot, opened):
    page = opened(up.admin_url, expected=("status of 412",))
    at(page, "#/rollouts/paged/edit")
    expect(page.locator("#checked")).to_have_text("Valid; nothing changes.")
    pilot.put(rollout("digits/3", {"errors": {"max": "50%"}}, {"pause": {}}))
    expect(page.locator("#checked")).to_contain_text("revision")
    expect(page.get_by_role("button", name="Apply")).to_be_disabled()
    page.get_by_role("button", name="Load the newest").click()
    expect(page.locator("#document")).to_have_value(re.compile("digits/3"))


# ------------------------------------------------------------------ for everyone
FILLED = {
    "#/": ".glance > li",
    "#/rollouts/digits": ".examples > li",
    "#/rollouts/digits/edit": ".checked.good",
    "#/nodes": ".machine tbody tr",
    "#/new": ".checked.bad",
}


def filled(page, view: str) -> None:
    """Wait until there is something on a view to be judged."""
    page.locator(FILLED[view]).first.wait_for()


LOOKED_AT = {"light": {}, "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}}}
"""In the other theme nothing but colours is another."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(up, opened, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = opened(up.admin_url, color_scheme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    for view in FILLED:
        at(page, view)
        filled(page, view)
        found = axe.run(page, options=LOOKED_AT[theme]).response["violations"]
        grave = [rule for rule in found if rule["impact"] in {"serious", "critical"}]
        assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in grave], view
    at(page, "#/rollouts/digits")
    page.get_by_role("button", name="Resume").click()
    found = axe.run(page, options=LOOKED_AT[theme]).response["violations"]
    assert not [rule["id"] for rule in found if rule["impact"] in {"serious", "critical"}]


def test_it_fits_a_phone(up, opened):
    page = opened(up.admin_url)
    page.set_viewport_size({"width": 360, "height": 740})
    for view in FILLED:
        at(page, view)
        filled(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, view


def test_a_chosen_theme_is_kept(page):
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    page.get_by_role("button", name="Use the dark theme").click()
    page.reload()
    assert page.evaluate(theme) == "dark"


def test_a_change_made_elsewhere_is_seen_and_said(pilot, page):
    at(page, "#/rollouts/paged")
    expect(page.locator("h1 + .chip")).to_have_text("Paused")
    pilot.act("abort")
    expect(page.locator("h1 + .chip")).to_have_text("Rolled back")
    expect(page.locator("#said")).to_contain_text("paged: ")
    expect(page.locator(".track .stopped")).to_have_count(1)
