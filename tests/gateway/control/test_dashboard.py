"""The dashboard: who gets in, what pages show now and at a position, and that nothing shown can break them."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import aiohttp
import httpx
import pytest

from events.base import BlobDigest, BuildId, DeploymentId, ModelId, NodeId, ReplicaId
from events.node import NodeDraining, NodeJoined
from events.replica import ReplicaAssigned, ReplicaReady
from events.scaling import Grounds, ReplicaTargetRaised
from gateway.dashboard.markup import tag
from tests.gateway.control.dashboards import Checked, settled, signed_in
from tests.gateway.control.served import served
from tests.gateway.control.stand import INVOKE, MANAGE, Stand

BLOB = BlobDigest("sha256:" + "0" * 64)


@pytest.fixture
async def browser(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(stand) as client:
        yield client


async def scaled(stand: Stand) -> DeploymentId:
    """One deployment with a ready replica on a node."""
    pushed = await stand.pushed()
    me, model = DeploymentId(pushed["id"]), ModelId(pushed["model_id"])
    node, replica = NodeId("node-1"), ReplicaId("r1")
    joined = NodeJoined(
        node_id=node, boot_id="b", host="127.0.0.1", cpu_millicores=8000, memory_bytes=8 << 30, isolation="process"
    )
    await stand.happened("node", node, joined)
    raised = ReplicaTargetRaised(deployment_id=me, previous=0, target=2, rule="load", grounds=Grounds(mean=3.5))
    await stand.happened("scaling", me, raised)
    assigned = ReplicaAssigned(
        replica_id=replica, deployment_id=me, model_id=model, node_id=node, ordinal=1, cpu_millicores=500,
        memory_bytes=1 << 29, predict_concurrency=1, bundle=BLOB, environment=BLOB,
        python_version="3.11", build_id=BuildId("b1"), reason="room",
    )  # fmt: skip
    ready = ReplicaReady(replica_id=replica, deployment_id=me, address="127.0.0.1:9", seconds=1.0)
    await stand.happened("replica", replica, assigned)
    await stand.happened("replica", replica, ready)
    await settled(stand)
    return me


async def test_who_has_not_signed_in_is_asked_to_and_led_on(stand: Stand) -> None:
    async with stand.client_with(None) as nobody:
        for path in ("/dashboard", "/dashboard/events?types=Node*", "/dashboard/events/1"):
            answer = await nobody.get(path)
            assert answer.status_code == 303 and answer.headers["location"].startswith("/dashboard/login?to=")
        form = await nobody.get("/dashboard/login?to=%2Fdashboard%2Fevents%2F1")
        Checked(form.text)
        assert 'value="/dashboard/events/1"' in form.text
        assert (await nobody.get("/dashboard/live")).status_code == 401
        assert (await nobody.get("/dashboard/style.css")).status_code == 200
        assert (await nobody.get("/dashboard/../healthz.py")).status_code in (401, 404)


@pytest.mark.parametrize("key", ["", "nobody.x", INVOKE])
async def test_a_key_that_does_not_manage_is_refused_in_words(stand: Stand, key: str) -> None:
    async with stand.client_with(None) as client:
        answer = await client.post("/dashboard/login", data={"key": key})
        assert answer.status_code in (401, 403) and "API key" in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/dashboardx", "/dashboard/\\evil", "/x"])
async def test_signing_in_leads_to_pages_of_ours_only(stand: Stand, to: str) -> None:
    async with stand.client_with(None) as client:
        answer = await client.post("/dashboard/login", data={"key": MANAGE, "to": to})
        assert answer.headers["location"] == "/dashboard"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/dashboard" in cookie


async def test_signing_out_and_revoking_end_the_session(stand: Stand, browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/dashboard")).status_code == 200
    await stand.client.delete(f"/v1/api_keys/{MANAGE.split('.')[0]}")
    assert (await browser.get("/dashboard")).status_code == 303
    assert 'causeway_key=""' in (await browser.post("/dashboard/logout")).headers["set-cookie"]


async def test_every_page_is_well_formed_and_links_to_pages_that_are_there(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    me = await scaled(stand)
    seen, left = set[str](), ["/dashboard", f"/dashboard/deployments/{me}", "/dashboard?at=4", "/dashboard/events?at=5"]
    while left and len(seen) < 80:
        path = left.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = await browser.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        left += Checked(answer.text).links
    assert len(seen) > 20


async def test_a_deployment_shows_status_reason_replicas_and_its_chart(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    me = await scaled(stand)
    overview = (await browser.get("/dashboard")).text
    [shown] = (await stand.client.get("/v1/models")).json()["models"]
    known = (await stand.client.get(f"/v1/models/{shown['id']}/deployments/{me}")).json()
    assert "iris/</span>deployment-1" in overview and "node-1" in overview
    assert known["status"].lower() in overview and known["reason"] in overview
    page = (await browser.get(f"/dashboard/deployments/{me}")).text
    assert "1 of 2" in page and "r1" in page and "ReplicaReady" in page
    assert '<path d="M' in page and "0 → 2 replicas, rule load, load 3.5" in page
    assert "Cold starts" in page and "1 finished" not in page and "None has been finished" not in page


async def test_a_past_position_is_shown_as_it_was_and_stays_in_every_link(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    me = await scaled(stand)
    head = await stand.log.head()
    then = (await browser.get(f"/dashboard/deployments/{me}?at={head - 2}")).text
    assert "0 of 2" in then and "ReplicaReady" not in then and "data-live" not in then
    inner = then[then.index('id="content"') :]
    assert all(f"at={head - 2}" in each for each in re.findall(r'href="(/dashboard[^"]*)"', inner))
    assert (await browser.get(f"/dashboard/deployments/{me}?at=2")).status_code == 404
    assert "as it was" in then and f'value="{head - 2}"' in then
    for wrong in ("x", "2026-13-01", str(head + 1), "9" * 5000):
        answer = await browser.get(f"/dashboard?at={wrong}")
        assert answer.status_code == 400 and "at must be a position" in answer.text
        Checked(answer.text)
    assert (await browser.get(f"/dashboard/events/{'9' * 5000}")).status_code == 404
    assert (await browser.get(f"/dashboard/audit?before={'9' * 5000}")).status_code == 400


async def test_a_time_leads_to_the_last_position_by_then(stand: Stand, browser: httpx.AsyncClient) -> None:
    me = await scaled(stand)
    head = await stand.log.head()
    *_, last = await stand.log.read()
    far = last.meta.at + timedelta(days=1)
    for time, position in (
        (f"{last.meta.at:%Y-%m-%dT%H:%M:%S.%fZ}", head),
        (f"{far:%Y-%m-%d %H:%M}", head),
        ("2020-01-01", 0),
    ):
        answer = await browser.get(f"/dashboard/deployments/{me}", params={"at": time, "span": "6h"})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/dashboard/deployments/{me}?at={position}&span=6h", time


async def test_events_are_found_by_names_and_a_misspelt_type_is_told(stand: Stand, browser: httpx.AsyncClient) -> None:
    me = await scaled(stand)
    await settled(stand)

    async def rows(query: str) -> int:
        return (await browser.get(f"/dashboard/events?{query}")).text.count("<tr>")

    model = (await stand.client.get("/v1/models")).json()["models"][0]["id"]
    assert await rows(f"entity={me}") == await rows("entity=iris/deployment-1") > 3
    assert await rows(f"entity={model}") == await rows("entity=iris") > 3
    assert await rows("entity=iris/production") == await rows("entity=nothing") == 0
    misspelt = (await browser.get("/dashboard/events?types=Replca")).text
    assert "There is no event type &#x27;Replca&#x27;; did you mean" in misspelt


async def test_events_are_filtered_and_paged_and_one_shows_cause_and_effects(
    stand: Stand, browser: httpx.AsyncClient
) -> None:
    await scaled(stand)
    await stand.happened("node", "many", *(NodeDraining(node_id=NodeId("many"), reason=str(n)) for n in range(120)))
    await settled(stand)
    page = (await browser.get("/dashboard/events?types=NodeDraining&entity=many")).text
    assert page.count("<tr>") == 101 and ">Older ↓<" in page and "KeyIssued" not in page
    (older,) = re.findall(r'href="([^"]*)" rel="next" class="button">Older', page)
    assert (await browser.get(unescape(older))).text.count("<tr>") == 21
    one = (await browser.get("/dashboard/events/3")).text
    assert "Why, and what followed" in one and "the plane just before" in one
    for wrong in ("since=yesterday", "until=7"):
        assert (await browser.get(f"/dashboard/events?{wrong}")).status_code == 400
    assert (await browser.get("/dashboard/events/9999")).status_code == 404
    assert (await browser.get("/dashboard/events/x")).status_code == 404


async def test_what_is_shown_cannot_become_markup(stand: Stand, browser: httpx.AsyncClient) -> None:
    bad = "<script>alert(1)</script>\"'&"
    await stand.happened("node", bad, NodeDraining(node_id=NodeId(bad), reason=bad))
    await settled(stand)
    for path in ("/dashboard/events", f"/dashboard/events/{await stand.log.head()}"):
        page = (await browser.get(path)).text
        Checked(page)
        assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    page = (await browser.get("/dashboard/events", params={"entity": bad, "types": bad})).text
    Checked(page)
    assert "<script>alert" not in page


async def test_a_page_hears_when_something_has_happened(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url), aiohttp.ClientSession(cookies={"causeway_key": MANAGE}) as session:
        async with session.get(f"{url}/dashboard/live", timeout=aiohttp.ClientTimeout(30)) as live:
            assert (await live.content.readline()).startswith(b":")
            await stand.happened("node", "n1", NodeDraining(node_id=NodeId("n1"), reason=""))
            while not (line := await live.content.readline()).startswith(b"data: "):
                assert line
            assert line == b"data: 3\n"
            stand.stale_since = 0.0
            while not (line := await live.content.readline()).startswith(b"data: "):
                assert line
        async with session.get(f"{url}/dashboard/live?after=2", timeout=aiohttp.ClientTimeout(30)) as live:
            while not (line := await live.content.readline()).startswith(b"data: "):
                assert line
            assert line == b"data: 3\n"
            stand.ending = True
            while await live.content.readline():
                pass


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", tag("b", 1), None, class_='a"b') == '<p class="a&quot;b">&lt;b&gt;<b>1</b></p>'
    with pytest.raises(TypeError):
        tag("p", object())
