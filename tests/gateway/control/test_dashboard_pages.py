"""The dashboard's further pages, and what each says when a part of the plane is away."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import httpx
import pytest

from events.base import DeploymentId, ModelId, NodeId, Position
from events.log import LogUnavailable
from events.model import DeploymentFailed
from events.node import NodeJoined, NodeLost
from events.signals.load_history import LoadsUnavailable, Moment
from events.signals.log_lines import LogFiles, LogLine
from gateway.dashboard import sources
from gateway.dashboard.plane_page import SHOWN, first, more
from projections.audit import AuditQuery, AuditRow
from projections.stores.audit import AuditUnavailable
from tests.gateway.control.dashboards import Checked, busy, lived, settled, signed_in
from tests.gateway.control.reported import built_and_ready
from tests.gateway.control.served import served
from tests.gateway.control.stand import MANAGE, Stand


@pytest.fixture
async def browser(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(stand) as client:
        yield client


async def shown(browser: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await browser.get(f"/dashboard{path}")
    assert answer.status_code == status, (path, answer.status_code, answer.text[-300:])
    Checked(answer.text)
    return answer.text


async def test_a_promotion_under_way_shows_its_share_and_its_history(stand: Stand, browser: httpx.AsyncClient) -> None:
    model, _, other = await lived(stand)
    for page in (await shown(browser, ""), await shown(browser, "/environments")):
        assert "ramping up" in page or "paused" in page
        assert "<b>20 %</b> of the traffic · 1 of 2 replicas ready" in page
    page = await shown(browser, f"/environments/{model}/production")
    assert "deployment-2</a> instead of <a" in page and "succeeded" in page and "max surge percent" in page
    await stand.client.post(f"/v1/models/{model}/environments/production/force_cancel_promotion")
    await settled(stand)
    page = await shown(browser, f"/environments/{model}/production")
    assert "canceled" in page and "cancelled by a person, by force" in page and "Promotion under way" not in page
    assert f"/deployments/{other}" in page
    await shown(browser, f"/environments/{model}/elsewhere", 404)


async def test_an_event_shows_what_it_changed_and_the_chain_that_it_is_in(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    _, first, _ = await lived(stand)
    rows = await stand.audit.page(AuditQuery(types=("ReplicaReady",), limit=1))
    page = await shown(browser, f"/events/{rows[0].position}")
    assert "<del>LOADING_MODEL</del>" in page or "<ins>ACTIVE</ins>" in page
    named = f'deployments <span title="{first}">iris/deployment-1</span> replicas'
    assert named in page and "Routing" in page and 'aria-current="true"' in page
    drained = await shown(browser, "/events/3")  # The node joins: nothing routes by it.
    assert "<h3>Fleet</h3>" in drained and "<h3>Routing</h3>" not in drained


async def test_logs_are_shown_filtered_and_as_of_a_past_moment(stand: Stand, browser: httpx.AsyncClient) -> None:
    _, first, _ = await lived(stand)
    page = await shown(browser, f"/deployments/{first}/logs")
    assert "step resolve &lt;b&gt;done&lt;/b&gt;" in page and page.index("step resolve") < page.index("boom")
    assert "/logs/tail?after=" in page
    errors = await shown(browser, f"/deployments/{first}/logs?level=error")
    assert "boom" in errors and "step resolve" not in errors
    assert "boom" not in await shown(browser, f"/deployments/{first}/logs?source=build")
    assert "Nothing has been printed" in await shown(browser, f"/deployments/{first}/logs?source=r7")
    then = await shown(browser, f"/deployments/{first}/logs?at=6")
    assert "boom" not in then and "data-tail" not in then
    await shown(browser, f"/deployments/{first}/logs?level=loud", 400)


async def test_new_log_lines_arrive_while_the_page_is_open(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url), aiohttp.ClientSession(cookies={"causeway_key": MANAGE}) as session:
        first = DeploymentId((await stand.pushed())["id"])
        files = LogFiles(tmp_path / "logs")
        files.write(first, LogLine(ts_ns=5, message="before", source="build"))
        path = f"{url}/dashboard/deployments/{first}/logs/tail?after=5"
        async with session.get(path, timeout=aiohttp.ClientTimeout(60)) as tail:
            assert (await tail.content.readline()).startswith(b":")
            files.write(first, LogLine(ts_ns=6, message="two\nlines <i>", source="build"))
            while not (line := await tail.content.readline()).startswith(b"id: "):
                assert line
            assert line == b"id: 6\n"
            data = [await tail.content.readline() for _ in range(2)]
            assert data[0].startswith(b'data: <li class="info">') and b"two" in data[0]
            assert data[1].startswith(b"data: lines &lt;i&gt;")
        async with session.get(f"{url}/dashboard/deployments/{first}/logs/tail?after=x") as wrong:
            assert wrong.status == 400
    async with aiohttp.ClientSession() as nobody, served(tmp_path / "other") as (_, url):
        async with nobody.get(f"{url}/dashboard/deployments/x/logs/tail") as refused:
            assert refused.status == 401


async def test_the_audit_page_tells_who_did_what_and_what_was_refused(stand: Stand, browser: httpx.AsyncClient) -> None:
    model, _, _ = await lived(stand)
    page = await shown(browser, "/audit?actor=key:*")
    assert "DeploymentPushed" in page and "NodeJoined" not in page
    assert '>key:abcd1234</a><span class="dim"> ada</span>' in page
    wrong = {"autoscaling_settings": {"min_replica": 9}}
    assert (await stand.client.patch(f"/v1/models/{model}/environments/production", json=wrong)).status_code == 400
    async with asyncio.timeout(60):
        while True:
            page = await shown(browser, "/audit?what=refused")
            if "must not be above max_replica" in page:
                break
            await asyncio.sleep(0.05)
    assert "ConfigureEnvironment" in page and "(field min_replica)" in page
    assert "Nothing was refused" in await shown(browser, "/audit?what=refused&at=3")
    await shown(browser, "/audit?what=forgotten", 400)


async def test_without_the_audit_trail_events_come_from_the_log_and_the_search_says_why_not(
    stand: Stand, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, first, _ = await lived(stand)
    there = await shown(browser, "/events?types=Promotion*")

    async def away(query: AuditQuery) -> tuple[AuditRow, ...]:
        raise AuditUnavailable("PostgreSQL does not answer")

    monkeypatch.setattr(stand.audit, "page", away)
    monkeypatch.setattr(stand.audit, "page_refused", away)
    page = await shown(browser, "/events?types=Promotion*")
    assert "PostgreSQL does not answer): shown from the log itself" in page
    assert re.findall(r'href="/dashboard/events/\d+"', page) == re.findall(r'href="/dashboard/events/\d+"', there)
    for path in (f"/deployments/{first}", f"/environments/{model}/production", "/events/4"):
        assert "shown from the log itself" in await shown(browser, path)

    async def hanging(query: AuditQuery) -> tuple[AuditRow, ...]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    monkeypatch.setattr(sources, "AUDIT_DEADLINE_S", 0.05)
    monkeypatch.setattr(stand.audit, "page", hanging)
    assert "no answer within 0.05 s): shown from the log itself" in await shown(browser, "/events")
    monkeypatch.setattr(stand.audit, "page", away)
    for what in ("done", "refused"):
        assert "cannot be searched now: PostgreSQL does not answer" in await shown(browser, f"/audit?what={what}")


async def test_what_the_audit_trail_does_not_have_yet_is_read_from_the_log(
    stand: Stand, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(stand)
    paths = ("/events", "/events?types=Promotion*", "/events?at=20", "/events/4")
    there = [await shown(browser, path) for path in paths]
    rows, page = await stand.audit.page(AuditQuery(limit=1000)), stand.audit.page

    async def position() -> Position:
        return Position(9)

    async def late(query: AuditQuery) -> tuple[AuditRow, ...]:
        return tuple(row for row in await page(query) if row.position <= 11)  # It has gone on meanwhile.

    monkeypatch.setattr(stand.audit, "position", position)
    monkeypatch.setattr(stand.audit, "page", late)
    assert [await shown(browser, path) for path in paths] == there
    assert f"does not have the newest {rows[-1].position - 9} events yet" in await shown(browser, "/audit")
    monkeypatch.setattr(sources, "SEARCHED", 5)
    assert "has come to position 9 only" in await shown(browser, "/events")


async def test_what_if_replays_the_load_under_the_settings_asked_for(stand: Stand, browser: httpx.AsyncClient) -> None:
    _, first, other = await lived(stand)
    path = f"/deployments/{first}/whatif"
    page = await shown(browser, f"{path}?span=15m&max_replica=8&concurrency_target=1")
    assert "30 records of 10 s" in page and "as assumed: none has been seen" in page and "max replica" in page
    rows = re.search(r"most replicas</span></div></td><td[^>]*><div><span[^>]*>(\d+)<.*?>(\d+)<.*?>([+\d]+)<", page)
    assert rows is not None and (int(rows[1]), int(rows[2])) == (1, 6), rows and rows.groups()
    wrong = await shown(browser, f"{path}?max_replica=0")
    assert "max_replica must be at least 1, not 0" in wrong and "What it comes to" not in wrong
    assert "must be a whole number" in await shown(browser, f"{path}?min_replica=many")
    assert "No load of this deployment was recorded" in await shown(browser, f"/deployments/{other}/whatif")
    await shown(browser, f"{path}?span=1y", 400)


async def test_without_the_record_of_load_pages_say_so(
    stand: Stand, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first, _ = await lived(stand)
    assert "mean and peak" in await shown(browser, f"/deployments/{first}")

    async def away(deployment_id: DeploymentId, since: float, until: float) -> list[Moment]:
        raise LoadsUnavailable("no server")

    monkeypatch.setattr(stand.loads, "read", away)
    assert "no record of it can be read" in await shown(browser, f"/deployments/{first}")
    assert "The record of load cannot be read" in await shown(browser, f"/deployments/{first}/whatif")


async def test_with_the_log_out_of_reach_the_present_is_still_shown(
    stand: Stand, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(stand)

    async def away(*args: object, **kwargs: object) -> None:
        raise LogUnavailable("no connection")

    monkeypatch.setattr(stand.log, "read", away)
    stand.stale_since = 0.0
    page = await shown(browser, "")
    assert "The log has been out of reach since" in page and "deployment-2" in page
    assert "<b>last known</b> last event at a time that the log does not tell now" in page
    await shown(browser, "/events/4", 503)
    await shown(browser, "?at=4", 503)


async def test_load_is_drawn_for_the_span_asked_for(stand: Stand, browser: httpx.AsyncClient) -> None:
    _, first, _ = await lived(stand)
    await busy(stand, first)
    for span in ("15m", "7d"):
        assert f'span={span}" aria-current="true"' in await shown(browser, f"/deployments/{first}?span={span}")
    await shown(browser, f"/deployments/{first}?span=2h", 400)


async def test_deployments_and_environments_are_found_by_what_they_are_called(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    await lived(stand)
    one = await shown(browser, "?find=DEPLOYMENT-2")
    assert "</span>deployment-2</a>" in one and "</span>deployment-1</a>" not in one
    assert "</span>deployment-1</a>" in await shown(browser, "?find=active")
    assert "No deployment is about &#x27;&lt;b&gt;&#x27;" in await shown(browser, "?find=<b>")
    assert "</span>production</a>" in await shown(browser, "/environments?find=iris/prod")
    assert "No environment is about" in await shown(browser, "/environments?find=staging")


def test_a_page_says_how_much_it_leaves_out() -> None:
    many = tuple(range(SHOWN + 5))
    assert first(many) == many[:SHOWN] and more(many) == '<p class="dim">5 more are not shown.</p>'
    assert more(many[:SHOWN]) is None


async def test_what_is_in_trouble_stands_first_and_an_environment_says_how_its_deployment_is(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    _, fine, _ = await lived(stand)
    failed = await stand.pushed("zebra")
    await built_and_ready(stand, failed, replicas=0)
    gone = DeploymentFailed(
        model_id=ModelId(failed["model_id"]), deployment_id=DeploymentId(failed["id"]), reason="no <b>memory</b>"
    )  # fmt: skip
    await stand.happened("model", failed["model_id"], gone)
    await stand.happened("node", "n2", NodeJoined(node_id=NodeId("n2"), boot_id="b", host="h", cpu_millicores=1000,
                                                  memory_bytes=1 << 30, isolation="none"))  # fmt: skip
    await stand.happened("node", "n2", NodeLost(node_id=NodeId("n2"), silent_for_s=20.0))
    page = (await shown(browser, "")).partition("<h2>Deployments")[2]
    assert page.index(f"/deployments/{failed['id']}") < page.index(f"/deployments/{fine}")
    assert page.index("entity=n2") < page.index("entity=n1")
    assert "causeway deployment retry" in await shown(browser, f"/deployments/{failed['id']}")
    current = r"deployment-1</a> <span class=\"badge good\">active</span>"
    assert re.search(current, await shown(browser, "/environments?find=iris"))


async def test_what_is_not_there_is_a_page_that_leads_on(stand: Stand, browser: httpx.AsyncClient) -> None:
    _, first, _ = await lived(stand)
    page = await shown(browser, f"/deployments/{first}?at=1&span=6h", 404)
    Checked(page)
    assert f'action="/dashboard/deployments/{first}"' in page and 'name="span" value="6h"' in page
    assert f'href="/dashboard/events?entity={first}"' in page
    for path in ("/nope", "/nope/<b>", "/events/"):
        page = await shown(browser, path, 404)
        Checked(page)
        assert "<h1>Not shown</h1>" in page and "there is no page" in page
    assert (await browser.get("/dashboard/")).headers["location"] == "/dashboard"
