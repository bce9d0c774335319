"""The dashboard in a real browser: Chromium, driven by Playwright, against a plane on a real port.

Where the machine has no Chromium on its PATH the tests are skipped, and say so: a browser is no package of ours.
"""

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from events.base import DeploymentId, ModelId, NodeId
from events.node import NodeDraining, NodeJoined
from events.signals.log_lines import LogFiles, LogLine
from tests.gateway.control.dashboards import lived, settled
from tests.gateway.control.reported import built_and_ready
from tests.gateway.control.served import served
from tests.gateway.control.stand import MANAGE, Stand

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 60_000.0
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on PATH (Debian: apt-get install chromium), so no browser was asked"
)


class Seen:
    """A page that is watched: what went wrong in it, and whom it asked."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self._url = page, url
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self._url):
            self.wrong.append(f"asked {request.url}")

    async def sign_in(self) -> None:
        await self.page.goto(f"{self._url}/dashboard/events?types=Node*")
        await self.page.get_by_label("API key with the scope manage").fill(MANAGE)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url("**/dashboard/events?types=Node*")

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self._url}/dashboard{path}")


@asynccontextmanager
async def watched(browser: Browser, url: str, **context: object) -> AsyncIterator[Seen]:
    opened = await browser.new_context(**context)  # type: ignore[arg-type]
    opened.set_default_timeout(PATIENCE_MS)
    seen = Seen(await opened.new_page(), url)
    await seen.sign_in()
    try:
        yield seen
    finally:
        await opened.close()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[tuple[Stand, str, Browser]]:
    expect.set_options(timeout=PATIENCE_MS)
    async with served(tmp_path) as (stand, url), async_playwright() as playwright:
        # Who runs tests as root, as containers do, has no sandbox for a browser.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield stand, url, browser
        await browser.close()
        stand.ending = True


async def test_by_keyboard_through_pages_and_moments_while_the_present_goes_on(
    plane: tuple[Stand, str, Browser],
) -> None:
    stand, url, browser = plane
    _, first, _ = await lived(stand)
    async with watched(browser, url) as seen:
        page = seen.page
        await page.keyboard.press("?")
        await expect(page.get_by_role("heading", name="Keys")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("heading", name="Keys")).to_be_hidden()
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.wait_for_url("**/dashboard")
        await _follows_the_present(stand, page)
        await page.keyboard.press("g")
        await page.keyboard.press("t")
        await page.wait_for_url("**/dashboard/events")
        await _opens_an_event_and_steps_back(page, int(await stand.log.head()))
        await _moves_the_slider(seen)
        await _appends_log_lines(stand, seen, first)
        assert seen.wrong == []


async def _follows_the_present(stand: Stand, page: Page) -> None:
    await expect(page.get_by_text("draining")).to_have_count(0)
    await stand.happened("node", "n1", NodeDraining(node_id=NodeId("n1"), reason="a disk is to be changed"))
    await expect(page.locator("main .badge", has_text="draining")).to_be_visible()
    assert await page.locator("#at").input_value() == str(await stand.log.head())


async def _opens_an_event_and_steps_back(page: Page, head: int) -> None:
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(page.locator("tr.chosen")).to_contain_text(f"#{head - 1}")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/events/{head - 1}")
    await expect(page.locator(".graph svg circle.here")).to_have_count(1)
    await page.keyboard.press("[")
    await page.wait_for_url(f"**/events/{head - 1}?at={head - 1}")
    await expect(page.get_by_text("as it was")).to_be_visible()
    await page.keyboard.press("n")
    await page.wait_for_url(f"**/events/{head - 1}")


async def _moves_the_slider(seen: Seen) -> None:
    await seen.go("")
    slider = seen.page.get_by_label("position in the history")
    head = int(await slider.input_value())
    await slider.focus()
    for _ in range(3):
        await seen.page.keyboard.press("ArrowLeft")
    await seen.page.wait_for_url(f"**/dashboard?at={head - 3}")
    await slider.focus()
    await seen.page.keyboard.press("Home")
    await seen.page.wait_for_url("**/dashboard?at=0")
    await expect(seen.page.get_by_text("No deployments yet")).to_be_visible()


async def _appends_log_lines(stand: Stand, seen: Seen, deployment_id: DeploymentId) -> None:
    await seen.go(f"/deployments/{deployment_id}")
    await expect(seen.page.get_by_role("link", name="0 → 2 replicas, rule activation")).to_be_visible()
    await seen.go(f"/deployments/{deployment_id}/logs")
    await expect(seen.page.locator("#log li")).to_have_count(2)
    line = LogLine(ts_ns=time.time_ns(), level="error", message="<img src=x> fresh", source="build")
    LogFiles(stand.state / "logs").write(deployment_id, line)
    await expect(seen.page.locator("#log li.error", has_text="<img src=x> fresh")).to_be_visible()


async def test_nothing_is_missed_while_somebody_writes_marks_text_or_looks_elsewhere(
    plane: tuple[Stand, str, Browser],
) -> None:
    stand, url, browser = plane
    await lived(stand)
    async with watched(browser, url) as seen:
        page = seen.page
        await seen.go("")
        await page.get_by_role("textbox", name="find").focus()
        await _joined(stand, page, "n2")
        await expect(page.locator("main tr", has_text="n2")).to_have_count(0)
        await page.evaluate("document.activeElement.blur()")
        await expect(page.locator("main tr", has_text="n2")).to_be_visible()
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('h2'))")
        await _joined(stand, page, "n3")
        await expect(page.locator("main tr", has_text="n3")).to_have_count(0)
        await page.evaluate("getSelection().removeAllRanges()")
        await expect(page.locator("main tr", has_text="n3")).to_be_visible()
        await page.evaluate(LOOKED_AT, False)
        await _joined(stand, page, "n4")
        await expect(page.locator("main tr", has_text="n4")).to_have_count(0)
        await page.evaluate(LOOKED_AT, True)
        await expect(page.locator("main tr", has_text="n4")).to_be_visible()
        assert seen.wrong == []


async def _joined(stand: Stand, page: Page, name: str) -> None:
    """And a page that listens has been told."""
    before = int(await stand.log.head())
    joined = NodeJoined(
        node_id=NodeId(name), boot_id="b", host="127.0.0.1", cpu_millicores=1000, memory_bytes=1 << 30, isolation="none"
    )
    await stand.happened("node", name, joined)
    await page.evaluate(TOLD, before)


async def test_a_plane_that_does_not_answer_is_said_so_until_it_does(plane: tuple[Stand, str, Browser]) -> None:
    stand, url, browser = plane
    _, first, _ = await lived(stand)
    async with watched(browser, url) as seen:
        page, told = seen.page, seen.page.get_by_text("The plane does not answer")
        for path in ("", f"/deployments/{first}/logs"):
            await seen.go(path)
            await expect(told).to_be_hidden()
            await page.route("**/*", lambda route: route.abort())
            await page.evaluate(LOOKED_AT, False)
            await page.evaluate(LOOKED_AT, True)
            await expect(told).to_be_visible()
            await page.unroute("**/*")
            await expect(told).to_be_hidden()
        await page.evaluate("new Promise((done) => new EventSource('/dashboard/live').addEventListener('quiet', done))")
        stand.stale_since = 0.0
        await seen.go("")
        await expect(page.get_by_text("The log has been out of reach")).to_be_visible()
        stand.stale_since = None
        await expect(page.get_by_text("The log has been out of reach")).to_have_count(0)


LONG = "x" * 60


async def test_long_names_leave_room_for_what_a_row_says(plane: tuple[Stand, str, Browser]) -> None:
    stand, url, browser = plane
    model, first, _ = await lived(stand)
    pushed = await stand.pushed(LONG)
    await stand.client.post(
        f"/v1/models/{pushed['model_id']}/environments/production/promote", json={"deployment_id": pushed["id"]}
    )
    await built_and_ready(stand, pushed)
    await settled(stand)
    for width in (1100, 768):
        async with watched(browser, url, viewport={"width": width, "height": 900}) as seen:
            for path in paths(model, first):
                await seen.go(path)
                wide = await seen.page.evaluate(TOO_WIDE)
                assert wide == [], (width, path, wide)
                narrow = await seen.page.evaluate(SQUEEZED)
                assert narrow == [], (width, path, narrow)


def paths(model: ModelId, one: DeploymentId) -> tuple[str, ...]:
    deployment = f"/deployments/{one}"
    return (
        "", "?at=9", "?at=0", deployment, f"{deployment}/logs", f"{deployment}/whatif?span=15m", "/environments",
        f"/environments/{model}/production", "/events", "/events/9", "/audit", "/audit?what=refused",
        "/webhooks", "/webhooks?at=9",
    )  # fmt: skip


async def test_every_page_fits_a_phone_in_the_dark_and_has_names_for_what_is_pressed(
    plane: tuple[Stand, str, Browser],
) -> None:
    stand, url, browser = plane
    model, first, _ = await lived(stand)
    async with watched(browser, url, viewport=PHONE, color_scheme="dark", is_mobile=True) as seen:
        for path in paths(model, first):
            await seen.go(path)
            wide = await seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= PHONE["width"], (path, wide)
            hidden = await seen.page.evaluate(CUT_OFF)
            assert hidden == [], (path, hidden)
            nameless = await seen.page.evaluate(NAMELESS)
            assert nameless == [], (path, nameless)
            ink, paper = await seen.page.evaluate(
                "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
            )
            assert _light(ink) > 180 > 60 > _light(paper), (path, ink, paper)
        assert seen.wrong == []


TOLD = """(after) => new Promise((done) => {
  const live = new EventSource(`/dashboard/live?after=${after}`);
  live.onmessage = () => { live.close(); done(); };
})"""
LOOKED_AT = """(is) => {
  Object.defineProperty(document, "hidden", { value: !is, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
TOO_WIDE = """[document.documentElement, ...document.querySelectorAll('.scroll, header nav')]
  .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.textContent.slice(0, 80))"""
SQUEEZED = """[...document.querySelectorAll('td .said')]
  .map((each) => each.closest('td')).filter((each) => each.clientWidth < 160).map((each) => each.textContent)"""
CUT_OFF = """[...document.querySelectorAll('header a, header button, .time input, .time button, .time a')]
  .filter((each) => each.getBoundingClientRect().right > innerWidth || each.getBoundingClientRect().left < 0)
  .map((each) => each.textContent || each.id)"""
NAMELESS = """[...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
  .filter((each) => !(each.textContent.trim() || each.ariaLabel || each.labels?.length))
  .map((each) => each.outerHTML)"""


def _light(colour: str) -> float:
    """Of `rgb(r, g, b)`."""
    return sum(map(float, colour.removeprefix("rgb(").rstrip(")").split(","))) / 3
