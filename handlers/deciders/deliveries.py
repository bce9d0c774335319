"""Who delivers to webhooks, of several control planes on one log: one of them, until another takes its place."""

from collections.abc import Sequence

import msgspec

from events.base import Event
from events.webhook import DeliveriesTaken
from handlers.base import Command, Context, Decider, told


class TakeDeliveries(Command, frozen=True, kw_only=True):
    """Void when it is somebody else's turn by now than whoever asks has seen."""

    holder: str
    instead_of: str
    silent_for_s: float


class DeliveriesState(msgspec.Struct, frozen=True, tag=True):
    holder: str = ""


def evolve(state: DeliveriesState, event: Event) -> DeliveriesState:
    return DeliveriesState(event.holder) if isinstance(event, DeliveriesTaken) else state


def decide(command: TakeDeliveries, state: DeliveriesState, ctx: Context) -> Sequence[Event]:
    if command.holder == state.holder or command.instead_of != state.holder:
        return ()
    return (told(DeliveriesTaken, command),)


DELIVERIES: Decider[TakeDeliveries, DeliveriesState] = Decider(
    category="deliveries",
    commands=(TakeDeliveries,),
    initial=DeliveriesState(),
    aggregate_id=lambda command: "webhooks",
    decide=decide,
    evolve=evolve,
)
