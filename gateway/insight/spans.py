"""Spans of sampled requests, sent to an OpenTelemetry collector as OTLP over HTTP, in its JSON form.

No OpenTelemetry library is needed: a span is one record, made when its request is over. Records are sent in batches
by a timer; a collector that is away costs spans, which are counted, and never a request.
"""

import asyncio
import time
from typing import Any

import aiohttp
import structlog

from gateway.insight.trip import Trip

_log = structlog.get_logger()
SPANS_MAX = 4096
EVERY_S = 1.0
TIMEOUT_S = 10.0
_SERVER_KIND = 2
_ERROR = 2


class Spans:
    def __init__(self, url: str, headers: dict[str, str], *, worker: str, service: str = "causeway-gateway") -> None:
        """`url`: of the collector's traces, ending with /v1/traces."""
        self._url, self._headers = url, headers
        self._resource = {
            "attributes": [_attribute("service.name", service), _attribute("service.instance.id", worker)]
        }
        self._trips: list[Trip] = []
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.lost = 0

    def add(self, trip: Trip) -> None:
        if trip.trace is None or not trip.trace.sampled:
            return
        if len(self._trips) >= SPANS_MAX:
            self.lost += 1
            return
        self._trips.append(trip)
        if self._tick is None:
            self._tick = self._loop.call_later(EVERY_S, self._flush)

    async def close(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        if self._sending is not None:
            await self._sending
        if self._trips:
            await self._send(self._trips)

    def _flush(self) -> None:
        self._tick = None
        if self._sending is not None and not self._sending.done():
            self._tick = self._loop.call_later(EVERY_S, self._flush)
            return
        trips, self._trips = self._trips, []
        self._sending = self._loop.create_task(self._send(trips))

    async def _send(self, trips: list[Trip]) -> None:
        shift = time.time() - self._loop.time()
        spans = [span(trip, shift) for trip in trips]
        body = {"resourceSpans": [{"resource": self._resource, "scopeSpans": [{"spans": spans}]}]}
        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
                async with session.post(self._url, json=body) as answer:
                    answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.lost += len(trips)
            _log.warning("spans were not sent", count=len(trips), error=repr(error))


def span(trip: Trip, shift: float) -> dict[str, Any]:
    """`shift`: from the event loop's time to Unix time."""
    trace = trip.trace
    assert trace is not None
    attributes: dict[str, str | int] = {
        "http.request.method": trip.method,
        "http.response.status_code": trip.status,
        "http.request.body.size": trip.received_bytes,
        "http.response.body.size": trip.sent_bytes,
        "causeway.request_id": trip.request_id,
        "causeway.model_id": trip.target.model_id,
        "causeway.target": str(trip.target),
        "causeway.attempts": trip.attempts,
        "causeway.parked_ms": round(trip.parked_s * 1000),
    }
    if trip.deployment_id is not None:
        attributes["causeway.deployment_id"] = trip.deployment_id
    if trip.replica_id is not None:
        attributes["causeway.replica_id"] = trip.replica_id
    made: dict[str, Any] = {
        "traceId": trace.trace_id,
        "spanId": trace.span_id,
        "name": f"{trip.method} {trip.verb}",
        "kind": _SERVER_KIND,
        "startTimeUnixNano": str(int((trip.began + shift) * 1e9)),
        "endTimeUnixNano": str(int((trip.ended + shift) * 1e9)),
        "attributes": [_attribute(name, value) for name, value in attributes.items()],
    }
    if trace.parent_id:
        made["parentSpanId"] = trace.parent_id
    if trip.status >= 500 or not trip.complete:
        made["status"] = {"code": _ERROR}
    return made


def _attribute(name: str, value: str | int) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
