"""The made-up history with what is hard to find in it: nodes and people of long ago, and names that are rare.

Rows of it go into an empty store by the way a rebuild takes, without a log before them.
"""

from collections.abc import AsyncIterator, Iterator
from itertools import islice

import msgspec

from events.base import Actor, NodeId, Position
from events.codec import Recorded
from events.environment import PromotionCompleted, PromotionFailed
from events.model import DeploymentPushed
from events.replica import ReplicaAssigned
from ops.bench.history import history
from projections.stores.audit import AuditStore

PIECE = 2000
LEFT, RETURNED, SPARSE, USUAL = NodeId("node-left"), NodeId("node-returned"), NodeId("node-sparse"), NodeId("node-1")
ALICE, BOB = Actor("key:alice", "api-key"), Actor("key:bob", "api-key")
SPARSE_EVERY, RETURNS_WITH = 1000, 60


def planted(count: int) -> Iterator[Recorded]:
    """`node-left` is in every sixth row of the first fifth, and never again; `node-returned` in those of the next
    tenth, and in some of the last 60 rows; `node-sparse` in about one of 1,000 all along. Until the middle it was
    alice who pushed deployments, since then it is bob. The very first promotion failed.
    """
    sparse, failed = 0, False
    for number, (stream, (event, meta)) in enumerate(islice(history("filled"), count), 1):
        if isinstance(event, ReplicaAssigned):
            node = _node(number, count)
            if node == USUAL and number >= sparse:
                node, sparse = SPARSE, number + SPARSE_EVERY
            event = msgspec.structs.replace(event, node_id=node)
        elif isinstance(event, DeploymentPushed):
            meta = msgspec.structs.replace(meta, actor=ALICE if number <= count // 2 else BOB)
        elif isinstance(event, PromotionCompleted) and not failed:
            event, failed = _failed(event), True
        yield Recorded(Position(number), stream, event, meta)


def _node(number: int, count: int) -> NodeId:
    if number <= count // 5:
        return LEFT
    if number <= count * 3 // 10 or number > count - RETURNS_WITH:
        return RETURNED
    return USUAL


def _failed(event: PromotionCompleted) -> PromotionFailed:
    return PromotionFailed(
        promotion_id=event.promotion_id,
        model_id=event.model_id,
        environment=event.environment,
        deployment_id=event.deployment_id,
        reason="not ready in time",
    )


async def fill_rows(store: AuditStore, count: int) -> None:
    """Many rows in bounded time and memory: the broker's part is measured with fewer."""
    events = planted(count)

    async def pieces() -> AsyncIterator[list[Recorded]]:
        while some := list(islice(events, PIECE)):
            yield some

    await store.fill_rebuilt(pieces())
    if not await store.switch_to_rebuilt(Position(count), ()):
        raise RuntimeError("the store was not empty")
