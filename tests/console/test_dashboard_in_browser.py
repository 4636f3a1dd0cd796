"""The dashboard in a real Chromium, over HTTP, as people see and use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from console.connect import Connection
from console.dashboard.server import make_server
from infra.store.port import Put
from tests.console.browser import Browser, chromium
from tests.console.test_dashboard import HOSTILE
from tests.scenario import PROJECT, Scenario

pytestmark = pytest.mark.wide
LEAST_CONTRAST = 4.5
CONTRAST = """
(() => {
  const rgb = (text) => (text.match(/[0-9.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (each) => {
    for (let e = each; e; e = e.parentElement) {
      const found = rgb(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return rgb(getComputedStyle(document.body).backgroundColor);
  };
  return [...document.querySelectorAll("body *")]
    .filter((each) => [...each.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .filter((each) => !["SCRIPT", "STYLE", "title"].includes(each.tagName))
    .map((each) => {
      const style = getComputedStyle(each);
      const ink = rgb(each.closest("svg") ? style.fill : style.color);
      const paper = each.closest("svg") ? rgb(style.stroke) : ground(each);
      const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), each.tagName + ": " + each.textContent.slice(0, 40)];
    });
})()
"""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """A canary under way, in a log with hostile text."""
    found = Scenario()
    steps = [{"weight": 5, "hold_seconds": 600}, {"weight": 100}]
    rollout = {"strategy": "canary", "steps": steps, "bake_seconds": 0}
    found.given_serving("1", rollout=rollout, requested_by=HOSTILE[:60])
    found.when_released("2")
    found.when_phase_reached("step_1")
    found.when_published({"model": "tiny", "version": "3", "scaling": {HOSTILE: HOSTILE}})
    return found


@pytest.fixture(scope="module")
def address(scenario: Scenario) -> Iterator[str]:
    server = make_server(Connection(scenario.world, PROJECT, f"project {PROJECT}"), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(Path(tmp_path_factory.mktemp("profile"))) as found:
        yield found


def text(browser: Browser) -> str:
    return " ".join(str(browser.evaluate("document.body.innerText")).split())


@pytest.mark.parametrize("path", ["/", "/models/tiny", "/models/tiny/releases", "/quarantine"])
def test_a_page_loads_nothing_else_and_runs_nothing_of_others(
    browser: Browser, address: str, path: str
) -> None:
    browser.requests.clear()
    browser.messages.clear()
    browser.open(address + path)
    assert "Slipway" in text(browser)
    hosts = {urlsplit(each).netloc for each in browser.requests if not each.startswith("data:")}
    assert hosts == {urlsplit(address).netloc}
    assert browser.messages == [], "such as what the Content-Security-Policy has refused"
    assert browser.evaluate("document.querySelectorAll('script, img, iframe').length") == 1


@pytest.mark.parametrize("path", ["/", "/models/long", "/quarantine/long"])
def test_what_others_wrote_does_not_stretch_a_page(
    browser: Browser, address: str, scenario: Scenario, path: str
) -> None:
    document = scenario.store.get("models/tiny")
    assert document
    long = {"model": "long", "waiting_for": HOSTILE * 9, "outputs": {"x" * 200: "x" * 2000}}
    refused = {"at": scenario.clock.now(), "model": "x" * 300, "problems": ["x" * 2000] * 9}
    scenario.store.commit(Put("models/long", document.data | long), Put("quarantine/long", refused))
    browser.open(address + path)
    assert "x" * 100 in text(browser) or path == "/"
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_model_is_read_without_script(browser: Browser, address: str) -> None:
    browser.without_script(True)
    try:
        browser.open(f"{address}/models/tiny")
        browser.without_script(False)
        found = text(browser)
    finally:
        browser.without_script(False)
    assert "candidate release 2" in found
    assert "slipway pause tiny --project demo" in found
    assert browser.evaluate("document.querySelectorAll('svg.chart rect').length") >= 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/models/tiny", "/quarantine", "/policy"])
def test_text_has_contrast_in_both_schemes(
    browser: Browser, address: str, path: str, scheme: str
) -> None:
    browser.scheme(scheme)
    browser.open(address + path)
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
    ratios = browser.evaluate(CONTRAST)
    assert len(ratios) > 10
    assert [each for each in ratios if each[0] < LEAST_CONTRAST] == []


def test_the_keyboard_leads_from_the_list_to_a_model(browser: Browser, address: str) -> None:
    browser.open(f"{address}/")
    passed = []
    for _ in range(20):
        browser.press("Tab", 9)
        passed.append(browser.evaluate("document.activeElement.textContent.trim()"))
        outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus on {passed[-1]} cannot be seen"
        if passed[-1] == "tiny":
            break
    assert passed[0] == "Skip to the content"
    browser.follow()
    assert browser.evaluate("document.querySelector('h1').innerText") == "tiny under way"


def test_a_page_refreshes_itself_but_not_what_is_in_use(
    browser: Browser, address: str, scenario: Scenario
) -> None:
    browser.open(f"{address}/models/tiny")
    browser.evaluate("document.querySelector('#log details summary').click()")
    document = scenario.store.get("models/tiny")
    assert document
    scenario.store.commit(Put("models/tiny", document.data | {"waiting_for": "a new reason"}))
    browser.evaluate("window.stays = document.querySelector('#log'); refresh()")
    assert "waiting for a new reason" in text(browser)
    assert browser.evaluate("window.stays === document.querySelector('#log')")
    assert browser.evaluate("document.querySelector('#log details').open")
