"""`make screenshots`: the pictures of the page in docs/images, taken of a real system with traffic.

SCREENSHOT_SECONDS (100): how long traffic runs before, so that the charts have something to show.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

# Folders of tests have the names of packages, so the packages' own place is looked at too.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.sync_api import Browser, sync_playwright

from harness.load import Load
from harness.rows import plain
from harness.shoppers import Shoppers
from harness.system import ROOT, running

IMAGES = ROOT / "docs" / "images"
SECONDS = float(os.environ.get("SCREENSHOT_SECONDS", "100"))
ROLLOUTS = """
digits:
  stable: digits/1
  canary:
    model: digits/2
    steps:
      - setWeight: 10
      - pause: {duration: 15s}
      - prove: {max: 30m}
      - setWeight: 50
      - pause: {}
    mirror: 100
  shadows: [{model: digits/3, sample: 100}]
  compare: {label: exact, probabilities: {atol: 0.05}}
  guards:
    errors: {maxRatio: 1.5, max: 1%}
    agreement: {output: label, min: 90%, per: body}
  alpha: 1%
cancer:
  stable: cancer/1
  canary: {model: cancer/2, weight: 5}
iris: {stable: iris/1}
shop:
  stable: digits/1
  candidates: [{model: digits/2, weight: 30}, {model: digits/3, weight: 20}, {model: digits/4, weight: 10}]
  outcomes: {paid: {kind: binary, within: 5s}}
  guards: {errors: {max: 1%}}
  best: {outcome: paid, max: 14d}
  alpha: 1%
"""
PAYS = {"1": 0.1, "2": 0.13, "3": 0.09, "4": 0.1}
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PICTURES = (
    ("overview", "#/", "light", DESKTOP, "top"),
    ("rollout", "#/rollouts/digits", "light", DESKTOP, "whole"),
    ("rollout-dark", "#/rollouts/digits", "dark", DESKTOP, "top"),
    ("editor", "#/rollouts/digits/edit", "light", DESKTOP, "top"),
    ("candidates", "#/rollouts/shop", "light", DESKTOP, "top"),
    ("nodes", "#/nodes", "light", DESKTOP, "top"),
    ("phone", "#/rollouts/digits", "light", PHONE, "top"),
)


def main() -> None:
    """Start, wait, look."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), ROLLOUTS) as up,
        Load(f"{up.url}/v2/models/digits/infer", 50, plain),
        Shoppers(up, "shop", PAYS),
        sync_playwright() as playwright,
    ):
        time.sleep(SECONDS)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for picture in PICTURES:
            take(browser, up.admin_url, *picture)
        browser.close()


def take(
    browser: Browser, url: str, name: str, view: str, theme: str, size: dict[str, int], whole: str
) -> None:
    """One picture."""
    context = browser.new_context(viewport=size, color_scheme=theme)
    page = context.new_page()
    page.goto(f"{url}/{view}")
    page.locator(
        ".glance > li, .examples > li, .candidates > li, .checked.good, .machine tbody tr"
    ).first.wait_for()
    if name == "editor":
        area = page.locator("#document")
        area.fill(area.input_value().replace("setWeight: 50", "setWeight: 25"))
        page.locator(".diff .new").wait_for()
    page.wait_for_timeout(1500)  # a second's worth of live events
    page.screenshot(path=IMAGES / f"{name}.png", full_page=whole == "whole")
    context.close()


if __name__ == "__main__":
    main()
