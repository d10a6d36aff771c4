"""A real browser, and pages that fail their test when anything on them goes wrong unseen."""

from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
# No process for a graphics card that is not there, and none in advance for a page that nobody opens.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-features=SpareRendererForSitePerProcess"]


# Of a module: its event loop is the thread's until it ends, and no other test could run one there.
@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield found
        found.close()


@pytest.fixture
def opened(browser):
    """Opens pages; afterwards none may have logged an error, broken the policy or asked anyone else."""
    contexts, faults, allowed = [], [], []

    def open_page(url: str, expected: tuple[str, ...] = (), **options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        allowed.extend(expected)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: faults.append(f"{m.type}: {m.text}") if m.type in BAD else None)
        page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
        page.on("request", lambda r: None if r.url.startswith(url) else faults.append(f"asked {r.url}"))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
        )
        page.goto(f"{url}/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [fault for fault in faults if not any(known in fault for known in allowed)]


BAD = {"error", "warning"}
