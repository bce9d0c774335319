"""Counts become metrics: the right numbers under the right names, and no more labels than the table has."""

import asyncio
import os
import time
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from events.base import DeploymentId, ModelId
from gateway.addresses import Target
from gateway.insight.metrics import exposition
from gateway.insight.siblings import Siblings
from gateway.insight.tallies import SECONDS, Tallies
from gateway.insight.worker import Moment
from tests.gateway.dataplane.happened import MODEL, ONE, failed
from tests.gateway.dataplane.replicas import Seen, answer
from tests.gateway.dataplane.stage import request, staged, until
from tests.gateway.insight.trips import trip


def moment(worker: str, tallies: Tallies | None = None, at: float = 0.0) -> Moment:
    return Moment(
        worker=worker,
        at=at,
        started_at=1.0,
        draining=False,
        position=42,
        stale_s=1.5,
        connections=3,
        idle_upstreams=2,
        parked_bytes=10,
        tasks=4,
        resident_bytes=5,
        descriptors=6,
        counts={"requests": 7, "lost_spans": 1},
        deployments={"d1": (2, 1, 1)},
        replicas={"d1": 3},
        names={"m1": "iris"},
        series=list((tallies or Tallies()).series.values()),
    )


def samples(*moments: Moment) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(exposition(moments).decode())
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def of(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> list[float]:
    return [value for (each, has), value in found.items() if each == name and has >= frozenset(labels.items())]


def test_a_request_is_told_under_our_names_and_the_hosted_platforms() -> None:
    tallies = Tallies()
    tallies.add(trip())
    tallies.add(trip(ended=13.0, parked_s=2.0))
    tallies.add(trip(status=503, first_byte=None))
    found = samples(moment("w1", tallies))
    where = {"worker": "w1", "model_id": "m1", "model_name": "iris", "deployment_id": "d1", "environment": "production"}
    for name in ("http_server_request_duration_seconds", "baseten_end_to_end_response_time_seconds"):
        assert of(found, f"{name}_count", **where, status_class="2xx") == [2]
        assert of(found, f"{name}_bucket", **where, status_class="2xx", le="0.075") == [1]
        assert of(found, f"{name}_bucket", **where, status_class="2xx", le="+Inf") == [2]
    assert of(found, "baseten_inference_requests_total", **where, status_class="5xx", is_async="false") == [1]
    assert of(found, "causeway_gateway_parked_seconds_count", **where) == [1]
    assert of(found, "causeway_gateway_time_to_first_byte_seconds_count", **where) == [2]
    assert of(found, "baseten_response_size_bytes_sum", **where) == [6000]
    assert of(found, "baseten_concurrent_requests", deployment_id="d1") == [3]
    assert of(found, "baseten_ongoing_websocket_connections", deployment_id="d1") == [1]
    assert of(found, "baseten_replicas_active", deployment_id="d1") == [3]
    assert of(found, "causeway_gateway_stale_seconds", worker="w1") == [1.5]
    assert of(found, "causeway_gateway_lost_records_total", of="spans") == [1]


def test_what_the_table_does_not_know_makes_no_label() -> None:
    tallies = Tallies()
    for number in range(1000):
        unknown = Target(ModelId(f"m{number}"), "environment", f"e{number}")
        tallies.add(trip(target=unknown, deployment_id=None, replica_id=None, status=404))
        tallies.refused(401)
    assert len(tallies.series) == 1
    assert next(iter(tallies.series.values())).model_id == ""
    tallies.add(trip())
    tallies.keep({DeploymentId("d2")})
    assert len(tallies.series) == 1


def test_a_name_with_odd_characters_is_one_label() -> None:
    tallies = Tallies()
    tallies.add(trip(target=Target(ModelId("m1"), "environment", 'a"b\\c\nd')))
    assert of(samples(moment("w1", tallies)), "baseten_inference_requests_total", environment='a"b\\c\nd') == [1]


def test_bounds_belong_to_the_bucket_below() -> None:
    tallies = Tallies()
    tallies.add(trip(began=0.0, first_byte=None, ended=SECONDS[3]))
    tallies.add(trip(began=0.0, first_byte=None, ended=5000.0))
    counts = next(iter(tallies.series.values())).latency.counts
    assert counts[3] == 1
    assert counts[-1] == 1


async def test_a_scrape_of_one_worker_tells_of_all_that_live(tmp_path: Path) -> None:
    now = time.time()
    one = Siblings(tmp_path, lambda: moment("w1", at=now))
    two = Siblings(tmp_path, lambda: moment("w2", at=now))
    (tmp_path / "dead.json").write_bytes(msgspec.json.encode(moment("dead", at=now - 3600)))
    (tmp_path / "alien.json").write_bytes(b"{}")
    running = asyncio.create_task(two.run())
    await until(lambda: (tmp_path / "w2.json").exists())
    found = samples(*await one.moments())
    assert {value for value in of(found, "causeway_gateway_log_position", worker="w2")} == {42}
    assert len(of(found, "causeway_gateway_log_position")) == 2
    assert not (tmp_path / "dead.json").exists()
    running.cancel()
    await asyncio.wait({running})
    assert not (tmp_path / "w2.json").exists()
    assert len(await one.moments()) == 1


async def test_what_a_gateway_served_is_what_it_tells() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        await stage.ask("/model-m1/predict", b"12345")
        await stage.ask("/model-m1/predict", b"{}", key="nobody.nothing")
        found = samples(stage.plane.moment())
        told = {"deployment_id": ONE, "environment": "production", "status_class": "2xx"}
        assert of(found, "http_server_request_duration_seconds_count", **told) == [1]
        assert of(found, "http_server_request_body_size_bytes_sum", deployment_id=ONE) == [5]
        assert of(found, "http_server_response_body_size_bytes_sum", deployment_id=ONE) == [5]
        assert of(found, "causeway_gateway_answered_total") == [1]
        assert of(found, "baseten_replicas_active", deployment_id=ONE) == [1]
        assert of(found, "process_open_fds")[0] <= len(os.listdir("/proc/self/fd"))
        stage.happenings.add(failed("r1"))
        caller = await stage.caller()
        caller.send(request("/model-m1/predict"))
        await until(lambda: stage.plane.parking.count == 1)
        assert of(samples(stage.plane.moment()), "causeway_gateway_parked_requests", deployment_id=ONE) == [1]
        caller.leave()
        await until(lambda: stage.plane.parking.count == 0)
        left = of(samples(stage.plane.moment()), "http_server_request_duration_seconds_count", status_class="4xx")
        assert sum(left) == 2
        assert replica.seen


async def test_a_call_that_is_retried_counts_once() -> None:
    async with staged() as stage:

        async def busy(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(b"no", "503 Busy") if len(replica.seen) == 1 else answer(b"yes"))

        replica = await stage.serving(busy)
        assert (await stage.ask("/model-m1/predict")).body == b"yes"
        found = samples(stage.plane.moment())
        assert of(found, "http_server_request_duration_seconds_count", model_id=MODEL) == [1]
        assert of(found, "causeway_gateway_retried_total") == [1]
