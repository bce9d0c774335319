"""Moments of all workers as text for Prometheus, each worker's under its own label.

Names follow OpenTelemetry (`http_server_…`) and Prometheus conventions; requests are also told under the names that
the hosted platform exports, so that its dashboards work here. Labels are bounded by what the routing table holds.
The text is written straight from the numbers: hundreds of deployments make a hundred thousand lines, and the
usual library takes seconds for them (the tests read the text with it).
"""

from collections.abc import Callable, Iterator, Sequence

from gateway.insight.tallies import BYTES, SECONDS, Histogram, Series
from gateway.insight.worker import Moment

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (*map(repr, SECONDS), "+Inf")
_BYTES = (*(repr(float(each)) for each in BYTES), "+Inf")
_BY_STATUS = (
    ("http_server_request_duration_seconds", "From the head of a request to the last byte of its answer"),
    ("baseten_end_to_end_response_time_seconds", "http_server_request_duration_seconds, by the hosted platform's name"),
)
_TOGETHER: tuple[tuple[str, str, tuple[str, ...], Callable[[Series], Histogram]], ...] = (
    ("causeway_gateway_time_to_first_byte_seconds", "From the head of a request to that of its answer",
     _SECONDS, lambda each: each.first_byte),
    ("causeway_gateway_parked_seconds", "Of requests that waited for a replica: for how long",
     _SECONDS, lambda each: each.parked),
    ("http_server_request_body_size_bytes", "Bodies of requests", _BYTES, lambda each: each.received),
    ("http_server_response_body_size_bytes", "Bodies of answers", _BYTES, lambda each: each.sent),
    ("baseten_time_to_first_byte_seconds", "causeway_gateway_time_to_first_byte_seconds, by its name there",
     _SECONDS, lambda each: each.first_byte),
    ("baseten_request_size_bytes", "http_server_request_body_size_bytes, by its name there",
     _BYTES, lambda each: each.received),
    ("baseten_response_size_bytes", "http_server_response_body_size_bytes, by its name there",
     _BYTES, lambda each: each.sent),
)  # fmt: skip
_COUNTS = {
    "requests": "Requests for models",
    "answered": "Requests that a replica answered, to the end",
    "refused": "Requests that the gateway answered by itself with an error",
    "parked": "Times that a request had to wait for a replica",
    "retried": "Attempts that failed and were followed by another or by an error",
    "left": "Callers that went away before their answer was complete",
    "cut": "Answers that broke after they had begun",
}
_LOST = ("access_log", "spans")
_BY_DEPLOYMENT: tuple[tuple[str, str, Callable[[tuple[int, int, int]], int]], ...] = (
    ("http_server_active_requests", "On their way to or at a replica", lambda busy: busy[0]),
    ("causeway_gateway_parked_requests", "Waiting for a replica", lambda busy: busy[1]),
    ("baseten_concurrent_requests", "Running and waiting", lambda busy: busy[0] + busy[1]),
    ("baseten_ongoing_websocket_connections", "Open WebSockets", lambda busy: busy[2]),
)
_BY_WORKER: tuple[tuple[str, str, Callable[[Moment], float]], ...] = (
    ("causeway_gateway_log_position", "Position of the log up to which this worker routes", lambda m: m.position),
    ("causeway_gateway_stale_seconds", "For how long the log has been out of reach", lambda m: m.stale_s),
    ("causeway_gateway_connections", "Open connections of callers", lambda m: m.connections),
    ("causeway_gateway_idle_upstream_connections", "Kept for the next request", lambda m: m.idle_upstreams),
    ("causeway_gateway_parked_bytes", "Bodies of requests that wait for a replica", lambda m: m.parked_bytes),
    ("causeway_gateway_tasks", "Of the event loop", lambda m: m.tasks),
    ("causeway_gateway_draining", "1: replaced, finishes what it has begun", lambda m: int(m.draining)),
    ("process_resident_memory_bytes", "Of this worker's process", lambda m: m.resident_bytes),
    ("process_open_fds", "Of this worker's process", lambda m: m.descriptors),
    ("process_start_time_seconds", "When this worker started, in Unix time", lambda m: m.started_at),
)


