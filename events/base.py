"""The shape of every fact: ids, the event base class, its metadata, and what a reader of the log receives.

Values only: strings, numbers, tuples, frozen Structs. Nothing here may read a clock or make randomness;
ids that must be unique arrive as data or are derived from ids that already are (`derive`).
"""

import hashlib
from base64 import b32encode
from datetime import datetime
from typing import NamedTuple, NewType

import msgspec

ModelId = NewType("ModelId", str)
DeploymentId = NewType("DeploymentId", str)
BuildId = NewType("BuildId", str)
ReplicaId = NewType("ReplicaId", str)
NodeId = NewType("NodeId", str)
PromotionId = NewType("PromotionId", str)
KeyId = NewType("KeyId", str)
WebhookId = NewType("WebhookId", str)
EventId = NewType("EventId", str)
CommandId = NewType("CommandId", str)
CorrelationId = NewType("CorrelationId", str)
BlobDigest = NewType("BlobDigest", str)
"""`sha256:<hex>` of the bytes."""
Position = NewType("Position", int)
"""Sequence of an event in the log, from 1. 0 means before the first."""

ORIGIN = Position(0)


def derive(*parts: str | int, length: int = 12) -> str:
    """A stable id of a-z2-7, 5 bits a character, for these parts: the same parts give the same id.

    12 characters name things that number in thousands; events and commands take 24.
    """
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return b32encode(digest).decode().lower()[:length]


class StreamName(NamedTuple):
    """One aggregate's history: its category and its id within the category."""

    category: str
    id: str

    def __str__(self) -> str:
        return f"{self.category}.{self.id}"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, gc=False):
    """A fact, in the past tense. The tag is the class name; a later schema version has the tag `Name.v2`.

    Values only, so no cycle can form: the collector need not look at them (`gc=False`), which folds of millions feel.
    """


class Actor(msgspec.Struct, frozen=True, gc=False):
    """Who asked, and how we know: `key:<id>`, `reactor:<name>`, `agent:<node>`, `operator`."""

    name: str
    how: str


class Metadata(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an event comes from. `index` of `count` places it within its decision."""

    id: EventId
    command_id: CommandId
    correlation_id: CorrelationId
    causation_id: EventId | None
    """The event that made the command be issued; None when a person or a signal began the chain."""
    actor: Actor
    at: datetime
    """UTC, from the clock of the process that decided."""
    index: int = 0
    count: int = 1
