"""W3C Trace Context: passed on untouched unless spans are sent; then each request is a span between the two sides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.insight import spans
from gateway.insight.spans import Spans
from gateway.insight.trip import continued
from gateway.insight.worker import Insight
from tests.gateway.dataplane.stage import request, staged, until
from tests.gateway.insight.trips import trip

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
    ],
)
def test_what_is_no_trace_is_not_continued(sent: str) -> None:
    assert continued(sent.encode(), begin=False) is None


def test_a_trace_goes_on_under_a_span_of_our_own() -> None:
    found = continued(SAMPLED.encode(), begin=False)
    assert found is not None
    assert (found.trace_id, found.parent_id, found.sampled) == (TRACE, PARENT, True)
    assert found.traceparent == f"00-{TRACE}-{found.span_id}-01"
    assert found.span_id != PARENT
    later = continued(f"01-{TRACE}-{PARENT}-00-more".encode(), begin=True)
    assert later is not None
    assert later.traceparent.endswith("-00")


class Collector:
    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.url = ""

    async def take(self, asked: web.Request) -> web.Response:
        body = await asked.json()
        self.headers.append(asked.headers.get("x-tenant", ""))
        for resource in body["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]
        return web.json_response({})


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    try:
        yield collector
    finally:
        await runner.cleanup()


async def test_without_a_collector_the_callers_trace_passes_as_it_is() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        await stage.ask("/model-m1/predict", more=f"traceparent: {SAMPLED}\r\ntracestate: a=b\r\n")
        assert replica.seen[0].headers["traceparent"] == SAMPLED
        assert replica.seen[0].headers["tracestate"] == "a=b"
        await stage.ask("/model-m1/predict")
        assert "traceparent" not in replica.seen[1].headers


async def test_a_trace_begins_here_if_the_settings_say_so() -> None:
    async with staged() as stage:
        stage.plane.insight = Insight(trace_sample=1.0)
        replica = await stage.serving()
        await stage.ask("/model-m1/predict")
        made = continued(replica.seen[0].headers["traceparent"].encode(), begin=False)
        assert made is not None
        assert made.sampled
        await stage.ask("/model-m1/predict", more=f"traceparent: {SAMPLED}\r\n")
        assert replica.seen[1].headers["traceparent"] == SAMPLED


async def test_spans_of_sampled_requests_reach_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "EVERY_S", 0.01)
    async with collecting() as collector, staged() as stage:
        stage.plane.insight = Insight(spans=Spans(collector.url, {"x-tenant": "t1"}, worker="w1"))
        replica = await stage.serving()
        caller = await stage.caller()
        for traceparent in (SAMPLED, SAMPLED[:-1] + "0"):
            caller.send(request("/model-m1/predict", more=f"traceparent: {traceparent}\r\n"))
            assert (await caller.got()).status == 200
        await until(lambda: len(collector.spans) == 1)
        await stage.plane.insight.close()
        (sent,) = collector.spans
        assert collector.headers == ["t1"]
        seen = replica.seen[0].headers["traceparent"].split("-")
        assert (sent["traceId"], sent["parentSpanId"], sent["spanId"]) == (TRACE, PARENT, seen[2])
        assert int(sent["endTimeUnixNano"]) >= int(sent["startTimeUnixNano"])
        told = {each["key"]: each["value"] for each in sent["attributes"]}
        assert told["http.response.status_code"] == {"intValue": "200"}
        assert told["causeway.replica_id"] == {"stringValue": "r1"}
        assert replica.seen[1].headers["traceparent"].endswith("-00")


async def test_a_collector_that_is_away_costs_spans_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "SPANS_MAX", 5)
    records = Spans("http://127.0.0.1:9/v1/traces", {}, worker="w1")
    trace = continued(SAMPLED.encode(), begin=False)
    for _ in range(8):
        records.add(trip(trace=trace, status=500))
    await asyncio.wait_for(records.close(), 60)
    assert records.lost == 8
