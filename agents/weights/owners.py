"""Whom a node asks for a chunk: its owners among the nodes by rendezvous hashing, then the mirror.

Every node that sees the same fleet names the same owners, without talking about it; a node more or less moves only its
own share. The first owner reads the mirror and everybody else reads that owner, so a chunk leaves the mirror once; the
second owner stands in when the first does not answer. A node that is an owner itself asks only those before it.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import blake3
import msgspec

from agents.weights.manifest import Chunk
from events.base import NodeId
from events.weights import ChunkHash
from handlers.backoff import backoff_s

OWNERS = 2
OUT_FIRST_S = 1.0
OUT_SLOWEST_S = 30.0


def owners(chunk: ChunkHash, nodes: Collection[NodeId], count: int = OWNERS) -> tuple[NodeId, ...]:
    """The first is asked first."""
    weighed = sorted(((blake3.blake3(f"{chunk} {node}".encode()).digest(), node) for node in nodes), reverse=True)
    return tuple(node for _, node in weighed[:count])


class Strikes(msgspec.Struct, frozen=True):
    """A peer that failed lately."""

    count: int
    until: datetime
    """It is not asked before."""


Standing = Mapping[NodeId, Strikes]


def struck(standing: Standing, node: NodeId, now: datetime) -> Standing:
    """It failed: it is left alone, the longer the more often in a row."""
    before = standing.get(node)
    if before is not None and before.until > now:
        return standing  # One fault, seen by several at once.
    count = (before.count if before else 0) + 1
    return {**standing, node: Strikes(count, now + timedelta(seconds=backoff_s(count, OUT_FIRST_S, OUT_SLOWEST_S)))}


def served(standing: Standing, node: NodeId) -> Standing:
    return {other: strikes for other, strikes in standing.items() if other != node} if node in standing else standing


def asked(chunk: Chunk, me: NodeId, nodes: Collection[NodeId], standing: Standing, now: datetime) -> tuple[NodeId, ...]:
    """The peers to ask, in that order; after them, the mirror."""
    before_me = []
    for node in owners(chunk.hash, {*nodes, me}):
        if node == me:
            break
        strikes = standing.get(node)
        if strikes is None or strikes.until <= now:
            before_me.append(node)
    return tuple(before_me)
