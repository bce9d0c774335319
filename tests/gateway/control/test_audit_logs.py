"""The audit trail over HTTP: filters, pages, streams, refused commands, and a store that is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from projections.audit import AuditQuery, AuditRow
from projections.stores.audit import AuditUnavailable
from tests.gateway.control.stand import Stand

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with Stand(tmp_path).running() as stand:
        for name in ("carol", "dave", "erin"):
            answer = await stand.client.post("/v1/api_keys", json={"name": name, "type": "WORKSPACE_INVOKE"})
            assert answer.status_code == 200, answer.text
        await filled(stand)
        yield stand


async def filled(stand: Stand) -> None:
    async with asyncio.timeout(60):
        while await stand.audit.position() < await stand.log.head():  # noqa: ASYNC110  # a store announces nothing
            await asyncio.sleep(0.005)
        while await stand.audit.refused_sequence() < len(stand.refusals.kept):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def asked(stand: Stand, query: str = "", **headers: str) -> Any:
    answer = await stand.client.get(f"/v1/audit_logs{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_pages_follow_each_other_and_say_when_they_end(stand: Stand) -> None:
    seen, after, more = [], 0, True
    while more:
        page = await asked(stand, f"?limit=2&after={after}")
        seen += page["audit_logs"]
        after, more = page["pagination"]["after"], page["pagination"]["has_more"]
    assert [row["position"] for row in seen] == list(range(1, await stand.log.head() + 1))
    assert seen[-1]["type"] == "KeyIssued" and seen[-1]["actor"] == "key:abcd1234"


async def test_filters_are_those_of_the_command_line(stand: Stand) -> None:
    by_key = await asked(stand, "?actor=key:*&type=Key*")
    assert [row["body"]["name"] for row in by_key["audit_logs"]] == ["carol", "dave", "erin"]
    newest = await asked(stand, "?newest=true&limit=1")
    assert newest["audit_logs"][0]["body"]["name"] == "erin"
    assert (await asked(stand, "?until=2001-01-01T00:00:00Z"))["audit_logs"] == []
    assert len((await asked(stand, "?since=2001-01-01T00:00:00Z&entity=beef1234"))["audit_logs"]) == 1


async def test_all_rows_come_as_a_stream_of_lines(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.rest.audit_logs.LIMIT_MAX", 2)
    answer = await stand.client.get("/v1/audit_logs", headers=NDJSON)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    rows = [msgspec.json.decode(line, type=AuditRow) for line in answer.text.splitlines()]
    assert tuple(rows) == await stand.audit.page(AuditQuery(limit=1000))
    limited = await stand.client.get("/v1/audit_logs?limit=3", headers=NDJSON)
    assert len(limited.text.splitlines()) == 3


async def test_a_refused_command_says_who_tried_what_and_why_not(stand: Stand) -> None:
    tried = await stand.client.delete("/v1/models/none-such")
    assert tried.status_code == 404
    tried = await stand.client.delete("/v1/api_keys/none-such")
    assert tried.status_code == 404, tried.text
    await filled(stand)
    rows = (await asked(stand, "?refused=true&type=RevokeKey"))["audit_logs"]
    assert [(row["actor"], row["kind"], row["entity"], row["number"]) for row in rows] == [
        ("key:abcd1234", "not_found", "none-such", 1)
    ]
    assert "none-such" in rows[0]["reason"]
    assert (await asked(stand, "?refused=true&actor=key:other"))["audit_logs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?after=-1", "after"),
        ("?since=2026-01-01T00:00:00", "since"),
        ("?newest=true&after=3", "newest"),
        ("?since=yesterday", "since"),
        ("?type=Replca", "type"),
        ("?colour=red", None),
    ],
)
async def test_a_wrong_query_is_told_what_is_wrong(stand: Stand, query: str, field: str | None) -> None:
    answer = await stand.client.get(f"/v1/audit_logs{query}")
    assert answer.status_code == 400
    assert answer.json().get("field") == field
    name = query[1:].partition("=")[0]
    assert name in answer.json()["message"]


async def test_a_store_that_is_away_is_said_so_and_harms_nothing_else(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(query: AuditQuery) -> tuple[AuditRow, ...]:
        raise AuditUnavailable("PostgreSQL does not take part")

    monkeypatch.setattr(stand.audit, "page", away)
    for headers in ({}, NDJSON):
        answer = await stand.client.get("/v1/audit_logs", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert (await stand.client.get("/v1/models")).status_code == 200


async def test_the_trail_is_for_keys_that_manage(stand: Stand) -> None:
    assert (await stand.client_with(None).get("/v1/audit_logs")).status_code == 401
    invoke = stand.client_with("beef1234." + "6" * 40)
    assert (await invoke.get("/v1/audit_logs")).status_code == 403
