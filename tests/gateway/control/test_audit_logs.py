"""The audit trail over HTTP: filters, pages, streams, refused commands, and a store that is away."""

import asyncio
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.base import Actor
from projections.audit import AuditQuery, AuditRow, RefusedRow
from projections.stores.audit import AuditUnavailable
from tests.gateway.control.stand import Stand

NDJSON = {"Accept": "application/x-ndjson"}
PARQUET = "application/vnd.apache.parquet"


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


async def test_pages_go_back_from_the_end_as_well(stand: Stand) -> None:
    seen, query, more = list[Any](), "?newest=true&limit=2", True
    while more:
        page = await asked(stand, query)
        seen = page["audit_logs"] + seen
        query, more = f"?limit=2&before={page['pagination']['before']}", page["pagination"]["has_more"]
    assert [row["position"] for row in seen] == list(range(1, await stand.log.head() + 1))
    between = await asked(stand, "?after=1&before=4")
    assert [row["position"] for row in between["audit_logs"]] == [2, 3], "from the first of them on"
    assert between["pagination"] == {"after": 3, "before": 2, "has_more": False}
    assert (await asked(stand, "?before=1"))["pagination"] == {"after": 0, "before": 1, "has_more": False}


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


async def test_all_rows_come_as_parquet(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="requirements/parquet.txt is no requirement of the plane")
    monkeypatch.setattr("gateway.control.rest.audit_logs.LIMIT_MAX", 2)
    await stand.client.delete("/v1/models/none-such")
    await filled(stand)
    for query, rows in (
        ("?type=Key*", await stand.audit.page(AuditQuery(limit=1000, types=("Key*",)))),
        ("?type=Replica*", ()),
        ("?refused=true", await stand.audit.page_refused(AuditQuery())),
    ):
        answer = await stand.client.get(f"/v1/audit_logs{query}", headers={"Accept": PARQUET})
        assert answer.headers["content-type"] == PARQUET
        read = parquet.read_table(BytesIO(answer.content)).to_pylist()
        told = [{**row, "body": msgspec.json.decode(row["body"])} for row in read]
        assert told == [{**msgspec.structs.asdict(row), **_listed(row)} for row in rows], query


def _listed(row: AuditRow | RefusedRow) -> dict[str, list[str]]:
    return {"entities": list(row.entities)} if isinstance(row, AuditRow) else {}


async def test_a_plane_without_pyarrow_says_how_to_get_it(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await stand.client.get("/v1/audit_logs", headers={"Accept": PARQUET})
    assert (answer.status_code, answer.json()["field"]) == (406, "Accept")
    assert "requirements/parquet.txt" in answer.json()["fix"]


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
        ("?before=0", "before"),
        ("?before=99999999999999999999", "before"),
        ("?since=yesterday", "since"),
        ("?after=first", "after"),
        ("?refused=perhaps", "refused"),
        ("?type=KeyIsued", "type"),
        ("?colour=red", "colour"),
        ("?since=2026", "since"),
        ("?until=1700000000", "until"),
        ("?actor=key:a&actor=key:b", "actor"),
        ("?limit=1&limit=2", "limit"),
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


async def test_what_a_key_without_the_scope_tried_is_in_the_trail_once(stand: Stand) -> None:
    invoke = stand.client_with("beef1234." + "6" * 40)
    for _ in range(2):
        assert (await invoke.delete("/v1/models/mine")).status_code == 403
    assert (await stand.client_with(None).delete("/v1/models/mine")).status_code == 401
    [tried] = stand.refusals.kept
    assert (tried.actor, tried.command, tried.entity) == (Actor("key:beef1234", "api-key"), "DELETE", "/v1/models/mine")
    assert tried.reason == "API key beef1234 has the scopes invoke; this needs the scope manage"
