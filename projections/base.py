"""A projection: a name, a version, a beginning and one pure step.

A fold owns its state: `evolve` may change and return the state it was given, never anything else. Whoever wants to
keep a state at a position folds up to there, or copies it. A changed `evolve` is a new `version`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from events.codec import Recorded

S = TypeVar("S")


class Projection(msgspec.Struct, Generic[S], frozen=True):
    name: str
    version: int
    state_type: Any
    """For snapshots: msgspec must be able to encode and decode it."""
    initial: Callable[[], S]
    evolve: Callable[[S, Recorded], S]


def fold(projection: Projection[S], history: Iterable[Recorded], state: S | None = None) -> S:
    folded = projection.initial() if state is None else state
    for recorded in history:
        folded = projection.evolve(folded, recorded)
    return folded
