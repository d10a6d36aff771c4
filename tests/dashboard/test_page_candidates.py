"""The page in a real browser, while candidates are compared with stable and with each other."""

from itertools import count

import pytest

from harness.picky import picky
from harness.pilot import piloted
from harness.shoppers import Shoppers
from harness.system import eventually

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
expect.set_options(timeout=30_000)

DOCUMENT = {
    "stable": "digits/1",
    "candidates": [{"model": "digits/2", "weight": 25}, {"model": "digits/3", "weight": 25, "mirror": 10}],
    "outcomes": {"paid": {"kind": "binary", "within": "2s"}},
    "guards": {"errors": {"max": "1%"}},
    "compare": {"label": "exact", "probabilities": {"atol": 0.5}},
    "best": {"outcome": "paid", "max": "14d"},
    "alpha": "5%",
}
PAYS = {"1": 0.1, "2": 0.5, "3": 0.1}


@pytest.fixture(scope="module")
def tested(node, browser):  # without a browser nothing is started
    """A test whose third candidate fails every other request, until it is off and the best is found."""
    number = count()
    with picky(lambda _: next(number) % 2) as url:
        bad = {"model": "digits/4", "url": url, "weight": 10}
        with piloted(node, "shop", {**DOCUMENT, "candidates": [*DOCUMENT["candidates"], bad]}) as pilot:
            eventually(pilot.ready, "all candidates are ready", 60.0)
            with Shoppers(node, "shop", PAYS):
                eventually(lambda: pilot.view["best"]["found"] == "digits/2", "the best is found", 60.0)
            eventually(lambda: not pilot.view["candidates"][2]["on"], "the bad one is off")
            yield pilot


@pytest.fixture
def page(node, tested, opened):
    found = opened(node.admin_url)
    found.evaluate("() => { location.hash = '#/rollouts/shop' }")
    expect(found.locator("h1")).to_have_text("shop")
    return found


def card(page, target: str):
    return page.locator(f"[data-candidate^='{target}']")


def test_each_candidate_has_a_card_and_the_best_is_named(page):
    expect(page.locator("h1 + .chip")).to_have_text("Comparing")
    expect(page.locator(".candidates > li")).to_have_count(3)
    for target, words in (("digits/2", "Best"), ("digits/3", "Compared"), ("digits/4", "Off")):
        expect(card(page, target).locator(".chip").first).to_have_text(words)
    expect(card(page, "digits/3")).to_contain_text("25% of the requests, mirror 10%, ready in 1 of 1")
    expect(card(page, "digits/3").locator(".guards h3")).to_have_text(["errors"])
    expect(card(page, "digits/4").locator(".why").last).to_contain_text("canary requests failed")
    expect(page.locator("[data-side='digits/2'] td").last).to_have_text("best")
    expect(page.locator(".needs li[data-need='best_found']")).to_contain_text("promote it, or abort")
    expect(page.locator(".legend .entry")).to_have_count(3)
    expect(page.locator(".legend")).to_contain_text("digits/1 50%")
    assert page.locator(".rest .part").evaluate_all("all => all.map(one => one.style.width)") == [
        "25%",
        "25%",
    ]


def test_at_a_glance_it_is_compared_and_has_a_best(page):
    page.evaluate("() => { location.hash = '#/' }")
    row = page.locator(".glance > li").filter(has=page.get_by_role("link", name="shop"))
    expect(row.locator(".who .chip")).to_have_text(["Comparing", "Best found"])
    expect(row.locator(".judged .chip")).to_have_text("Best found")
    expect(row.locator(".legend")).to_contain_text("digits/3 25%")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_test(node, tested, opened, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = opened(node.admin_url, color_scheme=theme)
    page.evaluate("() => { location.hash = '#/rollouts/shop' }")
    expect(page.locator(".candidates > li")).to_have_count(3)
    page.get_by_role("button", name="Promote digits/3").click()
    for _ in ("with a dialog", "without"):
        found = axe.run(page).response["violations"]
        grave = [rule for rule in found if rule["impact"] in {"serious", "critical"}]
        assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in grave]
        page.keyboard.press("Escape")


def test_it_fits_a_phone_with_candidates(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_one_is_promoted_by_the_keyboard_after_a_reason(tested, page):
    expect(page.locator("[data-action=promote]")).to_be_hidden()  # which one? each has a button of its own
    expect(card(page, "digits/4").get_by_role("button")).to_have_count(0)
    button = page.get_by_role("button", name="Promote digits/2")
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.promote") == "digits/2":
            break
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Make digits/2 answer everything")
    page.keyboard.type("users pay for it")
    dialog.get_by_role("button", name="Promote").press("Enter")
    expect(page.locator("h1 + .chip")).to_have_text("Promoted")
    expect(card(page, "digits/2").locator(".chip").first).to_have_text("Stable now")
    expect(page.locator(".history tbody")).to_contain_text("users pay for it")
    expect(page.locator("#candidates-title")).to_be_focused()
    assert tested.view["serving"]["stable"] == "digits/2"
