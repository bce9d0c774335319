"""Rules of the blob store of weights: what nobody needs is named before it goes, so all that ever went is on record.

Whether it is needed is folded elsewhere, and what lies there no fold knows: who clears it has looked.
"""

from collections.abc import Sequence

import msgspec

from events.base import Event
from events.weights import MIRROR, ManifestId, WeightsDiscarded
from handlers.base import Command, Context, Decider, Refused, told


class DiscardWeights(Command, frozen=True, kw_only=True):
    manifests: tuple[ManifestId, ...]
    chunks: int
    bytes: int
    older_than_h: float
    needed_manifests: int


class WeightsState(msgspec.Struct, frozen=True, tag=True):
    """Nothing that was decided before bears upon what is decided next."""


def evolve(state: WeightsState, event: Event) -> WeightsState:
    return state


def decide(command: DiscardWeights, state: WeightsState, ctx: Context) -> Sequence[Event]:
    if min(command.chunks, command.bytes, command.older_than_h, command.needed_manifests) < 0:
        raise Refused("invalid", "chunks, bytes, hours and manifests that are needed must be 0 or more", "chunks")
    if not command.manifests and not command.chunks and not command.bytes:
        return ()
    return (told(WeightsDiscarded, command),)


WEIGHTS: Decider[DiscardWeights, WeightsState] = Decider(
    category="weights",
    commands=(DiscardWeights,),
    initial=WeightsState(),
    aggregate_id=lambda command: MIRROR,
    decide=decide,
    evolve=evolve,
)
