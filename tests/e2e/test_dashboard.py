"""The dashboard of a whole stack: its pages now, and at a position that only the log and kept snapshots know."""

import httpx

from tests.e2e.plane import Plane


async def test_pages_show_the_plane_now_and_as_it_was(plane: Plane) -> None:
    async with httpx.AsyncClient(base_url=plane.url, timeout=60, trust_env=False) as browser:
        assert (await browser.get("/dashboard")).status_code == 303
        signed_in = await browser.post("/dashboard/login", data={"key": plane.key, "to": "/dashboard"})
        assert signed_in.status_code == 303
        now = await browser.get("/dashboard")
        assert now.status_code == 200 and "up" in now.text
        before = await browser.get("/dashboard?at=0")
        assert before.status_code == 200 and "No nodes yet" in before.text and "No deployments yet" in before.text
        events = await browser.get("/dashboard/events?types=NodeJoined,KeyIssued")
        assert events.status_code == 200 and "NodeJoined" in events.text
        first = await browser.get("/dashboard/events/1")
        assert first.status_code == 200 and "<ins>" in first.text and "Why, and what followed" in first.text
        by_people = await browser.get("/dashboard/audit?actor=operator")
        assert by_people.status_code == 200 and "KeyIssued" in by_people.text
