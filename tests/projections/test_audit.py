"""Rows of the audit trail: who, what, which entities, following from what; and what PostgreSQL could not hold."""

from datetime import UTC, datetime

from events.access import KeyIssued
from events.base import Actor, CommandId, CorrelationId, EventId, KeyId, Metadata, NodeId, Position, StreamName
from events.codec import Recorded
from events.node import NodeLeft
from events.union import AnyEvent, UnknownEvent
from projections.audit import ID_MAX, AuditQuery, audit_row, wanted
from tests.histories import two_versions_of_iris

AT = datetime(2026, 3, 1, tzinfo=UTC)


def recorded(event: AnyEvent | UnknownEvent, stream: StreamName, actor: str = "operator") -> Recorded:
    meta = Metadata(
        id=EventId("e1"),
        command_id=CommandId("c1"),
        correlation_id=CorrelationId("r1"),
        causation_id=None,
        actor=Actor(actor, "test"),
        at=AT,
    )
    return Recorded(Position(1), stream, event, meta)


async def test_a_row_names_every_entity_that_the_event_is_about() -> None:
    log = await two_versions_of_iris()
    rows = {row.type: row for row in map(audit_row, await log.read())}

    assigned = rows["ReplicaAssigned"]
    assert assigned.entities[0] == assigned.entity == assigned.body["replica_id"]
    assert {assigned.body["model_id"], assigned.body["deployment_id"], "node-a"} <= set(assigned.entities)
    assert "builder-a" in rows["BuildStarted"].entities
    completed = rows["PromotionCompleted"]
    assert completed.entity == f"{completed.body['model_id']}-production"
    assert completed.body["previous"] in completed.entities
    assert "1" not in rows["ScaledToZero"].entities, "the previous target is a number of replicas, not an entity"


def test_an_event_of_a_newer_version_is_kept_with_its_ids() -> None:
    event = UnknownEvent("ReplicaMoved.v3", '{"type":"ReplicaMoved.v3","replica_id":"r-9","node_id":"n-2","x":{"y":1}}')
    row = audit_row(recorded(event, StreamName("replica", "r-9")))
    assert (row.type, row.entities) == ("ReplicaMoved", ("r-9", "n-2"))
    assert row.body["x"] == {"y": 1}


def test_text_that_a_database_cannot_hold_is_replaced() -> None:
    event = NodeLeft(node_id=NodeId("n\0de"), reason="ended\0 by \\u0000 itself")
    row = audit_row(recorded(event, StreamName("node", "n\0de"), actor="a\0b"))
    assert (row.entity, row.actor, row.entities[0]) == ("n\ufffdde", "a\ufffdb", "n\ufffdde")
    assert row.body == {"type": "NodeLeft", "node_id": "n\ufffdde", "reason": "ended\ufffd by \\u0000 itself"}


def test_an_id_too_long_for_an_index_is_clipped_and_still_found_whole() -> None:
    long = KeyId("k" * (ID_MAX + 100))
    row = audit_row(
        recorded(
            KeyIssued(key_id=long, name="n", hash="h", scopes=("invoke",), models=(), environments=()),
            StreamName("key", long),
        )
    )
    assert len(row.entity) == ID_MAX
    assert row.body["key_id"] == long
    assert wanted(AuditQuery(entity=long))(row)


def test_patterns_mean_only_stars_and_question_marks() -> None:
    row = audit_row(recorded(NodeLeft(node_id=NodeId("n"), reason=""), StreamName("node", "n"), actor="key:a.b"))
    assert wanted(AuditQuery(actor="key:*"))(row)
    assert wanted(AuditQuery(actor="key:a?b"))(row)
    assert not wanted(AuditQuery(actor="key:a.?"))(
        audit_row(recorded(NodeLeft(node_id=NodeId("n"), reason=""), StreamName("node", "n"), actor="key:axb"))
    )
    assert not wanted(AuditQuery(types=("[N]odeLeft",)))(row)
