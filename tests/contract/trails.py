"""What tests of the audit trail share: a refused command to be kept, and waiting until a store has followed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from events.base import (
    Actor,
    CommandId,
    CorrelationId,
    Position,
)
from events.signals.refusals import Refusal
from projections.stores.audit import AuditStore, AuditUnavailable

START = datetime(2026, 3, 1, tzinfo=UTC)


def refused(number: int, **changed: Any) -> Refusal:
    fields: dict[str, Any] = {
        "id": f"refused-{number}",
        "at": START + timedelta(seconds=number),
        "command": "StartPromotion" if number % 2 else "IssueKey",
        "category": "environment",
        "entity": f"m-{number % 3}",
        "actor": Actor(f"key:{number % 4}", "api-key"),
        "kind": "conflict",
        "reason": "there is one already",
        "field": None,
        "correlation_id": CorrelationId(f"r-{number}"),
        "causation_id": None,
        "command_id": CommandId(f"c-{number}"),
        "position": Position(number),
        "body": '{"model_id":"m","names":["a\\u0000b"]}',
    }
    return Refusal(**fields | changed)


async def reached(store: AuditStore, position: Position) -> None:
    async with asyncio.timeout(150):
        while True:
            try:
                if await store.position() >= position:
                    return
            except AuditUnavailable:
                pass  # restarting
            await asyncio.sleep(0.02)
