"""Moments of all workers as Prometheus metrics, each worker's under its own label.

Names follow OpenTelemetry (`http_server_…`) and Prometheus conventions; requests are also told under the names that
the hosted platform exports, so that its dashboards work here. Labels are bounded by what the routing table holds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.insight.tallies import BYTES, SECONDS, Histogram, Series
from gateway.insight.worker import Moment

_BY_REQUEST = ("worker", "model_id", "model_name", "deployment_id", "environment", "status_class")
_BY_DEPLOYMENT = ("worker", "deployment_id")
_BY_WORKER = ("worker",)
_HISTOGRAMS: tuple[tuple[str, str, tuple[float, ...], Callable[[Series], Histogram]], ...] = (
    ("http_server_request_duration_seconds", "From the head of a request to the last byte of its answer",
     SECONDS, lambda each: each.latency),
    ("causeway_gateway_time_to_first_byte_seconds", "From the head of a request to that of its answer",
     SECONDS, lambda each: each.first_byte),
    ("causeway_gateway_parked_seconds", "Of requests that waited for a replica: for how long",
     SECONDS, lambda each: each.parked),
    ("http_server_request_body_size_bytes", "Bodies of requests", BYTES, lambda each: each.received),
    ("http_server_response_body_size_bytes", "Bodies of answers", BYTES, lambda each: each.sent),
    ("baseten_end_to_end_response_time_seconds", "http_server_request_duration_seconds, by the hosted platform's name",
     SECONDS, lambda each: each.latency),
    ("baseten_time_to_first_byte_seconds", "causeway_gateway_time_to_first_byte_seconds, by its name there",
     SECONDS, lambda each: each.first_byte),
    ("baseten_request_size_bytes", "http_server_request_body_size_bytes, by its name there",
     BYTES, lambda each: each.received),
    ("baseten_response_size_bytes", "http_server_response_body_size_bytes, by its name there",
     BYTES, lambda each: each.sent),
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
_GAUGES: tuple[tuple[str, str, Callable[[Moment], float]], ...] = (
    ("causeway_gateway_log_position", "Position of the log up to which this worker routes", lambda m: m.position),
    ("causeway_gateway_stale_seconds", "For how long the log has been out of reach", lambda m: m.stale_s),
    ("causeway_gateway_connections", "Open connections of callers", lambda m: m.connections),
    ("causeway_gateway_idle_upstream_connections", "Kept for the next request", lambda m: m.idle_upstreams),
    ("causeway_gateway_parked_bytes", "Bodies of requests that wait for a replica", lambda m: m.parked_bytes),
    ("causeway_gateway_tasks", "Of the event loop", lambda m: m.tasks),
    ("process_resident_memory_bytes", "Of this worker's process", lambda m: m.resident_bytes),
    ("process_open_fds", "Of this worker's process", lambda m: m.descriptors),
    ("process_start_time_seconds", "When this worker started, in Unix time", lambda m: m.started_at),
    ("causeway_gateway_draining", "1: replaced, finishes what it has begun", lambda m: float(m.draining)),
)


class _Workers(Collector):
    def __init__(self, moments: Sequence[Moment]) -> None:
        self._moments = moments

    def collect(self) -> Iterable[Metric]:
        yield from _requests(self._moments)
        yield from _deployments(self._moments)
        yield from _workers(self._moments)


def exposition(moments: Sequence[Moment], accept: str = "") -> tuple[bytes, str]:
    """The text and its content type, in the format that `accept` prefers."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Workers(moments))
    return encode(registry), content_type


def _requests(moments: Sequence[Moment]) -> Iterator[Metric]:
    for name, about, bounds, of in _HISTOGRAMS:
        family = HistogramMetricFamily(name, about, labels=_BY_REQUEST)
        for moment, series in _series(moments):
            histogram = of(series)
            if any(histogram.counts):
                family.add_metric(_labels(moment, series), _buckets(bounds, histogram), histogram.sum)
        yield family
    total = CounterMetricFamily("baseten_inference_requests", "Requests for models", labels=(*_BY_REQUEST, "is_async"))
    for moment, series in _series(moments):
        total.add_metric((*_labels(moment, series), "false"), sum(series.latency.counts))
    yield total


def _series(moments: Sequence[Moment]) -> Iterator[tuple[Moment, Series]]:
    for moment in moments:
        for series in moment.series:
            yield moment, series


def _labels(moment: Moment, series: Series) -> tuple[str, ...]:
    name = moment.names.get(series.model_id, "")
    return moment.worker, series.model_id, name, series.deployment_id, series.environment, series.status_class


def _buckets(bounds: tuple[float, ...], histogram: Histogram) -> list[tuple[str, float]]:
    up_to, buckets = 0, []
    for bound, count in zip((*(repr(each) for each in bounds), "+Inf"), histogram.counts, strict=True):
        up_to += count
        buckets.append((bound, float(up_to)))
    return buckets


def _deployments(moments: Sequence[Moment]) -> Iterator[Metric]:
    gauges: tuple[tuple[str, str, Callable[[tuple[int, int, int]], int]], ...] = (
        ("http_server_active_requests", "On their way to or at a replica", lambda busy: busy[0]),
        ("causeway_gateway_parked_requests", "Waiting for a replica", lambda busy: busy[1]),
        ("baseten_concurrent_requests", "Running and waiting", lambda busy: busy[0] + busy[1]),
        ("baseten_ongoing_websocket_connections", "Open WebSockets", lambda busy: busy[2]),
    )
    for name, about, of in gauges:
        gauge = GaugeMetricFamily(name, about, labels=_BY_DEPLOYMENT)
        for moment in moments:
            for deployment_id, busy in moment.deployments.items():
                gauge.add_metric((moment.worker, deployment_id), of(busy))
        yield gauge
    active = GaugeMetricFamily("baseten_replicas_active", "Replicas that take requests", labels=_BY_DEPLOYMENT)
    for moment in moments:
        for deployment_id, count in moment.replicas.items():
            active.add_metric((moment.worker, deployment_id), count)
    yield active


def _workers(moments: Sequence[Moment]) -> Iterator[Metric]:
    for what, about in _COUNTS.items():
        counter = CounterMetricFamily(f"causeway_gateway_{what}", about, labels=_BY_WORKER)
        for moment in moments:
            counter.add_metric((moment.worker,), moment.counts.get(what, 0))
        yield counter
    lost = CounterMetricFamily(
        "causeway_gateway_lost_records", "Access log lines and spans that could not be kept", labels=("worker", "of")
    )
    for moment in moments:
        for of in ("access_log", "spans"):
            lost.add_metric((moment.worker, of), moment.counts.get(f"lost_{of}", 0))
    yield lost
    for name, about, value in _GAUGES:
        gauge = GaugeMetricFamily(name, about, labels=_BY_WORKER)
        for moment in moments:
            gauge.add_metric((moment.worker,), value(moment))
        yield gauge