def exposition(moments: Sequence[Moment]) -> bytes:
    """Prometheus' text format, version 0.0.4."""
    return "".join((*_requests(moments), *_deployments(moments), *_workers(moments))).encode()


def _requests(moments: Sequence[Moment]) -> Iterator[str]:
    by_status = [
        (labels(worker=moment.worker, **_where(moment, series), status_class=series.status_class), series)
        for moment in moments
        for series in moment.series
    ]
    for name, about in _BY_STATUS:
        yield family(name, "histogram", about)
        for said, series in by_status:
            yield from _histogram(name, said, _SECONDS, series.latency)
    together: dict[str, list[Series]] = {}
    for moment in moments:
        for series in moment.series:
            together.setdefault(labels(worker=moment.worker, **_where(moment, series)), []).append(series)
    for name, about, bounds, of in _TOGETHER:
        yield family(name, "histogram", about)
        for said, several in together.items():
            summed = _sum([of(series) for series in several])
            if any(summed.counts):
                yield from _histogram(name, said, bounds, summed)
    yield family("baseten_inference_requests_total", "counter", "Requests for models")
    for said, series in by_status:
        yield f'baseten_inference_requests_total{{{said},is_async="false"}} {sum(series.latency.counts)}\n'


def _where(moment: Moment, series: Series) -> dict[str, str]:
    return {
        "model_id": series.model_id,
        "model_name": moment.names.get(series.model_id, ""),
        "deployment_id": series.deployment_id,
        "environment": series.environment,
    }


def _deployments(moments: Sequence[Moment]) -> Iterator[str]:
    for name, about, of in _BY_DEPLOYMENT:
        yield family(name, "gauge", about)
        for moment in moments:
            for deployment_id, busy in moment.deployments.items():
                yield f"{name}{{{labels(worker=moment.worker, deployment_id=deployment_id)}}} {of(busy)}\n"
    yield family("baseten_replicas_active", "gauge", "Replicas that take requests")
    for moment in moments:
        for deployment_id, count in moment.replicas.items():
            said = labels(worker=moment.worker, deployment_id=deployment_id)
            yield f"baseten_replicas_active{{{said}}} {count}\n"


def _workers(moments: Sequence[Moment]) -> Iterator[str]:
    for what, about in _COUNTS.items():
        name = f"causeway_gateway_{what}_total"
        yield family(name, "counter", about)
        for moment in moments:
            yield f"{name}{{{labels(worker=moment.worker)}}} {moment.counts.get(what, 0)}\n"
    name = "causeway_gateway_lost_records_total"
    yield family(name, "counter", "Access log lines and spans that could not be kept")
    for moment in moments:
        for of in _LOST:
            yield f"{name}{{{labels(worker=moment.worker, of=of)}}} {moment.counts.get(f'lost_{of}', 0)}\n"
    for name, about, value in _BY_WORKER:
        yield family(name, "gauge", about)
        for moment in moments:
            yield f"{name}{{{labels(worker=moment.worker)}}} {value(moment)!r}\n"


def family(name: str, kind: str, about: str) -> str:
    return f"# HELP {name} {about}.\n# TYPE {name} {kind}\n"


def _histogram(name: str, said: str, bounds: tuple[str, ...], histogram: Histogram) -> Iterator[str]:
    up_to = 0
    for bound, count in zip(bounds, histogram.counts, strict=True):
        up_to += count
        yield f'{name}_bucket{{{said},le="{bound}"}} {up_to}\n'
    yield f"{name}_sum{{{said}}} {histogram.sum!r}\n{name}_count{{{said}}} {up_to}\n"


def _sum(several: list[Histogram]) -> Histogram:
    counts = [sum(each) for each in zip(*(one.counts for one in several), strict=True)]
    return Histogram(counts, sum(one.sum for one in several))


def labels(**pairs: str) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
